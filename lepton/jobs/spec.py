"""A job's wish: which workers, with which devices, from which inputs, and what to do when one dies.

A gang is all workers of a job. Roles are numbered through: ranks of the first role, then of the second, and so on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lepton.core.errors import InvalidError
from lepton.core.launch import Devices, Isolation
from lepton.core.resource import Json
from lepton.jobs.priority import USUAL, check_priority

MAX_WORKERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Workers of a gang that are alike. Exactly one of `command` and `entry` is given."""

    name: str = "worker"
    count: int = 1
    command: tuple[str, ...] = ()
    entry: str = ""
    """`package.module:function`, called with a `core.context.Context`."""
    preload: tuple[str, ...] = ()
    """Modules that its workers would like to find imported: one of the sets in `jobs.preload`."""
    devices: Devices = field(default_factory=Devices)
    env: Mapping[str, str] = field(default_factory=dict)
    isolation: str = Isolation.OWN
    """How its workers are held at least."""
    meets: str = ""
    """Name of a folder that its workers share with those of other jobs; empty: none."""
    is_host: bool = False
    """They may change that folder."""
    door: str = ""
    """`host:port` at which its only worker listens for clients, port 0: any; empty: at none."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that its nodes must have, e.g. `gpu_model`."""
    is_replaceable: bool = False
    """One of its workers that ends is replaced by itself; the rest of the gang goes on."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.entry):
            raise InvalidError(f"Role {self.name!r} needs either a command or an entry", fix="Give exactly one.")
        if not 1 <= self.count <= MAX_WORKERS:
            raise InvalidError(f"Role {self.name!r} asks for {self.count} workers", fix=f"Ask for 1 to {MAX_WORKERS}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a user or a stage asks of the platform: one gang, started all or nothing."""

    roles: tuple[Role, ...]
    stage: str = "command"
    """Which station made it: command, function, data, train, optimize, serve or observe."""
    params: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> version id."""
    retries: int = 0
    """How often the gang is started again after a worker failed. A lost node or server does not count."""
    is_service: bool = False
    """Runs until it is stopped: every ending of a worker starts the gang again, with growing pauses."""
    timeout_s: float = 0.0
    """For one start of the gang; 0: none."""
    grace_s: float = 10.0
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> name of a secret of the workspace."""
    cwd: str = ""
    queue: str = ""
    """Name of the queue it waits in; empty: the one of all who name none."""
    priority: str = USUAL
    """One of `jobs.priority.PRIORITIES`."""
    after: tuple[str, ...] = ()
    """Ids of jobs that must be done before it may start; if one of them does not end well, neither does this one."""
    can_resume: bool = False
    """Stopped for another and started again it goes on where it was: it may be stopped for whoever goes first."""
    within: str = ""
    """A label, e.g. `rack`, of which all of its nodes must have the same value; empty: as close as there is room."""
    stop_grace_s: float | None = None
    """None: it may run. A number: stop it, and kill what is left after so many seconds."""

    def __post_init__(self) -> None:
        if not self.roles:
            raise InvalidError("The job has no workers", fix="Give a command.")
        if self.size > MAX_WORKERS:
            raise InvalidError(f"The job asks for {self.size} workers", fix=f"Ask for {MAX_WORKERS} or fewer.")
        check_priority(self.priority)
        if self.retries < 0 or self.timeout_s < 0 or self.grace_s < 0:
            raise InvalidError("retries, timeout_s and grace_s cannot be negative", fix="Give 0 or more.")

    @property
    def size(self) -> int:
        """Workers in the gang."""
        return sum(role.count for role in self.roles)

    def ranks(self) -> Iterator[tuple[int, Role]]:
        """Each rank with its role."""
        rank = 0
        for role in self.roles:
            for _ in range(role.count):
                yield rank, role
                rank += 1

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal spec."""
        roles = [{**_plain(role), "devices": _plain(role.devices)} for role in self.roles]
        return {**_plain(self), "roles": roles}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The spec that `to_json` wrote."""
        plain = dict(fields)
        plain["roles"] = tuple(map(_role, plain["roles"]))
        plain["after"] = tuple(plain.get("after", ()))
        return cls(**plain)


def _role(fields: Mapping[str, Any]) -> Role:
    lists = {name: tuple(fields.get(name, ())) for name in ("command", "preload")}
    return Role(**{**fields, **lists, "devices": Devices(**fields.get("devices", {}))})


def _plain(record: Any) -> dict[str, Any]:
    """Field -> value, not copied (`dataclasses.asdict` copies deep, which costs a third of a submission)."""
    return {name: getattr(record, name) for name in record.__slots__}
