"""Whether stopping pays is found out by trying it on what came lately, and on nothing that is not known yet."""

from dataclasses import replace

import numpy as np
import pytest

from lepton.pool.arrays import Rules, replay_of
from lepton.pool.hindsight import LARGEST, MOST, PLAIN, WAYS, WINDOW, Trials, endings, probable_s, tried
from lepton.pool.kernel import replay as kernel
from lepton.pool.kernel.state import ENDED, RUNNING, WAITING
from lepton.pool.policy import CALM, OURS, POLICIES, Policy, Source, Way
from lepton.pool.replay import lately_of, run, worked_s
from lepton.pool.trace import Cluster, Floats, Trace

CLUSTER = Cluster(nodes={"all": 16})


def made(*, sigma: float, load: float, seed: int, jobs: int = 2500) -> Trace:
    """Jobs of one queue whose run times nothing announces: lognormal, half an hour in the mean."""
    chance = np.random.default_rng(seed)
    gpus = chance.choice([1, 2, 4, 8, 16], jobs, p=[0.6, 0.1, 0.1, 0.15, 0.05])
    duration = np.exp(chance.normal(np.log(1800) - sigma**2 / 2, sigma, jobs)).clip(1).round()
    span = float((gpus * duration).sum()) / (128 * load)
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=np.zeros(jobs, np.int64),
        queues=["all"],
        user=chance.integers(0, 9, jobs),
        users=[f"u{each}" for each in range(9)],
        submit=np.sort(chance.uniform(0, span, jobs)).round(),
        duration=duration,
        gpus=gpus,
        cpus=gpus,
    )


def mean_s(trace: Trace, policy: Policy, given: Floats | None = None) -> float:
    return float((run(trace, CLUSTER, policy, Rules(given=given)).finished - trace.submit).mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_that_is_given_for_predictions_does_not_make_it_stop_what_is_alike(seed: int) -> None:
    trace = made(sigma=0.5, load=0.95, seed=seed)
    noise = np.random.default_rng(seed).permutation(trace.duration)
    greedy = mean_s(trace, POLICIES["fifo-greedy"])
    believing = replace(OURS, source=Source.GIVEN)
    assert mean_s(trace, believing, noise) < 1.04 * greedy
    assert mean_s(trace, replace(believing, is_wary=False), noise) > 1.1 * greedy, "else this shows nothing"


@pytest.mark.parametrize("seed", [1, 2])
def test_where_a_few_run_very_long_they_are_stopped(seed: int) -> None:
    trace = made(sigma=1.6, load=1.0, seed=seed)
    always = mean_s(trace, replace(OURS, is_wary=False))
    never = mean_s(trace, replace(OURS, is_wary=False, margin=np.inf))
    assert always < 0.95 * never, "else this shows nothing"
    assert mean_s(trace, OURS) < (always + never) / 2


def test_equal_traces_give_equal_schedules() -> None:
    trace = made(sigma=1.2, load=1.0, seed=3)
    one, other = (run(trace, CLUSTER, OURS, Rules()) for _ in range(2))
    assert (one.start == other.start).all()
    assert (one.node == other.node).all()


def test_who_has_not_ended_counts_as_those_that_ended_and_ran_longer() -> None:
    ended = np.array([10.0, 20.0, 30.0, 40.0])
    assert {*probable_s(np.zeros(100), ended)} == {*ended}
    assert {*probable_s(np.full(100, 25.0), ended)} == {30.0, 40.0}
    assert probable_s(np.array([50.0, 0.0]), ended).tolist() == [100.0, 30.0]
    assert probable_s(np.array([0.0]), np.array([])).tolist() == [1.0]


def test_a_trial_knows_nothing_that_has_not_happened() -> None:
    trace = made(sigma=1.5, load=1.1, seed=4)
    replay = replay_of(trace, CLUSTER, CALM, Rules())
    kernel.advance(replay, 900)
    lately = lately_of(replay, trace, is_known=True)
    has_ended = np.asarray(replay.pool.jobs.state) == ENDED
    assert 100 < has_ended.sum() < len(trace) - 100
    unlike = replace(trace, duration=np.where(has_ended, trace.duration, 10 * trace.duration))
    other = lately_of(replay, unlike, is_known=True)
    assert lately is not None and other is not None and lately.guess is not None
    assert (lately.trace.duration == other.trace.duration).all()
    assert {*lately.trace.id} > {trace.id[job] for job in np.flatnonzero(has_ended)}, "those that live are in it, too"
    assert len(lately.guess) == len(lately.trace)
    plain = lately_of(replay, trace, is_known=False)
    assert plain is not None and plain.guess is None


def test_a_job_that_was_stopped_on_its_way_has_ended_once() -> None:
    trace = made(sigma=0.5, load=1.1, seed=1, jobs=900)
    replay = replay_of(trace, CLUSTER, OURS, Rules())
    kernel.advance(replay, 1000)
    ended = np.flatnonzero(np.asarray(replay.pool.jobs.state) == ENDED)
    runs = np.isin(replay.segments.job[: replay.at[kernel.SEGMENTS]], ended).sum()
    assert runs > len(ended), "else this shows nothing"
    lately = lately_of(replay, trace, is_known=True)
    assert lately is not None
    alive = np.isin(np.asarray(replay.pool.jobs.state), (WAITING, RUNNING))
    done = worked_s(replay.pool.jobs, float(replay.segments.end[replay.at[kernel.SEGMENTS] - 1]))
    at = {int(id): run_s for id, run_s in zip(lately.trace.id, lately.trace.duration, strict=True)}
    expected = probable_s(done[alive], trace.duration[ended])
    assert [at[job] for job in np.flatnonzero(alive)] == expected.tolist()


def test_another_way_is_gone_once_trials_have_clearly_said_so() -> None:
    trials, stopping = Trials(), Way(stops=True, adapts=True)
    assert trials.hear([100, 97, 97, 100], PLAIN) == PLAIN, "3 % is not clear,"
    assert trials.hear([100, 97, 97, 100], PLAIN) == stopping, "twice 3 % is"
    assert trials.hear([100, 103, 103, 100], stopping) == stopping, "and one trial that says no does not end it,"
    assert trials.hear([100, 105, 105, 100], stopping) == PLAIN, "but two do"
    assert {*WAYS} == {Way(stops=stops, adapts=adapts) for stops in (True, False) for adapts in (True, False)}


def test_every_way_is_tried_with_what_was_expected() -> None:
    asked: list[Policy] = []

    def mean(policy: Policy) -> float:
        asked.append(policy)
        return float(len(asked))

    assert tried(OURS, mean, is_known=False) == [1, 2, 3, 1], "where nothing is known size says nothing"
    assert tried(OURS, mean, is_known=True) == [4, 5, 6, 7]
    ways = [Way(stops=each.margin < np.inf, adapts=each.adapts) for each in asked]
    assert ways == [*WAYS[:3], *WAYS]
    assert [each.source for each in asked] == [Source.NOTHING] * 3 + [Source.GIVEN] * 4
    assert not any(each.is_wary for each in asked), "no trial within a trial"


def test_where_nothing_took_any_time_no_way_is_better() -> None:
    assert Trials().hear([0.0] * len(WAYS), PLAIN) == PLAIN


def test_trials_become_rare_and_stay_a_part_of_the_work() -> None:
    trials, count = Trials(), 0
    while trials.due < 1_000_000:
        trials.wait(trials.due, 2 * WINDOW)
        count += 1
    assert len(WAYS) * count * 2 * WINDOW < 1_000_000
    trials.wait(10**9, LARGEST)
    assert trials.due == 10**9 + 10 * LARGEST
    trials.wait(10**9, 0)
    assert trials.due == 10**9 + MOST


def test_more_that_live_than_can_be_judged_are_not_tried() -> None:
    assert [endings(alive) for alive in (0, 3_000, 9_000, 2 * LARGEST + 1)] == [WINDOW, 3_000, LARGEST, 0]
