"""Boosted trees: made from the past alone, read as LightGBM reads them, and used only while they beat the means."""

from pathlib import Path

import numpy as np
import pytest

from lepton.pool.arrays import Rules
from lepton.pool.boosting import DAY_S, FEWEST, JUDGED, MOST, Examples, Lesson, Past, is_better, joined, lesson_of
from lepton.pool.kernel.trees import Trees, grown_sum
from lepton.pool.policy import CALM, OURS, policy
from lepton.pool.replay import run
from lepton.pool.trace import Cluster, Trace
from lepton.store.traces import read_nodes, read_trace

try:
    import lightgbm

    from lepton.server import boosted
except (ImportError, OSError) as fault:  # LightGBM brings no OpenMP of its own
    pytest.skip(f"LightGBM cannot be loaded: {fault}", allow_module_level=True)

TRACES = Path(__file__).parent / "traces"


def lesson(quantile: float = 0.8, jobs: int = 800) -> Lesson:
    chance = np.random.default_rng(1)
    features = chance.normal(size=(jobs, 5)).astype(np.float32)
    return Lesson(features, 5 + features[:, 0] + (features[:, 1] > 0) + chance.normal(size=jobs), quantile)


def past(jobs: int, *, now: float = 0.0, alive: float = 0.0, good: float = 1.0) -> Past:
    """Means that know nothing, and trees of which a part `good` of what they say is true; some jobs still run."""
    chance = np.random.default_rng(2)
    truth = chance.normal(6, 2, jobs).clip(0, 16)
    runs = chance.random(jobs) < alive
    return Past(
        features=np.zeros((jobs, 1), np.float32),
        mean=chance.normal(6, 2, jobs),
        boosted=good * truth + (1 - good) * chance.normal(6, 2, jobs),
        done=np.where(runs, truth * chance.random(jobs), truth),
        ended=np.where(runs, np.nan, now - chance.uniform(0, DAY_S, jobs)),
    )


def made(jobs: int, days: float = 3.0) -> tuple[Trace, Cluster]:
    """Two programs of one user, which only LightGBM's features tell apart: by the hour at which they come."""
    chance = np.random.default_rng(4)
    submit = np.sort(chance.uniform(0, days * DAY_S, jobs)).round()
    is_long = submit // 3600 % 2 == 1
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=np.zeros(jobs, np.int64),
        queues=["all"],
        user=np.zeros(jobs, np.int64),
        users=["u"],
        submit=submit,
        duration=np.where(is_long, 4000.0, 40.0) * chance.uniform(0.5, 2, jobs).round(2),
        gpus=chance.choice([1, 8], jobs),
        cpus=np.ones(jobs, np.int64),
    ), Cluster(nodes={"all": 18})


@pytest.mark.parametrize("quantile", [0.5, 0.8])
def test_trees_say_what_lightgbm_says(quantile: float) -> None:
    given = lesson(quantile)
    trees = boosted.fit(given)
    data = lightgbm.Dataset(given.features, given.target)
    model = lightgbm.train({**boosted.SETTINGS, "alpha": quantile}, data, boosted.ROUNDS)
    said = [grown_sum(trees, row) for row in given.features]
    assert np.allclose(said, model.predict(given.features), rtol=0, atol=1e-9)
    assert 0.7 * quantile < np.mean(given.target <= said) < 1.2 * quantile


def test_equal_lessons_give_equal_trees() -> None:
    for one, other in zip(boosted.fit(lesson()), boosted.fit(lesson()), strict=True):
        assert np.array_equal(one, other)


def test_they_count_only_while_they_are_better_than_the_means_and_than_chance() -> None:
    assert is_better(past(400), 0.0, 0.8)
    assert is_better(past(400, alive=0.3), 0.0, 0.8), "what is known of jobs that still run speaks for them too"
    assert not is_better(past(400, good=0.0), 0.0, 0.8), "worse than chance"
    some = past(400)
    swapped = Past(features=some.features, mean=some.boosted, boosted=some.mean, done=some.done, ended=some.ended)
    assert not is_better(swapped, 0.0, 0.8), "worse than the means"
    assert not is_better(past(JUDGED - 1), 0.0, 0.8), "too few to say"
    assert not is_better(past(400), 2 * DAY_S, 0.8), "all of it is older than a day"


def test_a_running_job_is_an_example_that_ends_later() -> None:
    some = past(2 * FEWEST, alive=0.3)
    taught = lesson_of(some, 0.8)
    assert taught is not None and len(taught.target) == 2 * FEWEST
    alive = np.isnan(some.ended)
    assert (np.sort(taught.target[-alive.sum() :]) >= np.sort(some.done[alive])).all()
    assert lesson_of(past(FEWEST - 1), 0.8) is None


def test_examples_keep_the_last_ones_in_so_many_rows() -> None:
    kept = Examples(2, room=3)
    for at in range(5):
        kept.add(np.full(2, at, np.float32), at, np.nan, at, at)
    found = joined(kept.past(), Examples(2, room=1).past())
    assert sorted(found.done) == [2, 3, 4] and np.isnan(found.boosted).all() and MOST >= 10_000


def test_a_replay_that_learns_trees_waits_less_where_only_they_can_tell_jobs_apart() -> None:
    trace, cluster = made(3000)
    means, trees = (run(trace, cluster, OURS, Rules(fit=fit)) for fit in (None, boosted.fit))
    waits = [(each.finished - trace.submit - trace.duration)[1500:].mean() for each in (means, trees)]
    assert waits[1] < 0.98 * waits[0]


def test_nothing_is_learned_from_what_has_not_ended_yet() -> None:
    trace, cluster = read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8)
    until = float(np.quantile(trace.submit, 0.9))
    early = trace.only(trace.submit <= until)
    seen: list[int] = []

    def fit(given: Lesson) -> Trees:
        seen.append(len(given.target))
        return boosted.fit(given)

    whole, part = (run(each, cluster, policy("lepton"), Rules(fit=fit)) for each in (trace, early))
    first = whole.first[trace.submit <= until]
    assert len(seen) > 20 and (first[first <= until] == part.first[first <= until]).all()


def test_an_order_that_cannot_be_mended_goes_by_the_means() -> None:
    def never(given: Lesson) -> Trees:
        raise AssertionError("no trees are made")

    trace, cluster = made(1200)
    assert (run(trace, cluster, CALM, Rules(fit=never)).finished == run(trace, cluster, CALM, Rules()).finished).all()
