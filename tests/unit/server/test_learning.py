"""The learning loop: a fit in a process of its own, which may fail without harm."""

from dataclasses import replace

import numpy as np
import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import EngineError
from lepton.core.launch import Devices
from lepton.pool.boosting import EVERY_S, FEWEST, Lesson
from lepton.pool.live.views import Wants
from lepton.pool.policy import LIVE
from lepton.server.apart import Apart
from lepton.server.learning import SOON_S, Learning, fit_apart
from lepton.server.mirror import Mirror

try:
    from lepton.server import boosted
except (ImportError, OSError) as fault:  # LightGBM brings no OpenMP of its own
    pytest.skip(f"LightGBM cannot be loaded: {fault}", allow_module_level=True)


def lesson() -> Lesson:
    chance = np.random.default_rng(1)
    features = chance.normal(size=(600, 4)).astype(np.float32)
    return Lesson(features, 5 + features[:, 0], 0.8)


def test_a_process_of_its_own_makes_the_same_trees() -> None:
    for one, other in zip(fit_apart(Apart())(lesson()), boosted.fit(lesson()), strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype


def test_a_fit_that_fails_says_so() -> None:
    with pytest.raises(EngineError, match=r"lepton\.server\.boosted failed: (?s:.+)"):
        fit_apart(Apart())(replace(lesson(), features=np.zeros((0, 4), np.float32)))


def test_it_learns_once_there_is_enough_to_learn_from() -> None:
    clock = ManualClock()
    mirror = Mirror(LIVE, clock=clock, has_trees=True)
    loop = Learning(mirror, boosted.fit)
    assert loop.turn() == SOON_S
    for at in range(FEWEST):
        job = Wants(job=f"j{at}", workers=(Devices(cpu_milli=1000),), program=f"p{at % 2}", since_s=mirror.now() + at)
        mirror.live.forecast.expect(job)
        mirror.live.forecast.learn(job, 10.0 + 5000 * (at % 2), mirror.now() + at + 1)
    assert loop.turn() == EVERY_S
    assert Learning(Mirror(LIVE, clock=clock), boosted.fit).turn() == SOON_S, (
        "nothing is kept where nobody asked for it"
    )
