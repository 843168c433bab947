"""What waiting jobs of a replay would have been told, and how well that held. Nothing is known before its time."""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lepton.pool.replay import Outcome
from lepton.pool.trace import Floats, Ints
from lepton.pool.waits import SHORT_S, Kind, Waits, size_of

ALPHA = 0.2
BASELINE = 200
SIZES = ("1 GPU", "2-8 GPUs", "more than 8 GPUs")


@dataclass(frozen=True, slots=True)
class Intervals:
    """One row for each job that could not start when it was submitted."""

    job: Ints
    """Index of the job."""
    low: Floats
    """Earliest and"""
    high: Floats
    """latest start that it was told, on the trace's clock."""


class Told(Protocol):
    """A way to tell waiting jobs when they start."""

    def state(self, job: str, queue: str, gpus: int, now: float) -> tuple[float, float]:
        """A job is submitted and cannot start: seconds from now within which it probably will."""
        ...

    def started(self, job: str, now: float) -> None:
        """Such a job has started."""
        ...


class Usual:
    """For comparison: 10-90 % quantiles of the last 200 waits of the same queue and size, zeros not among them."""

    def __init__(self) -> None:
        self._lately: dict[Kind, deque[float]] = defaultdict(lambda: deque(maxlen=BASELINE))
        self._waiting: dict[str, tuple[Kind, float]] = {}

    def state(self, job: str, queue: str, gpus: int, now: float) -> tuple[float, float]:
        """As `Told`."""
        kind = (queue, size_of(gpus))
        self._waiting[job] = (kind, now)
        low_s, high_s = np.quantile(self._lately[kind], [0.1, 0.9]) if self._lately[kind] else (0.0, 0.0)
        return float(low_s), float(high_s)

    def started(self, job: str, now: float) -> None:
        """As `Told`."""
        kind, since = self._waiting.pop(job)
        self._lately[kind].append(now - since)


def intervals_of(outcome: Outcome, told_by: Callable[[], Told] = Waits) -> Intervals:
    """What each job was told at its submit."""
    trace, teller = outcome.trace, told_by()
    starting: list[tuple[float, int]] = []
    told: list[tuple[int, float, float]] = []
    for job in in_order(outcome):
        now, queue, gpus = float(trace.submit[job]), trace.queues[trace.queue[job]], int(trace.gpus[job])
        while starting and starting[0][0] <= now:
            at, other = heapq.heappop(starting)
            teller.started(trace.id[other], at)
        if outcome.first[job] > now:
            low_s, high_s = teller.state(trace.id[job], queue, gpus, now)
            told.append((job, now + low_s, now + high_s))
            heapq.heappush(starting, (float(outcome.first[job]), job))
    rows = np.array(told).reshape(-1, 3)
    return Intervals(rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2])


def in_order(outcome: Outcome) -> Ints:
    """Jobs that ran, as they were submitted."""
    order = np.argsort(outcome.trace.submit, kind="stable")
    return order[~outcome.is_refused[order]]


def judged(outcome: Outcome, intervals: Intervals) -> dict[str, Any]:
    """How intervals held for jobs that waited a minute or more: share inside, mean Winkler score (alpha 0.2)."""
    start, submit = outcome.first[intervals.job], outcome.trace.submit[intervals.job]
    asked = start - submit >= SHORT_S
    start, low, high = start[asked], intervals.low[asked], intervals.high[asked]
    size = np.array([size_of(gpus) for gpus in outcome.trace.gpus[intervals.job][asked]])
    inside = (low <= start) & (start <= high)
    score = (high - low) + 2 / ALPHA * (np.maximum(0, low - start) + np.maximum(0, start - high))
    found: dict[str, Any] = {"jobs": int(asked.sum())}
    if found["jobs"]:
        found |= {"inside": float(inside.mean()), "winkler_s": float(score.mean())}
        found["inside_by_size"] = {SIZES[at]: float(inside[size == at].mean()) for at in range(3) if (size == at).any()}
    return found
