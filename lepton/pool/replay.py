"""Replay a trace in virtual time with the code that decides in production, and say what came of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton.pool.arrays import Rules, fits, replay_of
from lepton.pool.boosting import EVERY_S, Past, relearn
from lepton.pool.kernel import replay as kernel
from lepton.pool.kernel.state import ABSENT, ENDED, RUNNING, longer
from lepton.pool.policy import Policy
from lepton.pool.trace import Cluster, Floats, Ints, Trace

MOMENTS = 20_000
"""How many are replayed between two reports of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where and when every job ran.

    S segments, each an unbroken run on one set of nodes, in the order in which they ended. A refused job has none.
    """

    trace: Trace
    cluster: Cluster
    is_refused: NDArray[np.bool_]
    """(J,) could never fit."""
    job: Ints
    """(S,) index of the job."""
    start: Floats
    end: Floats
    """(S,) on the trace's clock, in seconds."""
    worker: Ints
    """(S + 1,) first of each segment's workers in"""
    node: Ints
    """(workers,) index of a node; `node_names` names it."""
    first: Floats
    """(J,) first start; NaN for refused jobs."""
    finished: Floats
    """(J,) end of the last segment."""

    def node_names(self) -> list[str]:
        """`<queue>/<i>` for each node, in the order of their indices."""
        return [f"{queue}/{i}" for queue, count in self.cluster.nodes.items() for i in range(count)]

    def worker_gpus(self) -> Ints:
        """(workers,) devices that each worker holds."""
        per_node, gpus = self.cluster.per_node, self.trace.gpus[self.job]
        held = np.full(len(self.node), per_node, np.int64)
        rest = gpus % per_node
        has_rest = (rest > 0) | (gpus == 0)
        held[self.worker[1:][has_rest] - 1] = rest[has_rest]
        return held


def run(
    trace: Trace,
    cluster: Cluster,
    policy: Policy,
    rules: Rules,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Outcome:
    """Replay a trace to its end; equal input gives equal outcomes.

    Args:
        progress: called now and then with how many jobs have ended, and of how many.
    """
    replay = replay_of(trace, cluster, policy, rules)
    of = len(replay.by_submit)
    while True:
        said = kernel.advance(replay, MOMENTS)
        progress(int(replay.at[kernel.ENDS]), of)
        if said == kernel.DONE:
            return outcome_of(replay, trace, cluster, ~fits(trace, cluster, rules.is_partitioned))
        if said == kernel.GROW:
            replay = grown(replay)
        if said == kernel.PAUSE and rules.fit is not None:
            now = float(replay.pause[0])
            history = relearn(replay.history, past_of(replay, now), now, policy.quantile, rules.fit)
            replay = replay._replace(history=history)
            replay.pause[0] = now + EVERY_S if replay.at[kernel.SUBMITS] < of else np.inf


def past_of(replay: kernel.Replay, now: float) -> Past:
    """What is known now of jobs that have ended or run."""
    jobs, history, count = replay.pool.jobs, replay.history, replay.at[kernel.SEGMENTS]
    ended = np.full(len(jobs), np.nan)
    ended[replay.segments.job[:count]] = replay.segments.end[:count]
    ended[jobs.state != ENDED] = np.nan
    done = jobs.work + np.where(jobs.state == RUNNING, np.maximum(0.0, now - jobs.begun - jobs.lead), 0.0)
    done = np.where(np.isnan(ended), done, replay.facts.duration)
    known = np.flatnonzero(~np.isnan(ended) | ((jobs.state != ABSENT) & (done > 0)))
    return Past(
        features=history.features[known],
        mean=history.mean[known],
        boosted=history.boosted[known],
        done=np.log1p(done[known]),
        ended=ended[known],
    )


def grown(replay: kernel.Replay) -> kernel.Replay:
    """The same replay with twice the room for events and segments."""
    events, segments, nodes = replay.events, replay.segments, replay.nodes
    return replay._replace(
        events=longer(events, 2 * len(events)),
        segments=longer(segments, 2 * len(segments)),
        nodes=longer(nodes, 2 * len(nodes)),
    )


def outcome_of(replay: kernel.Replay, trace: Trace, cluster: Cluster, is_refused: NDArray[np.bool_]) -> Outcome:
    """What the log of a finished replay says."""
    segments, jobs, count = replay.segments, replay.pool.jobs, replay.at[kernel.SEGMENTS]
    job, start, end = (np.ascontiguousarray(each[:count]) for each in (segments.job, segments.start, segments.end))
    workers = jobs.place_end - jobs.place
    worker = np.concatenate([[0], np.cumsum(workers[job])]).astype(np.int64)
    first, finished = np.full(len(trace), np.nan), np.full(len(trace), np.nan)
    first[job[::-1]] = start[::-1]
    finished[job] = end
    return Outcome(
        trace=trace,
        cluster=cluster,
        is_refused=is_refused,
        job=job,
        start=start,
        end=end,
        worker=worker,
        node=replay.nodes[: worker[-1]],
        first=first,
        finished=finished,
    )
