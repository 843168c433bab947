"""When will it start? An interval for each job that has to wait, stated at its submit, meant to hold 8 times in 10.

Its ends are quantiles of one sample: what jobs of the same queue and size that had to wait have waited, what those that
still wait have waited already, twice, and, with little weight, what the queue's last ones of any size, all of the size
and all have waited. Fixed quantiles hold too seldom, because congestion comes and goes: so their levels move, for each
size, and learn from errors (adaptive conformal inference, Gibbs and Candes 2021): out by a step when an end did not
hold, in by a small step when it did. So none reaches beyond what was seen, or twice what is seen. That a promise is
broken is known at its end, not when the job starts at last: so a growing queue is noticed while it grows. Promises of
one moment break together, and say one thing only: that the level of that moment was too near.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import exp, log

import numpy as np

from lepton.pool.trace import Floats

KEPT = 1000
"""Waits of each queue and size that count, and of each size, and of all."""
LAST = 10
"""Waits of a queue, of any size, that count besides."""
OF_QUEUE, OF_SIZE, OF_ALL = 5.0, 10.0, 3.0
"""What those last ones count for, and all of the same size, and all: in waits of the same queue and size."""
MOST = 300
"""Waiting jobs of one queue and size that are looked at; of more, as many at equal distances."""
AGAIN = 2.0
"""Who has waited so long is taken to wait for so many times that."""
ENOUGH = 10
STEP = 0.02
"""How far the log-odds of a level move for one error."""
AIM = 0.07
"""Errors at each end that are aimed at: less than a tenth, for errors come in bursts."""
REACH = 1.0
"""How far beyond the log-odds that a broken promise was made with it can move those of today."""
MIDDLE = log(9.0)
"""Log-odds of the level 0.9, of which a shift is taken; the lower end's level is the same from below."""
FIRST = 0.4
NEAREST, FARTHEST = -1.0, 2.5
"""Least and largest shift: levels of 0.77 and 0.991."""
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
        """By queue and size, "" for all queues and -1 for all sizes."""
        self._waiting: dict[Kind, dict[str, Promise]] = defaultdict(dict)
        self._ends: list[tuple[float, str]] = []
        self._promises: dict[str, Promise] = {}
        self._shift = {size: [FIRST, FIRST] for size in range(3)}
        """By size: what is added to the log-odds of the level of the low end, seen from below, and of the high one."""

    def state(self, job: str, queue: str, gpus: int, now: float) -> tuple[float, float]:
        """A job is submitted and cannot start: seconds from now within which it probably will."""
        self._notice(now)
        kind = (queue, size_of(gpus))
        shift = self._shift[kind[1]][0], self._shift[kind[1]][1]
        low_s, high_s = self._between(kind, shift, now) if self._is_known else BLIND
        promise = Promise(kind, now, low_s if low_s > SHORT_S else 0.0, max(high_s, low_s + SHORT_S))
        promise.is_blind, promise.shift = not self._is_known, shift
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
        sees_again = promise.is_blind and self._is_known
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

    @property
    def _is_known(self) -> bool:
        """Whether enough is known of how long jobs wait."""
        return len(self._lately["", -1]) >= ENOUGH

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
        self._move(promise, 0, is_error=waited_s < promise.low_s)
        if not promise.is_broken:
            self._move(promise, 1, is_error=False)
        queue, size = promise.kind
        for kind in {(queue, size), (queue, -1), ("", size), ("", -1)}:
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

    def _between(self, kind: Kind, shift: tuple[float, float], now: float) -> tuple[float, float]:
        """Two quantiles of what is known of how long such jobs wait."""
        known = list(self._sample(kind, now))
        waits = np.concatenate([each for each, _ in known])
        weights = np.concatenate([np.full(len(each), weight) for each, weight in known])
        order = np.argsort(waits)
        waits, weights = waits[order], weights[order]
        levels = (np.cumsum(weights) - weights / 2) / weights.sum()
        asked = 1 / (1 + exp(MIDDLE + shift[0])), 1 / (1 + exp(-MIDDLE - shift[1]))
        low_s, high_s = np.interp(asked, levels, waits)
        return float(low_s), float(high_s)

    def _sample(self, kind: Kind, now: float) -> Iterator[tuple[Floats, float]]:
        """Waits, and what each of them counts for."""
        queue, size = kind
        yield np.array(self._lately[kind]), 1.0
        last = np.array(list(islice(reversed(self._lately[queue, -1]), LAST)))
        for waits, count in ((last, OF_QUEUE), (self._lately["", size], OF_SIZE), (self._lately["", -1], OF_ALL)):
            yield np.array(waits), min(1.0, count / max(1, len(waits)))
        waiting = self._waiting[kind]
        some = islice(waiting.values(), 0, None, 1 + len(waiting) // MOST)
        still = np.array([now - each.at for each in some if now - each.at >= SHORT_S])
        yield AGAIN * still, 1.0

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
            shift[end] = max(NEAREST, shift[end] - STEP * AIM)
        elif shift[end] < promise.shift[end] + REACH:
            shift[end] = min(FARTHEST, shift[end] + STEP * (1 - AIM))
