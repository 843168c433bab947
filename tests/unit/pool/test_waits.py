"""What waiting jobs are told holds about 8 times in 10, learns from broken promises at once, and knows no future."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.arrays import Rules
from lepton.pool.intervals import Usual, intervals_of, judged
from lepton.pool.policy import policy
from lepton.pool.replay import run
from lepton.pool.waits import SHORT_S, Waits
from lepton.store.traces import read_nodes, read_trace

TRACES = Path(__file__).parent / "traces"


@pytest.mark.parametrize("spread", [0.2, 1.0, 2.0])
def test_it_holds_about_eight_times_in_ten(spread: float) -> None:
    chance, waits, starts = np.random.default_rng(3), Waits(), []
    inside = []
    for i in range(2_000):
        now = 300.0 * i
        for at, job in sorted(each for each in starts if each[0] <= now):
            waits.started(job, at)
        starts = [each for each in starts if each[0] > now]
        low_s, high_s = waits.state(f"j{i}", "q", 1, now)
        waited_s = 60 + float(np.exp(chance.normal(7, spread)))
        starts.append((now + waited_s, f"j{i}"))
        inside.append(low_s <= waited_s <= high_s)
    assert 0.75 <= np.mean(inside[500:]) <= 0.9


def test_a_growing_queue_is_noticed_before_anybody_starts() -> None:
    waits, now = Waits(), 0.0
    for i in range(40):
        waits.state(f"a{i}", "q", 8, now)
        waits.started(f"a{i}", now + 100)
        now += 200
    before = waits.state("last", "q", 8, now)[1]
    for i in range(20):  # nobody starts any more
        now += 5_000
        after = waits.state(f"b{i}", "q", 8, now)[1]
    assert before < 3_000 and after > 50_000


@settings(max_examples=50, deadline=None)
@given(waited=st.lists(st.integers(60, 100_000), min_size=10, max_size=60), broken=st.integers(0, 200))
def test_no_interval_reaches_beyond_what_was_seen(waited: list[int], broken: int) -> None:
    waits, now = Waits(), 0.0
    for at, waited_s in enumerate(waited):
        waits.state(f"a{at}", "q", 1, now)
        waits.started(f"a{at}", now + waited_s)
        now += waited_s
    for at in range(broken):  # a burst: all that it was told is broken
        waits.state(f"b{at}", "q", 1, now + at)
    assert waits.state("last", "q", 1, now + 1_000.0)[1] <= max(*waited, 2_000.0) + SHORT_S
    assert waits.state("late", "q", 1, now + 200_000.0)[1] <= 400_000.0 + SHORT_S


def test_a_queue_of_which_nothing_is_known_is_told_what_others_wait() -> None:
    waits, now = Waits(), 0.0
    for at in range(100):
        waits.state(f"a{at}", "q", 1, now)
        waits.started(f"a{at}", now + 5_000 + 10 * at)
        now += 10_000
    low_s, high_s = waits.state("new", "other", 1, now)
    assert 5_000 <= low_s < high_s <= 6_000
    for at in range(100):
        waits.state(f"b{at}", "other", 1, now)
        waits.started(f"b{at}", now + 500)
        now += 1_000
    assert waits.state("newer", "other", 1, now)[0] <= 500


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 64), st.booleans()), max_size=60))
def test_an_interval_is_one_and_strangers_teach_nothing(steps: list[tuple[int, int, bool]]) -> None:
    waits, now, open_jobs = Waits(), 0.0, []
    for number, (gap, gpus, ends) in enumerate(steps):
        now += gap
        low_s, high_s = waits.state(f"j{number}", "q" if gpus % 2 else "r", gpus, now)
        assert 0 <= low_s <= high_s - SHORT_S < float("inf")
        open_jobs.append(f"j{number}")
        if ends:
            waits.started(open_jobs.pop(0), now)
        waits.started("nobody", now)


def test_what_it_is_compared_with_knows_nothing_of_jobs_that_did_not_wait() -> None:
    trace, cluster = read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8)
    outcome = run(trace, cluster, policy("lepton", may_preempt=False), Rules())
    waiters = trace.only(outcome.first > trace.submit)
    alone = replace(
        outcome,
        trace=waiters,
        first=outcome.first[outcome.first > trace.submit],
        is_refused=np.zeros(len(waiters), bool),
    )
    whole, part = intervals_of(outcome, Usual), intervals_of(alone, Usual)
    assert 20 < len(part.job) < len(trace)
    assert (whole.low == part.low).all() and (whole.high == part.high).all()


def test_what_is_told_does_not_depend_on_the_future() -> None:
    trace, cluster = read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8)
    until = float(np.median(trace.submit))
    early = trace.only(trace.submit <= until)
    whole, part = (run(each, cluster, policy("lepton", may_preempt=False), Rules()) for each in (trace, early))
    told, told_early = intervals_of(whole), intervals_of(part)
    count = len(told_early.job)
    ids = [trace.id[job] for job in told.job[:count]]
    assert ids == [early.id[job] for job in told_early.job] and count > 20
    assert (told.low[:count] == told_early.low).all() and (told.high[:count] == told_early.high).all()


def test_it_is_sharper_than_what_was_usual_lately() -> None:
    trace, cluster = read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8)
    outcome = run(trace, cluster, policy("lepton", may_preempt=False), Rules())
    ours, usual = judged(outcome, intervals_of(outcome)), judged(outcome, intervals_of(outcome, Usual))
    assert ours["jobs"] == usual["jobs"] > 50
    assert ours["inside"] > usual["inside"] and ours["winkler_s"] < usual["winkler_s"]
