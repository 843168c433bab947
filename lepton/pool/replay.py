"""Replay a trace in virtual time with the code that decides in production, and say what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lepton.pool.arrays import Rules, fits, replay_of
from lepton.pool.boosting import EVERY_S, Past, relearn
from lepton.pool.hindsight import Lately, Trials, endings, probable_s, tried
from lepton.pool.kernel import replay as kernel
from lepton.pool.kernel.predict import IS_SPREAD, IS_TRUSTED, note_way
from lepton.pool.kernel.state import ABSENT, BY_KEY, ENDED, RUNNING, WAITING, Rows, longer
from lepton.pool.policy import Policy, Way
from lepton.pool.trace import Cluster, Floats, Ints, Trace

MOMENTS = 20_000
"""How many are replayed between two reports of progress, at most,"""
LEAST = 50
"""and at least."""


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
    trials = Trials() if policy.is_wary and policy.preempts else Trials(due=of + 1)
    while True:
        ended = int(replay.at[kernel.ENDS])
        if ended >= trials.due:
            replay, tried_jobs = try_out(trials, replay, trace, cluster, policy, rules)
            trials.wait(ended, tried_jobs)
        said = kernel.advance(replay, min(MOMENTS, max(LEAST, trials.due - ended)))
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


def try_out(
    trials: Trials, replay: kernel.Replay, trace: Trace, cluster: Cluster, policy: Policy, rules: Rules
) -> tuple[kernel.Replay, int]:
    """Find out which way is best lately; return the same replay, that goes it from here, and with how many jobs."""
    history = replay.history
    lately = lately_of(replay, trace, is_known=policy.is_certain or bool(history.ended[IS_TRUSTED]))
    if lately is None:
        return replay, 0

    def mean(policy: Policy) -> float:
        outcome = run(lately.trace, cluster, policy, replace(rules, given=lately.guess, fit=None))
        return float((outcome.finished - lately.trace.submit).mean())

    now = Way(stops=bool(history.ended[IS_SPREAD]), adapts=bool(replay.order.adapts))
    way = trials.hear(tried(policy, mean, is_known=lately.guess is not None), now)
    note_way(history, way.stops)
    replay.pool.size[BY_KEY] = way.stops
    return replay._replace(order=replay.order._replace(adapts=way.adapts)), len(lately.trace)


def lately_of(replay: kernel.Replay, trace: Trace, *, is_known: bool) -> Lately | None:
    """The jobs that ended last and the oldest of those that live; None: too many live."""
    jobs, now = replay.pool.jobs, float(replay.segments.end[replay.at[kernel.SEGMENTS] - 1])
    state = np.asarray(jobs.state)
    alive = replay.by_submit[np.isin(state[replay.by_submit], (WAITING, RUNNING))]
    count = endings(len(alive))
    if not count:
        return None
    ended = ended_at(replay)
    last, alive = np.argsort(ended, kind="stable")[: np.isfinite(ended).sum()][-count:], alive[: 2 * count]
    duration, chosen = trace.duration.copy(), np.zeros(len(trace), np.bool_)
    duration[alive] = probable_s(worked_s(jobs, now)[alive], trace.duration[last])
    chosen[last] = chosen[alive] = True
    known = replace(trace, duration=duration).only(chosen)
    return Lately(trace=known, guess=np.expm1(replay.history.guess[chosen]) if is_known else None)


def worked_s(jobs: Rows, now: float) -> Floats:
    """(J,) seconds of work that each job has done; of those that have ended, before their last run."""
    running_s = np.maximum(0.0, now - jobs.begun - jobs.lead)
    return np.asarray(jobs.work + np.where(jobs.state == RUNNING, running_s, 0.0))


def ended_at(replay: kernel.Replay) -> Floats:
    """(J,) when each job has ended; NaN: it has not."""
    jobs, count = len(replay.facts), replay.at[kernel.SEGMENTS]
    ended = np.full(jobs, np.nan)
    ended[replay.segments.job[:count]] = replay.segments.end[:count]
    ended[np.asarray(replay.pool.jobs.state)[:jobs] != ENDED] = np.nan
    return ended


def past_of(replay: kernel.Replay, now: float) -> Past:
    """What is known now of jobs that have ended or run."""
    jobs, history, ended = replay.pool.jobs, replay.history, ended_at(replay)
    done = np.where(np.isnan(ended), worked_s(jobs, now), replay.facts.duration)
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


def finished_of(replay: kernel.Replay) -> Floats:
    """Replay all that is left, where nothing is to be tried or fitted; (J,) when each job ended, NaN: never."""
    said = kernel.MORE
    while said != kernel.DONE:
        said = kernel.advance(replay, MOMENTS)
        if said == kernel.GROW:
            replay = grown(replay)
    return ended_at(replay)


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
