"""A launch: what an engine is told to run, and the words in which it tells what became of it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from operator import add, le
from typing import Any, Self

from lepton.core.errors import InvalidError
from lepton.core.resource import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """An amount of each device, in integer milli-units, so that sums are exact."""

    cpu_milli: int = 1000
    gpu_milli: int = 0
    memory_bytes: int = 0
    """0 asks for no reservation and sets no limit."""
    tpu_milli: int = 0
    fpga_milli: int = 0

    def __post_init__(self) -> None:
        if min(self.amounts()) < 0:
            raise InvalidError(f"An amount of devices is negative: {self}", fix="Ask for 0 or more.")

    def amounts(self) -> tuple[int, ...]:
        """The amount of each device, in the order of the fields."""
        return (self.cpu_milli, self.gpu_milli, self.memory_bytes, self.tpu_milli, self.fpga_milli)

    def __add__(self, other: Self) -> "Devices":
        return Devices.of(map(add, self.amounts(), other.amounts()))

    def fits_in(self, free: Self) -> bool:
        """Whether `free` holds at least this much of every device."""
        return all(map(le, self.amounts(), free.amounts()))

    def minus(self, other: Self) -> "Devices":
        """What is left when `other` is taken away; never below zero."""
        return Devices.of(max(0, has - takes) for has, takes in zip(self.amounts(), other.amounts(), strict=True))

    @classmethod
    def of(cls, amounts: Iterable[int]) -> Self:
        """The devices whose `amounts()` these are."""
        cpu_milli, gpu_milli, memory_bytes, tpu_milli, fpga_milli = amounts
        return cls(
            cpu_milli=cpu_milli,
            gpu_milli=gpu_milli,
            memory_bytes=memory_bytes,
            tpu_milli=tpu_milli,
            fpga_milli=fpga_milli,
        )


class Isolation(StrEnum):
    """How a worker is held, the loosest first."""

    OFF = "off"
    """Not at all; only an operator can say so."""
    OWN = "own"
    """It sees what its user sees, but of the platform only what is its own."""
    CLOSED = "closed"
    """It sees, beside what is its own, only programs and libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One worker process: everything an engine needs, and nothing it would have to decide.

    Exactly one of `command` and `entry` is given.
    """

    key: str
    """Names this one execution for ever: `<job>.<generation>.<rank>`. Starting a key twice starts it once."""
    job: str
    command: tuple[str, ...] = ()
    """Program and arguments."""
    entry: str = ""
    """`package.module:function`, called with a `core.context.Context` by `engine/entry`."""
    preload: tuple[str, ...] = ()
    """For `entry`: modules that its worker would like to find imported. It changes nothing but how fast it starts.
    Equal tuples share what an engine keeps warm."""
    params: Mapping[str, Json] = field(default_factory=dict)
    """For `entry`: the context's `params`."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> version id of an artifact, fetched when the worker asks for it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the few variables an engine passes on by itself (PATH, HOME, LANG, TZ)."""
    cwd: str = ""
    """Absolute working directory; empty: the worker's own fresh folder."""
    node: str = ""
    """Name of the node it was placed on."""
    devices: Devices = field(default_factory=Devices)
    gpus: tuple[int, ...] = ()
    """Indices of the GPUs it may see."""
    rank: int = 0
    size: int = 1
    """Workers in its gang."""
    generation: int = 0
    """How often the gang had been started before."""
    timeout_s: float = 0.0
    """Killed when it runs longer; 0: never."""
    grace_s: float = 10.0
    """Between the polite signal and the kill."""
    log_limit_bytes: int = 64 << 20
    """The oldest part of its output is dropped beyond this."""
    isolation: str = Isolation.OWN
    """How it is held at least; an engine may hold it closer."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Absolute path -> `r` or `w`: what it may see, or change, beside what is its own, however it is held."""
    meets: str = ""
    """Name of a folder that launches of several jobs share: those that give it. Empty: none."""
    is_host: bool = False
    """It may change that folder; the others find in it what it has put there."""
    door: str = ""
    """`host:port` at which it will listen for clients, port 0: any. An engine may open it and keep it open while the
    worker is replaced, so that nobody is turned away; the worker finds its descriptor in LEPTON_DOOR. Empty: none."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.entry):
            raise InvalidError(f"Launch {self.key} needs either a command or an entry", fix="Give exactly one.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal launch."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The launch that `to_json` wrote."""
        plain = dict(fields)
        plain["command"] = tuple(plain.get("command", ()))
        plain["gpus"] = tuple(plain.get("gpus", ()))
        plain["preload"] = tuple(plain.get("preload", ()))
        plain["devices"] = Devices(**plain.get("devices", {}))
        return cls(**plain)


class ExitReason(StrEnum):
    """Why a worker ended; decides, with the job's retry policy, what happens next."""

    DONE = "done"
    """Exit code 0."""
    FAILED = "failed"
    """Another exit code."""
    SIGNAL = "signal"
    """Killed by a signal that Lepton did not send."""
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    """Lepton was asked to stop it."""
    LOST = "lost"
    """It is gone and left no record: its shim or its node died."""
    NOT_STARTED = "not_started"
    """The program could not be executed; `detail` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a worker ended."""

    reason: ExitReason
    code: int | None = None
    """Exit code, if it exited by itself."""
    signal: int | None = None
    """Signal that ended it, if one did."""
    detail: str = ""
    at: datetime | None = None
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What an engine sees of one key."""

    key: str
    status: str
    """`unknown` (never started here), `running` or `exited`."""
    pid: int = 0
    started_at: datetime | None = None
    exit: Exit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What an engine says of one machine it can run on."""

    name: str
    devices: Devices
    """All that the machine has, in use or not."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """E.g. `os`, `arch`, `gpu_model`."""
    address: str = "127.0.0.1"
    """Where workers of one gang reach each other."""
