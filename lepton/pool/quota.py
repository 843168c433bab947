"""Queues and quotas as they are written down: who is entitled to how much of the pool.

A *queue* is where jobs wait. Queues form a tree: what a queue holds, its parents hold too. Up to its *guarantee* a
queue goes before whoever is above theirs, and takes back what they have borrowed; what nobody is entitled to or uses,
anybody may borrow, up to the queue's *limit*. Those who borrow share by *weight*. A *quota* limits one user or one
workspace, whatever queues it uses.

Amounts are by device: `cpu_milli`, `gpu_milli`, `tpu_milli`, `fpga_milli` in thousandths, `memory_bytes`. A limit
counts only what it names. A guarantee counts what it names; of what a job mainly needs (its accelerator; CPUs, if it
has none) nothing is guaranteed unless it is named.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from lepton.core.errors import InvalidError

DEVICES = ("gpu_milli", "tpu_milli", "fpga_milli", "cpu_milli", "memory_bytes")
DEFAULT = "default"
"""The queue of jobs that name none; it is there without being made, with nothing guaranteed and no limit."""
DEEPEST = 4
"""Queues above one another."""

USUAL_GRACE_S = 60.0
"""What a job gets to end at most when it is stopped for another, unless its queue, or one above, says otherwise."""
MOST_GRACE_S = 3600.0

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What somebody has written down about a queue."""

    parent: str = ""
    """Name of the queue above; empty: none."""
    guarantee: Amounts = field(default_factory=dict)
    limit: Amounts = field(default_factory=dict)
    weight: float = 1.0
    workspaces: tuple[str, ...] = ()
    """Who may use it; empty: all."""
    max_priority: str = ""
    """The highest that a job in it, or in a queue below it, may have; empty: any."""
    max_grace_s: float | None = None
    """What a job in it gets to end at most when it is stopped for another; None: as the queue above says."""

    def __post_init__(self) -> None:
        check_amounts("guarantee", self.guarantee)
        check_amounts("limit", self.limit)
        if not 0.001 <= self.weight <= 1000:
            raise InvalidError(f"weight is {self.weight:g}", fix="Give 0.001 to 1000.")
        if self.max_grace_s is not None and not 0 <= self.max_grace_s <= MOST_GRACE_S:
            raise InvalidError(f"max_grace_s is {self.max_grace_s:g}", fix=f"Give 0 to {MOST_GRACE_S:g}.")
        for name in self.guarantee:
            if self.guarantee[name] > self.limit.get(name, self.guarantee[name]):
                raise InvalidError(f"More {words(name)} guaranteed than the limit allows", fix="Raise the limit.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal spec."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The spec that `to_json` wrote."""
        return cls(**{**fields, "workspaces": tuple(fields.get("workspaces", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSpec:
    """The most that one user or one workspace may hold."""

    of: Literal["user", "workspace"]
    who: str
    limit: Amounts = field(default_factory=dict)
    max_priority: str = ""
    """The highest that its jobs may have; empty: any."""

    def __post_init__(self) -> None:
        check_amounts("limit", self.limit)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal spec."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The spec that `to_json` wrote."""
        return cls(**fields)


def quota_name(of: str, who: str) -> str:
    """What the quota of a user or a workspace is called: `user:ada`."""
    return f"{of}:{who}"


def words(device: str) -> str:
    """A device and its verb: `GPUs are`, `memory is`."""
    name = device.removesuffix("_milli")
    return "memory is" if name == device else f"{name.upper()}s are"


def check_amounts(what: str, amounts: Amounts) -> None:
    """Refuse amounts that cannot be.

    Raises:
        InvalidError: a device is unknown, or its amount is no whole number from 0.
    """
    for name, amount in amounts.items():
        if name not in DEVICES:
            raise InvalidError(f"{what} names {name[:40]!r}", fix=f"It may name {', '.join(DEVICES)}.")
        if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount < 2**62:
            raise InvalidError(f"{what} of {name} is {str(amount)[:40]}", fix="Give a whole number from 0.")
