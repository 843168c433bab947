"""What goes into a live pool and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lepton.core.launch import Devices


@dataclass(frozen=True, slots=True)
class Place:
    """Where one rank goes."""

    node: str
    gpus: tuple[int, ...] = ()
    """Indices of the devices of the node's kind that it gets, or gets a part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a job asks for; it does not change while the job lives."""

    job: str
    workers: tuple[Devices, ...]
    """What each rank needs."""
    roles: tuple[tuple[str, int], ...] = ()
    """(name, how many workers) of each role, in the order of ranks; empty: they have no names."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that its nodes have, sorted."""
    within: str = ""
    """A label of which all of its nodes have the same value."""
    queue: str = ""
    user: str = ""
    workspace: str = ""
    rank: int = 0
    """Of its priority, 0 for the highest."""
    is_pinned: bool = False
    """Stopped only for a higher priority or for a guarantee: it would lose its work, or serves."""
    is_kept: bool = False
    """It stays on a node that is drained, until somebody who knows how to move it stops it."""
    can_resume: bool = False
    is_endless: bool = False
    """No end of its own is to be expected: it serves until somebody stops it."""
    grace_s: float = 10.0
    """What it asks to get to end, when it is stopped."""
    limit_s: float = 0.0
    """It is ended after so long; 0: never."""
    program: str = ""
    """What jobs that run the same have in common."""
    since_s: float = 0.0
    """When it was submitted."""


class Phase(StrEnum):
    """Where a job is in the world."""

    PAUSED = "paused"
    """Wants no place now."""
    QUEUED = "queued"
    HOLDS = "holds"
    """Its workers are there, or are being started or ended."""
    LEAVES = "leaves"
    """The same, but it was stopped for another and will be queued again."""
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is the case with a job."""

    phase: Phase
    places: tuple[Place, ...] = ()
    """By rank, while it holds any."""
    began_s: float = 0.0
    """When it was started last."""
    due_s: float = 0.0
    """Paused until then; 0: until something else happens."""
    worked_s: float = 0.0
    """Work done in earlier starts that is not lost."""
    saved_s: float = 0.0
    """When it last saved its work in this start; 0: never."""
    ran_s: float | None = None
    """Of one that has ended by itself: for how long it ran in all."""
    has_failed: bool = False
    """It has ended by itself, and not well: that says nothing of how fast its device is."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A running job is to give its places back and wait again."""

    job: str
    by: str = ""
    """The job for which; empty: because of `node`."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What should happen now."""

    starts: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    """Job -> a place by rank, all of them really free; together no more than there is."""
    stops: list[Stop] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a job waits: a word for programs, its facts, and a sentence for people."""

    code: str
    """One of `why.CODES`."""
    words: str
    facts: Mapping[str, object] = field(default_factory=dict)
