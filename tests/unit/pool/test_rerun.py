"""A live pool tries its ways on what it has seen, and finds what a replay of the same finds."""

from dataclasses import replace

import numpy as np
import pytest

from lepton.core.launch import Devices
from lepton.pool.arrays import Rules, replay_of
from lepton.pool.hindsight import FIRST, LARGEST, WAYS, Trials, Verdict, tried
from lepton.pool.kernel import replay as kernel
from lepton.pool.kernel.state import BY_KEY, ENDED, RUNNING
from lepton.pool.live.pool import LivePool
from lepton.pool.live.rerun import means_of, rerun_of
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Place, Truth, Wants
from lepton.pool.policy import LIVE, OURS, Policy
from lepton.pool.quota import QueueSpec
from lepton.pool.replay import lately_of, run, worked_s
from lepton.pool.shape import Machine
from lepton.pool.trace import Trace
from tests.unit.pool.test_hindsight import CLUSTER, made

NODES = 16
STARTED = Rules(is_partitioned=False)


def wants_of(trace: Trace, job: int) -> Wants:
    gpus = int(trace.gpus[job])
    sizes = [8] * (gpus // 8) + ([gpus % 8] if gpus % 8 else [])
    return Wants(
        job=f"{job:06}",
        workers=tuple(Devices(cpu_milli=1000, gpu_milli=1000 * size) for size in sizes),
        queue="all",
        user=trace.users[trace.user[job]],
        program=str(trace.cpus[job]),
        can_resume=True,
        since_s=float(trace.submit[job]),
    )


def pool_of(policy: Policy = LIVE) -> LivePool:
    """Sixteen nodes, guaranteed to one queue, as those of a virtual cluster are in a replay."""
    pool = LivePool(policy)
    pool.put_rights(Rights(queues={"all": QueueSpec(guarantee={"gpu_milli": NODES * 8000})}), 0.0)
    devices = Devices(cpu_milli=64_000, gpu_milli=8000)
    pool.put_machines([Machine(name=f"n{at:02}", total=devices) for at in range(NODES)], 0.0)
    pool.settle(0.0)
    return pool


def stopped(trace: Trace, ends: int) -> kernel.Replay:
    """A replay of a trace in one pool, after so many endings."""
    replay = replay_of(trace, CLUSTER, OURS, STARTED)
    while replay.at[kernel.ENDS] < ends:
        kernel.advance(replay, 1)
    return replay


def lived(trace: Trace, replay: kernel.Replay, policy: Policy) -> tuple[LivePool, float]:
    """A live pool that has seen what has happened in a replay so far; and when that was."""
    pool, jobs, count = pool_of(policy), replay.pool.jobs, replay.at[kernel.SEGMENTS]
    ends = {int(replay.segments.job[at]): float(replay.segments.end[at]) for at in range(count)}
    now = float(replay.segments.end[count - 1])
    ended = {job: at for job, at in ends.items() if jobs.state[job] == ENDED}
    done = worked_s(jobs, now)
    steps = [(at, 0, job) for job, at in ended.items()]
    steps += [(float(trace.submit[job]), 1, job) for job in replay.by_submit[: replay.at[kernel.SUBMITS]].tolist()]
    for at, comes, job in sorted(steps):
        gone = Truth(phase=Phase.GONE, ran_s=float(trace.duration[job]))
        pool.put(wants_of(trace, job), Truth(phase=Phase.QUEUED) if comes else gone, at)
    for job in [job for _, comes, job in steps if comes and job not in ended]:
        wants, truth = wants_of(trace, job), Truth(phase=Phase.QUEUED, worked_s=float(jobs.work[job]))
        if jobs.state[job] == RUNNING:  # it matters to a trial for how long, and not where
            began_s, places = now - float(done[job] - jobs.work[job]), (Place("gone"),) * len(wants.workers)
            truth = replace(truth, phase=Phase.HOLDS, began_s=began_s, places=places)
        pool.put(wants, truth, now)
    return pool, now


def apart(trace: Trace) -> Trace:
    """The same jobs, no two of which come at the same moment."""
    return replace(trace, submit=trace.submit + np.arange(len(trace)) / 1024)


def announced(trace: Trace) -> Trace:
    """The same jobs, whose users are those who have such run times."""
    return replace(trace, user=np.minimum(8, np.log1p(trace.duration)).astype(np.int64))


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(apart(made(sigma=1.6, load=1.0, seed=4, jobs=900)), id="stops pay"),
        pytest.param(apart(made(sigma=0.5, load=1.1, seed=1, jobs=900)), id="run times alike"),
        pytest.param(apart(announced(made(sigma=1.6, load=1.1, seed=4, jobs=900))), id="run times known"),
    ],
)
def test_a_live_pool_finds_what_a_replay_finds(trace: Trace) -> None:
    """To the digit: it is the same code on the same jobs, and the order of a server comes to the same way."""
    replay = stopped(trace, 450)
    pool, now = lived(trace, replay, OURS)
    rerun = rerun_of(pool, now)
    lately = lately_of(replay, trace, is_known=pool.forecast.is_known)
    assert rerun is not None and lately is not None
    assert FIRST < pool.forecast.ended == replay.at[kernel.ENDS] < len(rerun.jobs)

    def mean(policy: Policy) -> float:
        outcome = run(lately.trace, CLUSTER, policy, replace(STARTED, given=lately.guess))
        return float((outcome.finished - lately.trace.submit).mean())

    order = np.argsort([each.job for each in rerun.jobs])
    assert [int(rerun.jobs[at].job) for at in order] == [int(id) for id in lately.trace.id]
    assert np.allclose(rerun.ran_s[order], lately.trace.duration)
    assert lately.guess is None or np.allclose(rerun.guess_s[order], lately.guess)
    ours, theirs = means_of(rerun), tried(OURS, mean, is_known=pool.forecast.is_known)
    assert ours == pytest.approx(theirs, rel=1e-9)
    way = Trials().hear(theirs, pool.forecast.way)
    assert Trials().hear(ours, pool.forecast.way) == way
    server, now = lived(trace, replay, LIVE)
    rerun = rerun_of(server, now)
    assert rerun is not None
    assert Trials().hear(means_of(rerun), server.forecast.way) == way


def test_trials_find_what_no_rule_of_thumb_did() -> None:
    trace = made(sigma=1.6, load=1.0, seed=4, jobs=900)
    pool, now = lived(trace, stopped(trace, 450), LIVE)
    rerun = rerun_of(pool, now)
    assert rerun is not None
    assert not pool.forecast.way.stops
    assert Trials().hear(means_of(rerun), pool.forecast.way).stops


def test_what_trials_have_said_is_gone_by_at_the_next_decision_and_by_who_asks_why() -> None:
    pool = pool_of()
    for way in WAYS:
        pool.forecast.go(Verdict(way=way))
        pool.decide(1.0)
        assert pool.forecast.way == way
        assert pool.seats.order.adapts == way.adapts
        assert bool(pool.seats.tables.pool.size[BY_KEY]) == way.stops
        still = pool.still("nobody", 1.0)
        assert still.seats.order == pool.seats.order
        pool.is_stale = True  # a node has come: arrays made anew go the same way
        pool.decide(2.0)
        assert pool.seats.order.adapts == way.adapts


def test_endings_are_counted_on_after_a_restart() -> None:
    trace = made(sigma=1.0, load=0.5, seed=3, jobs=300)
    verdict = Verdict(way=WAYS[1], tried_s=float(trace.submit[199]) + 0.5, ended=10_000, due=17_500)
    pool = pool_of()
    for job in range(250):
        pool.forecast.learn(wants_of(trace, job), 1.0, float(trace.submit[job]))
    later = int((trace.submit[:250] > verdict.tried_s).sum())
    pool.forecast.go(verdict)
    assert pool.forecast.ended == 10_000 + later
    pool.forecast.learn(wants_of(trace, 250), 1.0, float(trace.submit[250]))
    assert pool.forecast.ended == 10_001 + later


def test_what_serves_holds_its_place_and_counts_for_no_mean() -> None:
    pool, now = pool_of(), 100_000.0
    whole = Devices(cpu_milli=1000, gpu_milli=8000)
    for at in range(NODES):
        serving = Wants(job=f"s{at}", workers=(whole,), is_endless=True, is_pinned=True, since_s=0.0)
        pool.put(serving, Truth(phase=Phase.HOLDS, places=(Place(f"n{at:02}"),), began_s=1.0), now)
    ended = Wants(job="ended", workers=(whole,), since_s=90_000.0)
    pool.forecast.learn(ended, 60.0, now)
    rerun = rerun_of(pool, now)
    assert rerun is not None and rerun.ran_s.max() == 200_000.0
    assert means_of(rerun) == [200_000.0 + 60.0 - 90_000.0] * 4, "it waits for the first that serves"


def test_where_nobody_comes_to_an_end_there_is_no_mean() -> None:
    pool = pool_of()
    pool.forecast.learn(Wants(job="tpu", workers=(Devices(cpu_milli=1, tpu_milli=1000),)), 60.0, 100.0)
    rerun = rerun_of(pool, 100.0)
    assert rerun is not None
    assert np.isnan(means_of(rerun)).all()


def test_what_is_kept_for_trials_has_an_end_and_too_many_living_are_not_tried() -> None:
    pool = pool_of()
    one = Wants(job="one", workers=(Devices(cpu_milli=1),))
    for _ in range(LARGEST + 5):
        pool.forecast.learn(one, 1.0, 1.0)
    assert len(pool.forecast.endings) == LARGEST
    pool.is_stale = True  # they need no rows for this
    for at in range(2 * LARGEST + 1):
        pool.put(replace(one, job=str(at)), Truth(phase=Phase.QUEUED), 1.0)
    assert rerun_of(pool, 1.0) is None
