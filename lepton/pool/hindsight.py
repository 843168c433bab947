"""Which way of ours would have been the best for what came lately? Tried by replaying that. Pure.

Whether it pays to stop running jobs for a smaller key, and to let size count for more while jobs wait long, depends on
how run times are spread, how much is asked for, how large gangs are and what is expected; no rule of thumb held on all
traces (`docs/pool-policy.md`). So now and then the last jobs are replayed each way by the code that decides, with what
was expected of them, and the way with the smallest mean time to completion, over the last trials, is gone from then
on. The replays begin with an empty pool, so a long queue is seen only in part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lepton.pool.policy import ENDLESS, Policy, Source, Way
from lepton.pool.trace import Floats, Trace

FIRST = 200
"""Endings before the first trial."""
MOST = 10_000
"""Endings until the next: three quarters of as many as there have been, but no more than this, or ten times the jobs of
the last trial, so that trials stay a part of all the work."""
WINDOW = 2_000
"""Endings that are replayed; as many as jobs live, if those are more,"""
LARGEST = 5_000
"""but no more than this. If more than twice as many live nothing is tried: so few endings would say nothing."""
KEPT = 0.8
"""What a trial says counts so much at the next one: each is of few long jobs, and a change costs those it leaves."""
CLEARLY = 0.05
"""Another way is gone once it is better by such a share; back to the plain one once that is better at all."""

SHORTEST_S = 1e-3
"""No mean is less, where nothing took any time."""
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly however many are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """J jobs that have ended lately or live, as far as they are known."""

    trace: Trace
    guess: Floats | None
    """(J,) run times that were expected at the submits, in seconds; None: what is expected does not count now."""


Mean = Callable[[Policy], float]
"""Mean time to completion in seconds, of what came lately, under a policy."""


PLAIN = Way(stops=False, adapts=False)
WAYS = (PLAIN, Way(stops=True, adapts=True), Way(stops=True, adapts=False), Way(stops=False, adapts=True))
"""Of equal ones the first. The last is the first where nothing is known of run times: `kernel.pace`."""


@dataclass(slots=True)
class Trials:
    """What trials have said, and when the next one is due."""

    due: int = FIRST
    """After how many endings."""
    said: Floats = field(default_factory=lambda: np.zeros(len(WAYS)))
    """By way: logarithms of the mean time to completion, summed, the older the less."""

    def hear(self, means: Sequence[float], now: Way) -> Way:
        """One more trial: the way to go on.

        Args:
            means: by way, mean time to completion in seconds.
            now: the present way.
        """
        self.said = KEPT * self.said + np.log(np.maximum(means, SHORTEST_S))
        best = WAYS[int(self.said.argmin())]
        gain = self.said[WAYS.index(now)] - self.said.min()
        return best if gain > (0.0 if best == PLAIN else CLEARLY) else now

    def wait(self, ended: int, tried: int) -> None:
        """There have been so many endings, and were so many jobs in the last trial: when is the next one due?"""
        self.due = ended + min(max(FIRST // 2, 3 * ended // 4), max(MOST, 10 * tried))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the trials of a running pool have said so far: all that must be kept of them."""

    way: Way | None = None
    """None: nothing could be said yet, and a rule of thumb goes on."""
    since_s: float = 0.0
    """Since when that way is gone, as all times here in seconds since 1970."""
    tried_s: float = 0.0
    """The last ending before the last trial."""
    ended: int = 0
    """Endings until then,"""
    due: int = FIRST
    """and until the next trial."""
    said: tuple[float, ...] = (0.0,) * len(WAYS)
    """As in `Trials`."""

    def trials(self) -> Trials:
        """To go on with."""
        return Trials(due=self.due, said=np.array(self.said))


def endings(alive: int) -> int:
    """How many of the last endings are replayed, and of so many that live twice as many; 0: there is no trial."""
    return min(max(WINDOW, alive), LARGEST) if alive <= 2 * LARGEST else 0


def tried(policy: Policy, mean: Mean, *, is_known: bool) -> list[float]:
    """Mean time to completion by each of `WAYS`, in seconds.

    Args:
        is_known: what is expected of jobs counts.
    """
    order = replace(
        policy,
        source=Source.GIVEN if is_known else Source.NOTHING,
        is_certain=is_known,
        is_wary=False,
        wait_cap_s=ENDLESS,
        shared_cap_s=ENDLESS,
    )
    means = [mean(in_way(order, way)) for way in WAYS[: len(WAYS) if is_known else -1]]
    return means if is_known else [*means, means[0]]


def in_way(policy: Policy, way: Way) -> Policy:
    """The same policy, that goes one way."""
    return replace(policy, adapts=way.adapts, margin=policy.margin if way.stops else ENDLESS)


def probable_s(done: Floats, ended: Floats) -> Floats:
    """(J,) run times, in seconds, with which jobs count that have not ended: those of jobs that ended and had run
    longer than they have, from the shortest to the longest in turn; twice what is done where none had.

    Twice what is done for all would make run times that are alike look unlike, and stops look good.

    Args:
        done: (J,) what they have run so far.
        ended: run times of what has ended.
    """
    known = np.append(np.sort(ended), np.inf)
    first = np.searchsorted(known, done, side="right")
    turn = np.arange(len(done)) * GOLDEN % 1.0
    found = known[first + (turn * (len(ended) - first)).astype(np.int64)]
    return np.maximum(np.where(np.isfinite(found), found, 2 * done), 1.0)
