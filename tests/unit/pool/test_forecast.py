"""What a live forecast learns: the same whether it lived through it or was told of it afterwards."""

from dataclasses import replace

import numpy as np
import pytest

from lepton.core.launch import Devices
from lepton.pool.boosting import DAY_S, FEWEST
from lepton.pool.kernel.trees import Trees
from lepton.pool.live.forecast import Forecast
from lepton.pool.live.recall import Bygone, recall
from lepton.pool.live.views import Wants
from lepton.pool.policy import CALM, LIVE

T0 = 1.7e9


def wants(job: str, *, user: str = "u", program: str = "p", since_s: float = T0) -> Wants:
    devices = Devices(cpu_milli=1000, gpu_milli=1000)
    return Wants(job=job, workers=(devices,), user=user, program=program, since_s=since_s)


def bygones(count: int) -> list[Bygone]:
    """Jobs of two programs; each third has waited, each seventh was stopped, the last two still wait and run."""
    chance, found = np.random.default_rng(7), []
    for at in range(count):
        program, came_at = ("short", "long")[at % 2], T0 + 100.0 * at
        ran_s = float(np.exp(chance.normal(4 + 4 * (at % 2), 0.5)))
        waited_s = float(chance.uniform(60, 4000)) if at % 3 == 0 else 1.0
        lives, is_stopped = at >= count - 2, at % 7 == 0
        found.append(
            Bygone(
                wants=wants(f"j{at}", program=program, since_s=came_at),
                waited_s=waited_s,
                has_started=at != count - 1,
                ended_at=None if lives else came_at + waited_s + ran_s,
                ran_s=None if lives or is_stopped else ran_s,
            )
        )
    return found


def test_what_is_recalled_is_what_was_lived_through_in_whatever_order_it_is_read() -> None:
    some = bygones(600)
    one, other = Forecast(LIVE, has_trees=True), Forecast(LIVE, has_trees=True)
    recall(one, some)
    recall(other, [some[at] for at in np.random.default_rng(1).permutation(len(some))])
    for program in ("short", "long", "new"):
        asked = wants("new", program=program, since_s=T0 + 1e6)
        assert one.expect(asked) == other.expect(asked)
        one.forget("new"), other.forget("new")
    short, long = (one.expect(wants(name, program=name, since_s=T0 + 1e6)) for name in ("short", "long"))
    assert long > 5 * short
    assert one.waits.tell("j", "", 1, T0 + 1e6) == other.waits.tell("j", "", 1, T0 + 1e6)
    pasts = [each.past({"j598": 50.0}) for each in (one, other)]
    assert pasts[0] is not None and pasts[1] is not None
    assert np.array_equal(pasts[0].features, pasts[1].features) and np.isnan(pasts[0].ended).sum() == 1


def test_one_that_is_asked_again_is_what_it_was_at_its_submit() -> None:
    forecast = Forecast(LIVE, has_trees=True)
    for at in range(300):
        forecast.expect(first := wants("first", since_s=T0))
        each = wants(f"j{at}", since_s=T0 + at)
        forecast.expect(each)
        forecast.learn(each, 500.0, T0 + at + 500)
    past = forecast.past({"first": 10.0})
    assert past is not None
    assert past.features[-1].tolist() == features_at_birth(first)


def features_at_birth(asked: Wants) -> list[float]:
    """The features of the first job ever."""
    fresh = Forecast(LIVE, has_trees=True)
    fresh.expect(asked)
    past = fresh.past({asked.job: 10.0})
    assert past is not None
    found: list[float] = past.features[-1].tolist()
    return found


def test_trees_count_once_they_have_been_better_for_a_day() -> None:
    chance, forecast, leaf = np.random.default_rng(3), Forecast(LIVE, has_trees=True), np.zeros(0, np.int64)
    known: dict[str, float] = {}

    def live_a_day(day: int) -> None:
        for at in range(FEWEST):
            now = T0 + DAY_S * (day + at / FEWEST)
            is_long = now // 3600 % 2 == 1  # only the hour, the fifth feature of the job, tells
            job = wants(f"d{day}-{at}", since_s=now)
            known[job.job] = forecast.expect(job)
            forecast.learn(job, float((9000 if is_long else 90) * chance.uniform(0.8, 1.2)), now + 1)

    def judge(day: int) -> bool:
        past = forecast.past({})
        assert past is not None and forecast.judge(past, T0 + DAY_S * day) is not None
        return forecast.is_boosted

    live_a_day(0)
    assert not judge(1)
    forecast.take(by_hour(float(np.log1p(90)), float(np.log1p(9000))))
    live_a_day(1)
    assert known["d1-30"] == pytest.approx(known["d1-10"], rel=0.5), "tried, and not used yet"
    assert judge(2)
    live_a_day(2)
    late = [at for at in range(FEWEST // 2, FEWEST) if (T0 + DAY_S * (2 + at / FEWEST)) // 3600 % 2 == 1]
    assert {round(known[f"d2-{at}"]) for at in late} == {9000}
    forecast.take(Trees(leaf, leaf, np.zeros(0), leaf, leaf))
    live_a_day(3)
    assert not judge(4), "nothing was said for a day"


def by_hour(even: float, odd: float) -> Trees:
    """One tree that goes by whether the hour is odd: 24 leaves under a chain of questions."""
    hour, leaves = 1 + 4, 24
    feature, threshold, left, right = [], [], [], []
    for at in range(leaves - 1):
        feature += [hour, -1]
        threshold += [at + 0.5, odd if at % 2 else even]
        left += [2 * at + 1, -1]
        right += [2 * at + 2, -1]
    columns = [np.array([*each, -1], np.int64) for each in (feature, left, right)]
    return Trees(np.zeros(1, np.int64), columns[0], np.array([*threshold, odd]), columns[1], columns[2])


def test_where_nothing_may_be_stopped_no_trees_are_kept() -> None:
    assert Forecast(CALM, has_trees=True).past({}) is None and Forecast(LIVE).past({}) is None


def test_jobs_of_which_nothing_is_heard_any_more_are_forgotten() -> None:
    forecast = Forecast(replace(LIVE), has_trees=True)
    for at in range(4):
        forecast.expect(wants(f"j{at}", since_s=T0 + at))
        forecast.waits.tell(f"j{at}", "", 1, T0 + at)
    forecast.keep_only({"j2"})
    past = forecast.past({f"j{at}": 5.0 for at in range(4)})
    assert past is not None and len(past.done) == 1
    fresh, again = wants("new", since_s=T0 + 9), wants("new", since_s=T0 + 9)
    only = Forecast(LIVE, has_trees=True)
    only.expect(wants("j2", since_s=T0 + 2))
    assert forecast.expect(fresh) == only.expect(again)
