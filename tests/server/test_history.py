"""What a server has learned of run times and waits outlives it: seen through the front door, before and after."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lepton.core.clock import ManualClock
from lepton.engine.simulated import SimulatedEngine
from lepton.pool.live.views import Wants
from lepton.pool.waits import BLIND
from lepton.server.config import ServerConfig
from lepton.server.truths import wants_of
from lepton.store import resources
from tests.server.house import House, wait_until


class Times:
    """Servers one after the other on one data directory, one engine and one clock."""

    def __init__(self, data: Path) -> None:
        self.clock = ManualClock()
        self.engine = SimulatedEngine(clock=self.clock)
        self._config = ServerConfig(data=data, port=0)
        self.house = House(self._config, self.engine, self.clock)

    def restart(self) -> None:
        self.house.close()
        self.house = House(self._config, self.engine, self.clock)

    def run_out(self, *jobs: str, seconds: float) -> None:
        """Let jobs that need the whole node run one after the other."""
        for job in jobs:
            self.house.wait(job, "running")
            self.house.advance(seconds)
            self.house.wait(job, "done")

    def why(self, job: str) -> Any:
        return self.house.ask("GET", f"/jobs/{job}/why")

    def told(self, job: str) -> tuple[datetime, datetime]:
        """Between which moments a job was told that it probably starts."""
        low, high = wait_until(lambda: self.why(job)["starts_between"], f"{job} is told when it starts", 30)
        return datetime.fromisoformat(low), datetime.fromisoformat(high)


@pytest.fixture
def times(tmp_path: Path) -> Iterator[Times]:
    opened = Times(tmp_path / "data")
    yield opened
    opened.house.close()


def whole(times: Times, count: int, seconds: float = 300) -> list[str]:
    """Jobs that each need all of the only node, each a second younger than the one before."""
    made = []
    for _ in range(count):
        made.append(times.house.submit(gpus=8, course={"seconds": seconds})["id"])
        times.why(made[-1])  # who asks is told at once; else a burst is told a few at a time
        times.house.advance(1)
    return made


def test_what_waiting_jobs_are_told_outlives_the_server(times: Times) -> None:
    times.run_out(*whole(times, 14), seconds=300)
    first, second, last = whole(times, 3)
    times.house.wait(first, "running")
    before = times.told(last)
    now = times.clock.now() - timedelta(minutes=1)  # it was told when it came, a few seconds ago
    assert before[1] - before[0] != timedelta(seconds=BLIND[1] - BLIND[0]), "it goes by what others have waited"
    assert now <= before[0] < before[1] < now + timedelta(hours=3)
    times.restart()
    for one, other in zip(times.told(last), before, strict=True):
        assert abs(one - other) < timedelta(minutes=10), (
            "by what it was told at its submit, not by when this server began"
        )
    times.run_out(first, second, seconds=300)
    third = whole(times, 1)[0]
    low, high = times.told(third)
    assert times.clock.now() - timedelta(minutes=1) <= low < high < times.clock.now() + timedelta(hours=3)


def test_one_that_waits_longer_than_it_was_told_is_told_anew(times: Times) -> None:
    young = whole(times, 14)
    times.house.wait(young[0], "running")
    assert times.why(young[-1])["starts_between"] is None, "nobody has waited yet: nobody can know"
    times.run_out(*young, seconds=300)
    first, second = whole(times, 2, seconds=40_000)
    times.house.wait(first, "running")
    _, high = times.told(second)
    times.house.advance((high - times.clock.now()).total_seconds() + 60)
    after = times.told(second)
    assert high < times.clock.now() <= after[0] < after[1]
    assert times.told(second) == after, "once is enough"
    times.restart()
    assert times.clock.now() <= times.told(second)[0]


def test_run_times_are_expected_after_a_restart_as_before(times: Times) -> None:
    for seconds, name in ((100, "short"), (5000, "long")) * 52:
        job = times.house.submit(gpus=8, name=name, course={"seconds": seconds})["id"]
        times.run_out(job, seconds=seconds)
    forecast = times.house.platform.placing.mirror.live.forecast
    short, long = (wants_like(times, name) for name in ("short", "long"))
    expected = forecast.expect(short), forecast.expect(long)
    assert expected[1] > 5 * expected[0]
    times.restart()
    times.house.wait(times.house.submit(course={"seconds": 1e9})["id"], "running")
    again = times.house.platform.placing.mirror.live.forecast
    assert (again.expect(short), again.expect(long)) == pytest.approx(expected, rel=0.02)


def wants_like(times: Times, name: str) -> Wants:
    """What a new job of that name would want."""
    job = times.house.ask("GET", f"/jobs?name={name}&limit=1")["items"][0]["id"]
    stored = times.house.platform.database.read(lambda tx: resources.get(tx, job))
    return replace(wants_of(stored), job="new")
