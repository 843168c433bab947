"""When a waiting job probably starts, by who holds what it waits for and who goes before it.

Those that run end as like jobs did, or by their time limits; then those that go before it start, in their order, each
where it can first; then it. In several futures (`runs`), of which 8 in 10 are told. Whoever is larger may be passed by,
so all is looked at twice: without those, for the earliest moment, and with all, for the latest.

What it costs is bounded, however large the pool: of very many nodes and jobs each n-th stands for n. Asking decides
nothing, and no decision asks for any of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import numpy as np

from lepton.pool.live.entry import Entry
from lepton.pool.live.frame import Frame, Room, Under
from lepton.pool.live.pool import LivePool
from lepton.pool.live.runs import Runs, Times
from lepton.pool.live.slots import Need, Slots
from lepton.pool.live.turn import ahead_of

MOST_NODES = 128
"""Nodes that are looked at, or four for each worker."""
MOST_AHEAD = 256
"""Jobs before it that are."""
FEWEST = 2
"""Nodes for each worker without which each n-th does not stand for n."""
INSIDE = (0.1, 0.9)
"""Quantiles of all futures between which a job is told to start."""

Between = tuple[float, float]
Told = tuple[Between, bool]
"""Between which moments of the pool's own time one probably starts, and whether all that matters is known well."""
Facts = Mapping[str, Mapping[str, object]]
"""Of the reasons for which a job waits, by their codes."""


def starts_by_runs(live: LivePool, entry: Entry, facts: Mapping[str, Mapping[str, object]], now: float) -> Told | None:
    """When a waiting job probably starts; None: of somebody that matters too little is known, or it waits for something
    that is not counted here.

    Args:
        facts: of the reasons for which it waits.
    """
    ahead, late = ahead_of(live, entry, now)
    told, quota = list[Told | None](), facts.get("quota")
    if quota is not None:
        told.append(_told(live, entry, Under.of(live, quota), (ahead.tolist(), late), now))
    if quota is None or "shape" in facts:
        told.append(_told(live, entry, Room.of(live, entry), (ahead.tolist(), late), now))
    known = [each for each in told if each is not None]
    lows, highs = [low for (low, _), _ in known], [high for (_, high), _ in known]
    own = live.clock.own(now)
    if len(known) < len(told) or ("turn" not in facts and max(highs) <= own):
        return None
    return (max(own, *lows), max(highs)), all(is_sure for _, is_sure in known)


def fits_by_runs(live: LivePool, entry: Entry, kept: Iterable[int], now: float) -> Told | None:
    """The same of one for which these nodes are kept: it waits for those that run there, and for nobody else."""
    return _told(live, entry, Room.of(live, entry, kept), ([], 0), now)


def _told(
    live: LivePool, entry: Entry, frame: Frame | None, before: tuple[Sequence[int], int], now: float
) -> Told | None:
    """What follows from one frame.

    Args:
        before: rows of jobs that go before it, and how many of them have waited too long.
    """
    assert entry.klass is not None
    workers, _ = mine = (0, 0) if frame is None else frame.need(entry.klass.index)
    if frame is None or not workers:
        return None
    ahead, late = before
    nodes, most = len(frame), max(MOST_NODES, 4 * workers)
    stride = max(-(-nodes // most), -(-len(ahead) // MOST_AHEAD))
    if stride > 1 and (nodes // stride < FEWEST * workers or not frame.thin(stride)):
        return None
    walk = Walk(live, frame, entry, mine, live.clock.own(now))
    low, high = walk.start(ahead[::stride], -(-late // stride))
    return None if high == inf else ((low, high), walk.is_sure)


class Walk:
    """One look into the futures of a frame."""

    def __init__(self, live: LivePool, frame: Frame, entry: Entry, mine: Need, own: float) -> None:
        """Args: `mine`: what the asking job needs of the frame; `own`: now."""
        self._live, self._frame, self._entry, self._mine, self._own = live, frame, entry, mine, own
        self._runs = Runs(live.forecast)
        self._brisk, self._full = self._slots()

    @property
    def is_sure(self) -> bool:
        """Whether all that was looked at is known well."""
        return self._runs.is_sure

    def start(self, ahead: Sequence[int], late: int) -> Between:
        """When the job starts, from and until; infinite: nobody can know."""
        klasses = np.asarray(self._live.seats.tables.pool.jobs.klass)[np.array(ahead, np.int64)].tolist()
        for at, (row, klass) in enumerate(zip(ahead, klasses, strict=True)):
            self._put(row, klass, is_late=at < late)
        groups = self._frame.groups(self._entry)
        low = np.min([self._brisk.first(self._mine, nodes) for nodes in groups], axis=0)
        high = np.min([self._full.first(self._mine, nodes) for nodes in groups], axis=0)
        return float(np.quantile(low, INSIDE[0], method="lower")), float(np.quantile(high, INSIDE[1], method="higher"))

    def _put(self, row: int, klass: int, *, is_late: bool) -> None:
        """Let one that goes before it start; if it may be passed by, or go elsewhere, only for the latest moment."""
        (workers, each), nodes = self._frame.need(klass), self._frame.nodes_of(klass)
        if not workers or not len(nodes):
            return
        least_s, most_s = self._runs.left(*self._live.seats.known_at(row), 0.0)
        is_passed = (workers * each > self._mine[0] * self._mine[1] or each > self._mine[1]) and not is_late
        if not is_passed and not self._frame.may_leave(klass):
            self._brisk.put((workers, each), nodes, least_s)
        self._full.put((workers, each), nodes, most_s)

    def _slots(self) -> tuple[Slots, Slots]:
        """All slots as they come free if only those that run now are there: at the earliest and at the latest."""
        least: list[list[Times]] = [[] for _ in range(len(self._frame))]
        most: list[list[Times]] = [[] for _ in range(len(self._frame))]
        for row, held in self._frame.held():
            soon, late = self._ends(row)
            for node, slots in held:
                least[node] += [soon] * slots
                most[node] += [late] * slots
        free = self._frame.free()
        return Slots(free, least, self._own), Slots(free, most, self._own)

    def _ends(self, row: int) -> tuple[Times, Times]:
        """When a running job ends; at the earliest one of a lower priority is stopped before."""
        live, (wants, _) = self._live, self._live.seats.known_at(row)
        at = live.seats.tables.pool.jobs[row]
        ran_s = max(0.0, self._own - float(at.begun))
        least_s, most_s = self._runs.left(wants, float(at.work) + ran_s, ran_s)
        if live.policy.preempts and wants.rank > self._entry.wants.rank:
            least_s = np.minimum(least_s, max(0.0, live.policy.min_run_s - ran_s))
        return self._own + least_s, self._own + most_s
