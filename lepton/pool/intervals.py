"""What waiting jobs of a replay would have been told, and how well that held. Nothing is known before its time."""

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton.pool.replay import Outcome
from lepton.pool.trace import Floats, Ints
from lepton.pool.waits import SHORT_S, Waits, size_of

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


def intervals_of(outcome: Outcome) -> Intervals:
    """What each job was told at its submit."""
    trace, waits = outcome.trace, Waits()
    starting: list[tuple[float, int]] = []
    told: list[tuple[int, float, float]] = []
    for job in in_order(outcome):
        now = float(trace.submit[job])
        while starting and starting[0][0] <= now:
            at, other = heapq.heappop(starting)
            waits.started(trace.id[other], at)
        if outcome.first[job] > now:
            low_s, high_s = waits.state(trace.id[job], trace.queues[trace.queue[job]], int(trace.gpus[job]), now)
            told.append((job, now + low_s, now + high_s))
            heapq.heappush(starting, (float(outcome.first[job]), job))
    rows = np.array(told).reshape(-1, 3)
    return Intervals(rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2])


def in_order(outcome: Outcome) -> Ints:
    """Jobs that ran, as they were submitted."""
    order = np.argsort(outcome.trace.submit, kind="stable")
    return order[~outcome.is_refused[order]]


def usual_of(outcome: Outcome) -> Intervals:
    """For comparison: 10-90 % quantiles of the last 200 waits of the same queue and size, zeros among them."""
    trace = outcome.trace
    lately: dict[tuple[int, int], deque[float]] = defaultdict(lambda: deque(maxlen=BASELINE))
    starting: list[tuple[float, int]] = []
    told: list[tuple[int, float, float]] = []
    for job in in_order(outcome):
        now = float(trace.submit[job])
        while starting and starting[0][0] <= now:
            at, other = heapq.heappop(starting)
            lately[trace.queue[other], size_of(trace.gpus[other])].append(at - trace.submit[other])
        kind = (trace.queue[job], size_of(trace.gpus[job]))
        if outcome.first[job] > now:
            low_s, high_s = np.quantile(lately[kind], [0.1, 0.9]) if lately[kind] else (0.0, 0.0)
            told.append((job, now + low_s, now + high_s))
        heapq.heappush(starting, (float(outcome.first[job]), job))
    rows = np.array(told).reshape(-1, 3)
    return Intervals(rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2])


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
