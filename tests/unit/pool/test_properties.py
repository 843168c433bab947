"""What holds of every pool, whatever comes to it: 20,000 small made ones, and many more in a slow run.

Live pools: `test_live_properties`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.kernel import replay as kernel
from lepton.pool.kernel import reserve
from lepton.pool.kernel.state import ENDED, LATE, STARTS, STOPS, WAITING
from lepton.pool.policy import CALM
from lepton.pool.replay import Outcome, grown
from lepton.pool.trace import Cluster, Ints
from tests.unit.pool.cases import ALIKE, NAMES, ORDERS, Case, any_case, begun, replayed, trace_of

MORE = 20
"""Times as many in a slow run."""
AGAIN = 16
"""Every so manyth case is replayed twice."""
TWINS = 60
CAP_S = 300.0
BLOCK = 2 * ALIKE
"""Cases of one example: drawing them one by one would take longer than to check them."""
blocks = st.integers(0, 2**40)
Property = Callable[[int], None]


def each(cases: int, *, is_new: bool = False) -> Callable[[Property], Property]:
    """A property of so many cases, others each time or not: each example that is drawn is `BLOCK` of them in a row."""

    def decorated(check: Property) -> Property:
        def examples(block: int) -> None:
            for seed in range(BLOCK * block, BLOCK * (block + 1)):
                check(seed)

        examples.__name__, examples.__doc__ = check.__name__, check.__doc__
        drawn = settings(max_examples=-(-cases // BLOCK), deadline=None, derandomize=not is_new)
        return drawn(given(block=blocks)(examples))

    return decorated


def most_held(of: Ints, times: "np.ndarray[tuple[int], np.dtype[np.float64]]", changes: Ints) -> Ints:
    """What each of those that `of` names holds after each change, in the order of their names and of time."""
    order = np.lexsort((changes, times, of))
    return np.cumsum(changes[order])  # of each all is given back: the next begins at 0


def check_case(seed: int) -> None:
    """No node and no queue holds too much, gangs are whole, every job does its work, and twice the same is the same."""
    case = any_case(seed)
    outcome = replayed(case)
    check_amounts(case, outcome)
    check_work(case, outcome)
    if seed % AGAIN == 0:
        again = replayed(case)
        assert outcome.finished.tobytes() == again.finished.tobytes() and (outcome.node == again.node).all()


def check_amounts(case: Case, outcome: Outcome) -> None:
    """Of nodes and of queues, at every moment; a queue in fixed partitions keeps to its nodes."""
    lasts = outcome.end > outcome.start
    workers = np.diff(outcome.worker)
    segment = np.repeat(np.arange(len(outcome.job)), workers)
    held = np.where(workers[segment] == 1, case.milli(outcome.job)[segment], 1000 * outcome.worker_gpus())
    assert (np.bincount(segment, held, len(outcome.job)) == case.milli(outcome.job)).all(), "gangs are whole"
    nodes, held, of = outcome.node[lasts[segment]], held[lasts[segment]], segment[lasts[segment]]
    times = np.concatenate([outcome.start[of], outcome.end[of]])
    found = most_held(np.concatenate([nodes, nodes]), times, np.concatenate([held, -held]))
    assert found.max(initial=0) <= 1000 * case.cluster.per_node and found.min(initial=0) >= 0
    counts = np.array(list(case.cluster.nodes.values()))
    if case.is_partitioned:
        assert (np.repeat(np.arange(len(counts)), counts)[outcome.node] == case.trace.queue[outcome.job[segment]]).all()
    check_limits(case, outcome)


def check_limits(case: Case, outcome: Outcome) -> None:
    """No queue holds more than its limit."""
    if case.limit.min() == 2**62:
        return
    job = outcome.job[outcome.end > outcome.start]
    start, end = (times[outcome.end > outcome.start] for times in (outcome.start, outcome.end))
    queue, gpus, times = case.trace.queue[job], case.trace.gpus[job], np.concatenate([start, end])
    for name, limit in enumerate(case.limit):
        its = np.tile(queue == name, 2)
        found = most_held(np.zeros(its.sum(), np.int64), times[its], np.concatenate([gpus, -gpus])[its])
        assert found.max(initial=0) <= limit


def places_of(outcome: Outcome, run: int) -> list[tuple[int, int]]:
    """Nodes of one run and the devices that it holds there."""
    its = slice(*outcome.worker[run : run + 2])
    return sorted(zip(outcome.node[its].tolist(), outcome.worker_gpus()[its].tolist(), strict=True))


def restart_s(gpus: Ints) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """What a restart costs, as `docs/pool-replay.md` says it."""
    return np.where(gpus <= 1, 7.0, np.where(gpus <= 8, 30.0, 60.0))


def check_work(case: Case, outcome: Outcome) -> None:
    """Whoever could ever run has run for its duration, and for exactly what its restarts cost; from its submit on, one
    after the other; nobody is left, nobody is stopped by an order that stops nobody.
    """
    trace, jobs = case.trace, len(case.trace)
    runs = np.bincount(outcome.job, minlength=jobs)
    assert ((runs > 0) != outcome.is_refused).all(), "nobody starves"
    assert (outcome.start >= trace.submit[outcome.job]).all()
    order = np.lexsort((outcome.end, outcome.start, outcome.job))
    job, start, end = outcome.job[order], outcome.start[order], outcome.end[order]
    assert (start[1:] >= end[:-1])[job[1:] == job[:-1]].all()
    is_again = np.concatenate([[False], job[1:] == job[:-1]])
    worked = np.maximum(
        0.0, end - start - is_again * restart_s(trace.gpus[job])
    )  # one may be stopped while it restores
    assert np.allclose(np.bincount(job, worked, jobs)[runs > 0], trace.duration[runs > 0], rtol=0.0, atol=1e-3)
    at = np.flatnonzero((job[1:] == job[:-1]) & (start[1:] == end[:-1]))
    once = set(outcome.start[outcome.start == outcome.end].tolist())  # two decisions at one instant, one run between
    for first, second in order[np.stack([at, at + 1], 1)].tolist():
        moved = places_of(outcome, first) != places_of(outcome, second) or case.part
        assert moved or outcome.start[second] in once, "who goes on where it was, in one decision, was not stopped"
    assert case.policy.preempts or runs.max(initial=0) <= 1


@each(18_000)
def test_nothing_is_overfilled_and_everybody_does_its_work(seed: int) -> None:
    check_case(seed)


@pytest.mark.parametrize(
    "seed", [3810662077732, 17938482764215, 9777789977894, 8890500822218, 3430899962362, 16084478882126]
)
def test_gangs_that_may_stop_one_another_in_a_circle_come_to_an_end(seed: int) -> None:
    """Of three each may be stopped for the next: where a restart had not to be earned, they only switched."""
    check_case(seed)


@pytest.mark.slow
@each(18_000 * MORE, is_new=True)
def test_nothing_is_overfilled_in_very_many_cases(seed: int) -> None:
    check_case(seed)


def whole(seed: int) -> Case:
    """Jobs of whole nodes in one pool in which nothing is guaranteed, and nothing stopped."""
    chance = np.random.default_rng(seed)
    nodes = {f"q{queue}": int(chance.integers(1, 4)) for queue in range(int(chance.integers(2, 4)))}
    trace = trace_of(chance, list(nodes), [8, 8, 8, 16, 24])
    floor_s = float(chance.choice([5.0, 60.0, 300.0]))
    policy = replace(CALM, shared_cap_s=CAP_S, floor_s=floor_s, cap_factor=0.0)
    ranks = chance.choice([0, 4, 8], (len(nodes), 3)) if chance.random() < 0.5 else None
    return Case(trace, Cluster(nodes=nodes), policy, False, ranks, np.full(len(nodes), 2**62), 0, has_guarantees=False)


def check_patience(seed: int) -> None:
    """From twice its patience on nobody starts on nodes that are kept for a job, until it has started there or they are
    let go of: it waits for those that run, whatever comes. And everybody starts at last.
    """
    case = whole(seed)
    replay = begun(case)
    pool, held = replay.pool, -1
    while (said := kernel.advance(replay, 1)) != kernel.DONE:
        replay = grown(replay) if said == kernel.GROW else replay
        holder = int(pool.cells[0].held_for)
        if holder >= 0 and holder == held and pool.cells[0].held_until < pool.cells[0].credit_at:
            kept = {at for at, row in enumerate(pool.nodes) if row.kept}
            for job in [int(pool.plan[at].start) for at in range(pool.size[STARTS])]:
                spots = range(pool.jobs[job].place, pool.jobs[job].place_end)
                assert not kept & {int(pool.workers[at].node) for at in spots}, (job, holder)
        held = holder
    assert (pool.jobs.state[replay.by_submit] == ENDED).all()


@each(1_500)
def test_nobody_starves(seed: int) -> None:
    check_patience(seed)


@pytest.mark.slow
@each(1_500 * MORE, is_new=True)
def test_nobody_starves_in_very_many_cases(seed: int) -> None:
    check_patience(seed)


def check_work_goes_on(seed: int) -> None:
    """After each decision that stops nobody no first job of its class waits that fits, taking nothing of what is kept;
    no more nodes are kept than the late job needs for which they are.
    """
    late = [name for name in NAMES if name.startswith("late")]
    replay = begun(replace(any_case(seed), policy=ORDERS[late[seed % len(late)]]))
    while (said := kernel.advance(replay, 1)) != kernel.DONE:
        replay = grown(replay) if said == kernel.GROW else replay
        check_moment(replay)


def check_moment(replay: kernel.Replay) -> None:
    """What is said above, now."""
    pool, now = replay.pool, float(replay.events.at[0])
    holders = {int(row.held_for) for row in pool.cells if row.held_for >= 0}
    kept = sum(int(row.kept > 0) for row in pool.nodes)
    assert kept <= sum(int(pool.jobs[job].place_end - pool.jobs[job].place) for job in holders)
    assert all(row.is_open for row in pool.nodes)
    if pool.size[STOPS]:  # what a late one could have of that it gets at the next event
        return
    reserve.shut_held(pool)
    waiting = np.flatnonzero(pool.jobs.state == WAITING).tolist()
    late = [int(job) for job in pool.room.late[: pool.size[LATE]]]
    others = sorted(set(waiting) - set(late), key=lambda job: (pool.jobs[job].key, job))
    first = dict[int, int]()
    for job in [*late, *others]:
        first.setdefault(int(pool.jobs[job].klass), job)
    for job in set(first.values()) - holders:  # the turn of those comes at the next event
        assert not reserve.take_beside(pool, replay.order, int(job), now, False), int(job)
    reserve.open_again(pool)


@each(500)
def test_whoever_fits_and_delays_no_promise_starts(seed: int) -> None:
    check_work_goes_on(seed)


@pytest.mark.slow
@each(500 * MORE, is_new=True)
def test_whoever_fits_and_delays_no_promise_starts_in_very_many_cases(seed: int) -> None:
    check_work_goes_on(seed)


TWIN = """
import json, sys
from tests.unit.pool.cases import any_case, replayed
ends = [replayed(any_case(seed)).finished.tolist() for seed in range(int(sys.argv[1]))]
print(json.dumps(ends))
"""


def test_the_readable_twin_decides_the_same() -> None:
    def ends(**environment: str) -> object:
        command = [sys.executable, "-c", TWIN, str(TWINS)]
        said = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return json.loads(said.stdout.replace("NaN", "null"))

    assert ends(LEPTON_KERNEL="plain") == ends(LEPTON_KERNEL="compiled")
