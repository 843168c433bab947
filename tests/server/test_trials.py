"""A running server tries out what pays on what it has seen, in a process of its own, and goes that way from then on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import EngineError, StaleError
from lepton.core.launch import Devices, NodeFacts
from lepton.engine.simulated import SimulatedEngine
from lepton.pool.hindsight import FIRST, WAYS
from lepton.pool.live.rerun import Rerun
from lepton.pool.live.views import Wants
from lepton.pool.policy import Way
from lepton.server import verdicts
from lepton.server.config import ServerConfig
from lepton.server.trials import AGAIN_S, Trying
from lepton.store import events
from lepton.store.open import open_database
from tests.kernel import compile_replay
from tests.server.house import House, wait_until
from tests.server.test_placing import House as Loops

NODES, LEFT, BATCH, BATCHES = 41, 6, 41, 5
LONG_S, SHORT_S = 20_000, 100
STOPPING, RESTING = Way(stops=True, adapts=True), Way(stops=False, adapts=True)


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    """Compile what a trial replays with, before one is waited for."""
    compile_replay()


def submit(house: House, seconds: float) -> str:
    """A job of a whole node, after a while."""
    house.engine.advance(10)
    return str(house.submit(gpus=8, can_resume=True, course={"seconds": seconds})["id"])


def live_through(house: House) -> None:
    """As many jobs as a trial needs, each on a node of its own; one in five runs long, the others wait for nobody."""
    for at in range(1, NODES):
        house.engine.add_node(NodeFacts(name=f"n{at:02}", devices=Devices(cpu_milli=64_000, gpu_milli=8000)))
    house.advance(0)
    wait_until(lambda: house.ask("GET", "/pool")["nodes"] == {"up": NODES}, "all nodes are there")
    for batch in range(BATCHES):
        jobs = [submit(house, SHORT_S if at % 5 else LONG_S) for at in range(BATCH)]
        wait_until(lambda: set(house.ask("GET", "/pool")["jobs"]) <= {"running"}, "all have begun", 60.0)
        for at in range(LEFT, NODES if batch == BATCHES - 1 else 0):  # all would have had to share the others
            house.ask("POST", f"/pool/nodes/n{at:02}/cordon")
        for seconds, some in ((SHORT_S, [job for at, job in enumerate(jobs) if at % 5]), (LONG_S, jobs)):
            house.advance(seconds)
            for job in some:
                house.wait(job, "done")


def tried(house: House) -> list[dict[str, Any]]:
    """The events of trials."""
    return [each for each in house.ask("GET", "/pool")["decisions"] if each["verb"] == "tried"]


def test_a_server_finds_out_that_stopping_pays_and_does_so_from_then_on(tmp_path: Path) -> None:
    clock = ManualClock()
    config, engine = ServerConfig(data=tmp_path / "data", port=0), SimulatedEngine(clock=clock)
    house = House(config, engine, clock)
    try:
        first = house.ask("GET", "/pool")["way"]
        assert (first["since"], first["tried_after"], first["next_after"]) == (None, 0, FIRST)
        live_through(house)
        house.advance(0)
        (event,) = wait_until(lambda: tried(house), "a trial has been made", 300.0)
        by_way = {(each["stops"], each["adapts"]): each["mean_s"] for each in event["data"]["tried"]}
        assert by_way[STOPPING] < 0.9 * by_way[RESTING]
        assert event["actor"] == "loop:trials" and event["data"]["jobs"] == BATCH * BATCHES
        assert event["why"].startswith("from now on stops by key: yes, size by wait: ")
        way = wait_until(lambda: (found := house.ask("GET", "/pool")["way"])["since"] and found, "it is gone")
        assert way["stops"] and way["tried_after"] == BATCH * BATCHES < way["next_after"]
        assert way["since"][:19] == event["at"][:19]

        long = [submit(house, LONG_S) for _ in range(LEFT)]
        for job in long:
            house.wait(job, "running")
        short = submit(house, SHORT_S)
        house.advance(650)  # those that run long have outrun what is expected of them twice
        wait_until(lambda: house.advance(5) or house.job(short)["state"] == "running", "one has made room")
        stopped = [job["status"].get("stopped_for") or {} for job in map(house.job, long)]
        assert [each.get("by") for each in stopped].count(short) == 1
        house.close()
        house = House(config, engine, clock)
        wait_until(lambda: house.ask("GET", "/pool")["way"] == way, "the next server goes the same way")
        assert len(tried(house)) == 1
    finally:
        house.close()


# The loop itself, without doors.


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[Loops]:
    database = open_database("", folder=tmp_path, clock=(clock := ManualClock()))
    yield Loops(database, clock, SimulatedEngine(clock=clock))
    database.close()


def end_jobs(loops: Loops, count: int) -> None:
    """So many jobs that have ended by themselves, as the pool hears of them."""
    mirror = loops.placing.mirror
    for _ in range(count):
        wants = Wants(job=f"j{mirror.live.forecast.ended}", workers=(Devices(cpu_milli=1000),), since_s=mirror.now())
        loops.clock.advance(0.001)
        mirror.live.forecast.learn(wants, 10.0, mirror.now())


def trying(loops: Loops, *means: float) -> tuple[Trying, list[Rerun]]:
    """The loop, with a trial that says what is given, or fails."""
    asked: list[Rerun] = []

    def say(rerun: Rerun) -> list[float]:
        asked.append(rerun)
        if not means:
            raise EngineError("No", fix="Later.")
        return [*means]

    return Trying(loops.database, loops.placing, clock=loops.clock, means=say), asked


def stored(loops: Loops) -> str:
    return loops.database.read(verdicts.text)


def test_it_tries_when_a_replay_would_and_keeps_what_it_hears(loops: Loops) -> None:
    loop, asked = trying(loops, 200.0, 100.0, 100.0, 200.0)
    loops.placing.turn()
    end_jobs(loops, FIRST - 1)
    loop.turn()
    assert not asked and not stored(loops)
    end_jobs(loops, 1)
    loop.turn()
    assert len(asked) == 1 and len(asked[0].jobs) == FIRST
    loops.placing.turn()
    forecast = loops.placing.mirror.live.forecast
    assert forecast.way == STOPPING and forecast.ended == FIRST
    loop.turn()
    end_jobs(loops, 149)
    loop.turn()
    assert len(asked) == 1, "the next after three quarters as many again"
    end_jobs(loops, 1)
    loop.turn()
    assert len(asked) == 2
    other = replace(loops, holder="two")
    other.placing.turn()
    assert other.placing.mirror.live.forecast.way == STOPPING, "who stands by goes the same way"
    assert verdicts.verdict_of(stored(loops)).said[0] > verdicts.verdict_of(stored(loops)).said[1] > 0


def test_a_trial_that_fails_changes_nothing_and_is_made_again_later(loops: Loops) -> None:
    loop, asked = trying(loops)
    loops.placing.turn()
    end_jobs(loops, FIRST)
    with pytest.raises(EngineError):
        loop.turn()
    loop.turn()
    assert len(asked) == 1 and not stored(loops), "not at once"
    loops.clock.advance(AGAIN_S)
    with pytest.raises(EngineError):
        loop.turn()
    loops.clock.advance(AGAIN_S)
    loop.turn()
    assert len(asked) == 2, "later each time"
    loops.clock.advance(AGAIN_S)
    with pytest.raises(EngineError):
        loop.turn()


def test_a_trial_in_which_nobody_comes_to_an_end_says_nothing(loops: Loops) -> None:
    loop, asked = trying(loops, *[float("nan")] * len(WAYS))
    loops.placing.turn()
    end_jobs(loops, FIRST)
    loop.turn()
    loops.placing.turn()
    forecast = loops.placing.mirror.live.forecast
    assert len(asked) == 1 and forecast.verdict is not None
    assert forecast.verdict.way is None and forecast.verdict.due == FIRST + 150


def test_only_who_decides_tries_and_what_it_found_too_late_is_dropped(loops: Loops) -> None:
    loop, asked = trying(loops, 2.0, 1.0, 1.0, 2.0)
    end_jobs(loops, FIRST)
    loop.turn()
    assert not asked, "it has not decided yet"
    loops.placing.turn()
    loops.clock.advance(20)
    other = replace(loops, holder="two")
    other.placing.turn()
    with pytest.raises(StaleError):
        loop.turn()
    assert len(asked) == 1 and not stored(loops)
    assert not loops.database.read(lambda tx: events.last_of(tx, "", kind="pool", verb="tried"))
