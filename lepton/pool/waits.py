"""When will it start? An interval for each job that has to wait, stated at its submit, meant to hold 8 times in 10.

It begins from what jobs of the same queue and size that had to wait have waited lately, and what those that still wait
have waited already; where few have, from the same size in all queues. Such quantiles alone hold 6 times in 10, because
congestion comes and goes. So both ends are moved by a factor for each size that learns from its errors (adaptive
conformal inference, Gibbs and Candes 2021): out by a step when it did not hold, in by a small step when it did. That a
promise is broken is known at its end, not when the job starts at last: so a growing queue is noticed while it grows.
Promises of one moment break together, and say one thing only: that the factor of that moment was too small.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import islice
from math import exp

import numpy as np

KEPT = 50
"""Waits of each queue and size that count."""
MOST = 1000
"""Waiting jobs of one queue and size that count; of more, as many at equal distances."""
ENOUGH = 10
STEP = 0.06
"""How far a factor's logarithm moves for one error."""
AIM = 0.06
"""Errors at each end that are aimed at: less than a tenth, for errors come in bursts."""
REACH = 1.5
"""How far beyond the logarithm that a broken promise was made with it can move that of today."""
FIRST = 0.3
FARTHEST = 5.0
"""Largest logarithm of a factor; the smallest is -1."""
BEYOND = 1.2
"""No interval reaches farther than this times the longest wait that was ever seen."""
SHORT_S = 60.0
"""Who starts sooner teaches nothing: nobody asks how long that takes."""
BLIND = (SHORT_S, 3600.0)
"""What is said before anything is known."""

Kind = tuple[str, int]
"""Queue and size."""


def size_of(gpus: int) -> int:
    """0: one device or none; 1: up to eight; 2: more."""
    return 0 if gpus <= 1 else 1 if gpus <= 8 else 2


@dataclass(slots=True)
class Promise:
    """What a waiting job was told."""

    kind: Kind
    at: float
    low_s: float
    high_s: float
    is_blind: bool = False
    """Nothing was known of how long such jobs wait."""
    is_broken: bool = False
    """It has waited longer than `high_s` already."""
    shift: tuple[float, float] = (0.0, 0.0)
    """By which its ends were moved."""
    told: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What it is told now: when that was said, and from and until how many seconds after that it probably starts."""


class Waits:
    """Intervals for jobs that have to wait, and what has become of them. Times are seconds on one clock, ascending."""

    def __init__(self) -> None:
        self._lately: dict[Kind, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._waiting: dict[Kind, dict[str, Promise]] = defaultdict(dict)
        self._ends: list[tuple[float, str]] = []
        self._promises: dict[str, Promise] = {}
        self._shift = {size: [FIRST, FIRST] for size in range(3)}
        """By size: logarithms of what the low end is divided by and the high end multiplied with."""
        self._longest_s = 0.0

    def state(self, job: str, queue: str, gpus: int, now: float) -> tuple[float, float]:
        """A job is submitted and cannot start: seconds from now within which it probably will."""
        self._notice(now)
        kind = (queue, size_of(gpus))
        is_blind = self._known(kind) is None
        low_s, high_s = self._usual(kind, now)
        shift = self._shift[kind[1]]
        high_s = high_s * exp(shift[1])
        oldest = next(iter(self._waiting[kind].values()), None)
        longest_s = max(self._longest_s, 0.0 if oldest is None else now - oldest.at)
        if longest_s:
            high_s = min(high_s, max(BEYOND * longest_s, BLIND[1]))
        low_s = low_s * exp(-shift[0])
        promise = Promise(kind, now, low_s if low_s > SHORT_S else 0.0, max(high_s, low_s + SHORT_S), is_blind)
        promise.shift = shift[0], shift[1]
        promise.told = (now, promise.low_s, promise.high_s)
        self._promises[job] = self._waiting[kind][job] = promise
        heapq.heappush(self._ends, (now + promise.high_s, job))
        return promise.low_s, promise.high_s

    def tell(self, job: str, queue: str, gpus: int, now: float) -> tuple[float, float, float]:
        """What a waiting job is told now: when that was said, and the seconds after it within which it probably starts.

        It is said once, and again when it has proved wrong: then from what others have waited that waited as long.
        """
        promise = self._promises.get(job)
        if promise is None:
            return now, *self.state(job, queue, gpus, now)
        at, _, high_s = promise.told
        sees_again = promise.is_blind and self._known(promise.kind) is not None
        if now > at + high_s or sees_again:
            promise.told = (now, *self._rest(promise, now))
            promise.is_blind = promise.is_blind and not sees_again
        return promise.told

    def still(self, job: str) -> "Waits":
        """What one job is told now, and of others nothing: asked there, it hears the same again."""
        found, promise = Waits(), self._promises.get(job)
        if promise is not None:
            found._promises[job] = replace(promise)
        return found

    def is_blind(self, job: str) -> bool:
        """Whether what a waiting job was told last comes from nothing."""
        promise = self._promises.get(job)
        return promise is not None and promise.is_blind

    def _known(self, kind: Kind) -> Kind | None:
        """Whose waits say how long such jobs wait: their own, or those of ever more others; None: too few have."""
        return next((each for each in (kind, ("", kind[1]), ("", -1)) if len(self._lately[each]) >= ENOUGH), None)

    def _rest(self, promise: Promise, now: float) -> tuple[float, float]:
        """How long one will wait still that has waited longer than was said: as long again, if no others have."""
        waited_s = now - promise.at
        rests = [each - waited_s for each in self._lately[promise.kind] if each > waited_s]
        if len(rests) < ENOUGH:
            return 0.0, max(waited_s, SHORT_S)
        low_s, high_s = np.quantile(rests, [0.1, 0.9])
        return float(low_s), max(float(high_s), float(low_s) + SHORT_S)

    def started(self, job: str, now: float) -> None:
        """A job that was told an interval has started."""
        self._notice(now)
        promise = self._promises.pop(job, None)
        if promise is None:
            return
        del self._waiting[promise.kind][job]
        waited_s = now - promise.at
        if waited_s < SHORT_S:
            return
        self._longest_s = max(self._longest_s, waited_s)
        self._move(promise, 0, is_error=waited_s < promise.low_s)
        if not promise.is_broken:
            self._move(promise, 1, is_error=False)
        for kind in (promise.kind, ("", promise.kind[1]), ("", -1)):
            self._lately[kind].append(waited_s)

    def gone(self, job: str) -> None:
        """A job that was told an interval will never start."""
        promise = self._promises.pop(job, None)
        if promise is not None:
            del self._waiting[promise.kind][job]

    def keep_only(self, jobs: Collection[str]) -> None:
        """Forget all promises but those to these jobs."""
        for job in [job for job in self._promises if job not in jobs]:
            self.gone(job)

    def _usual(self, kind: Kind, now: float) -> tuple[float, float]:
        """What jobs of this kind have waited: 8 in 10 of them."""
        known = self._known(kind)
        if known is None:
            return BLIND
        low_s, high_s = np.quantile(self._lately[known], [0.1, 0.9])
        waiting = self._waiting[kind]
        still = [now - other.at for other in islice(waiting.values(), 0, None, 1 + len(waiting) // MOST)]
        if still and len(self._lately[kind]) + len(still) >= ENOUGH:
            high_s = max(high_s, np.quantile([*self._lately[kind], *still], 0.9))
        return float(low_s), float(high_s)

    def _notice(self, now: float) -> None:
        """Learn from promises whose end has passed."""
        while self._ends and self._ends[0][0] <= now:
            promise = self._promises.get(heapq.heappop(self._ends)[1])
            if promise is not None and not promise.is_broken:
                promise.is_broken = True
                self._move(promise, 1, is_error=True)

    def _move(self, promise: Promise, end: int, *, is_error: bool) -> None:
        shift = self._shift[promise.kind[1]]
        if not is_error:
            shift[end] = max(-1.0, shift[end] - STEP * AIM)
        elif shift[end] < promise.shift[end] + REACH:
            shift[end] = min(FARTHEST, shift[end] + STEP * (1 - AIM))
