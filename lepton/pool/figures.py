"""What a replay comes to, by the published artifacts' definitions.

queue = end - submit - duration (so it holds waiting and what stopping cost); JCT = end - submit;
p99.9 = `sorted(queue)[int(0.999 n)]`. Refused jobs are counted, and in no other figure.
"""

from typing import Any

import numpy as np

from lepton.pool.replay import Outcome
from lepton.pool.trace import Floats, Trace


def waits_of(outcome: Outcome) -> Floats:
    """(J,) seconds in the queue; NaN for refused jobs."""
    return np.asarray(outcome.finished - outcome.trace.submit - outcome.trace.duration)


def figures(outcome: Outcome) -> dict[str, Any]:
    """Figures of all jobs, in seconds unless their name says otherwise."""
    ran = ~outcome.is_refused
    trace = outcome.trace
    waits, jct = waits_of(outcome)[ran], (outcome.finished - trace.submit)[ran]
    runs = np.bincount(outcome.job, minlength=len(trace))[ran]
    found: dict[str, Any] = {
        "jobs": int(ran.sum()),
        "refused": int(outcome.is_refused.sum()),
        "mean_jct_s": mean(jct),
        "mean_queue_s": mean(waits),
        "p50_queue_s": quantile(waits, 0.5),
        "p99_queue_s": quantile(waits, 0.99),
        "p999_queue_s": quantile(waits, 0.999),
        "longest_queue_h": float(waits.max(initial=0.0)) / 3600,
        "preemptions": int((runs - 1).sum()),
        "utilisation": utilisation(outcome),
        "queues": {
            name: {"jobs": int(of.sum()), "mean_jct_s": mean(jct[of]), "mean_queue_s": mean(waits[of])}
            for name, of in masks(trace, ran)
        },
    }
    return found


def masks(trace: Trace, ran: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[tuple[str, Any]]:
    """Each queue and which of the jobs that ran are its."""
    queue = trace.queue[ran]
    return [(name, queue == index) for index, name in enumerate(trace.queues) if (queue == index).any()]


def mean(values: Floats) -> float:
    """Mean; 0 of nothing."""
    return float(values.mean()) if len(values) else 0.0


def quantile(values: Floats, share: float) -> float:
    """The value that `share` of all do not exceed, as the artifacts take it; 0 of nothing."""
    return float(np.sort(values)[int(share * len(values))]) if len(values) else 0.0


def utilisation(outcome: Outcome) -> float:
    """Share of the cluster's device-seconds that were held, from the first submit to the last end."""
    if not len(outcome.job):
        return 0.0
    held = ((outcome.end - outcome.start) * outcome.trace.gpus[outcome.job]).sum()
    whole = sum(outcome.cluster.nodes.values()) * outcome.cluster.per_node
    span = outcome.end.max() - outcome.trace.submit.min()
    return float(held / (whole * span)) if whole and span > 0 else 0.0


def steps(times: Floats, changes: Floats) -> tuple[Floats, Floats]:
    """A count over time from its changes: the times at which it changes, and its value from then on."""
    moments, index = np.unique(times, return_inverse=True)
    return moments, np.cumsum(np.bincount(index.reshape(-1), weights=changes, minlength=len(moments)))


def held_over_time(outcome: Outcome) -> tuple[Floats, Floats]:
    """Devices held, from each time on."""
    gpus = outcome.trace.gpus[outcome.job].astype(np.float64)
    return steps(np.concatenate([outcome.start, outcome.end]), np.concatenate([gpus, -gpus]))


def waiting_over_time(outcome: Outcome) -> tuple[Floats, Floats]:
    """Jobs that wait, from each time on: submitted or stopped, and not running."""
    ran = ~outcome.is_refused
    ends_early = outcome.end < outcome.finished[outcome.job]
    times = np.concatenate([outcome.trace.submit[ran], outcome.end[ends_early], outcome.start])
    changes = np.concatenate([np.ones(int(ran.sum() + ends_early.sum())), -np.ones(len(outcome.start))])
    return steps(times, changes)
