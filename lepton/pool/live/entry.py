"""A job as a live pool keeps it."""

from dataclasses import dataclass, field

from lepton.pool.live.tables import Class
from lepton.pool.live.views import Phase, Place, Truth, Wants


@dataclass(slots=True)
class Entry:
    """One job that lives."""

    wants: Wants
    truth: Truth
    waits_from: float = 0.0
    """When it began to wait, in the pool's own time (`steady`), as all that follows."""
    begun: float = 0.0
    """When its present run began,"""
    began_s: float = 0.0
    """as it was written down."""
    due: float = 0.0
    """When its pause ends."""
    klass: Class | None = None
    slot: int = -1
    """Its row in `jobs`; -1: it is not in the arrays."""
    place: int = -1
    """First of its rows in `workers`; -1: it has none yet."""
    is_promised: bool = False
    """In the arrays it has its places, in the world it does not hold them yet."""
    promised_s: float = 0.0
    """Since when."""
    asked_s: float = 0.0
    """Since when it is on its way to give its places back to others; 0: it is not."""
    taken: tuple[Place, ...] | None = None
    """What a plan has given it, until it is known whether it was started."""
    stated: tuple[float, float, float] | None = None
    """When it was told to wait, and from and until how many seconds after that it probably starts."""

    @property
    def holds(self) -> bool:
        """Whether it really holds places, taken ones aside."""
        return self.truth.phase in (Phase.HOLDS, Phase.LEAVES)


@dataclass(slots=True)
class Due:
    """Something that time alone will do to a job; the smallest goes first."""

    at: float
    job: str = field(compare=False)
    slot: int = field(compare=False, default=-1)

    def __lt__(self, other: "Due") -> bool:
        return self.at < other.at
