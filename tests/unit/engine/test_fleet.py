"""The fleet: what is started goes its way whoever is killed, and whoever edits the list of machines fails them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from math import inf
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import ConfigError, EngineError, StorageFullError
from lepton.core.launch import Devices, ExitReason, Launch
from lepton.engine.files import write_whole
from lepton.engine.fleet import FleetEngine
from lepton.engine.fleet.roster import default_nodes, text_of

DEADLINE_S = 30.0
HOLDER = """
import sys
from pathlib import Path
from lepton.core.launch import Launch
from lepton.engine.fleet import FleetEngine
engine = FleetEngine(folder=Path(sys.argv[1]))
for key, seconds in (("short", "0.3"), ("long", "1000")):
    engine.start(Launch(key=key, job="j", command=("sleep", seconds), node="n03"))
print("held", flush=True)
sys.stdin.read()
"""


class Fleet:
    """Engines on one folder, and what was told to each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "nodes.json"
        self.news = threading.Condition()
        self.engines: list[FleetEngine] = []
        self.told: dict[int, list[str]] = {}

    def open(self, clock: ManualClock | None = None) -> FleetEngine:
        engine = FleetEngine(folder=self.folder, clock=clock)
        self.engines.append(engine)
        heard = self.told[id(engine)] = []

        def hear(key: str) -> None:
            with self.news:
                heard.append(key)
                self.news.notify_all()

        engine.on_change(hear)
        return engine

    def wait_told(self, engine: FleetEngine, *keys: str) -> None:
        with self.news:
            assert self.news.wait_for(lambda: sorted(self.told[id(engine)]) == sorted(keys), DEADLINE_S), self.told

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def write(self, *names: str) -> None:
        write_whole(self.file, text_of([node for node in default_nodes() if node.name in names]))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "engine")
    yield fleet
    fleet.close()


def sleeps(key: str, seconds: float | str, node: str = "", **more: Any) -> Launch:
    return Launch(key=key, job="j", command=("sleep", str(seconds)), node=node, **more)


def follows(key: str, course: Any, **more: Any) -> Launch:
    return Launch(key=key, job="j", command=("program",), params={"course": course}, **more)


def until(is_true: Any) -> None:
    give_up_at, tick = monotonic() + DEADLINE_S, threading.Event()
    while not is_true():
        assert monotonic() < give_up_at
        tick.wait(0.005)


def test_a_new_fleet_is_eight_machines_of_eight_gpus_in_two_racks(fleet: Fleet) -> None:
    nodes = fleet.open().nodes()
    assert [node.name for node in nodes] == [f"n0{number}" for number in range(1, 9)]
    assert {node.devices.gpu_milli for node in nodes} == {8000}
    assert [node.labels["rack"] for node in nodes] == ["r1"] * 4 + ["r2"] * 4
    assert len(json.loads(fleet.file.read_text())) == 8


def test_a_kill_9_of_who_started_it_changes_nothing(fleet: Fleet) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(fleet.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert held.stdout is not None and held.stdin is not None and held.stdout.readline() == b"held\n"
    os.kill(held.pid, signal.SIGKILL)
    held.wait(DEADLINE_S)
    held.stdout.close()
    held.stdin.close()
    engine = fleet.open()
    until(lambda: engine.look("short").exit)
    short, long = engine.look("short"), engine.look("long")
    assert short.exit is not None and short.started_at is not None and short.exit.at is not None
    assert (short.exit.reason, short.exit.code) == (ExitReason.DONE, 0)
    assert abs(short.exit.at - short.started_at - timedelta(seconds=0.3)) < timedelta(microseconds=10)
    assert long.status == "running" and engine.keys() == ["long", "short"]
    engine.stop("long", grace_s=0)
    until(lambda: "long" in fleet.told[id(engine)])


def test_what_should_have_ended_while_no_server_lived_has_ended_at_its_time(fleet: Fleet) -> None:
    clock = ManualClock()
    before = fleet.open(clock)
    before.start(sleeps("hour", "1h"))
    before.start(sleeps("always", "infinity"))
    began = clock.now()
    before.close()
    fleet.engines.clear()
    clock.advance(86_400)
    engine = fleet.open(clock)
    ended = engine.look("hour").exit
    assert ended is not None and ended.at == began + timedelta(hours=1)
    assert engine.look("always").status == "running"


def test_a_machine_taken_out_of_the_file_loses_what_it_runs_and_can_come_back(fleet: Fleet) -> None:
    engine = fleet.open()
    engine.start(sleeps("stays", 1000, "n01"))
    engine.start(sleeps("falls", 1000, "n02"))
    engine.start(sleeps("past", 0, "n02"))
    fleet.wait_told(engine, "past")
    fleet.write("n01", "n03")
    fleet.wait_told(engine, "past", "falls")
    lost, past = engine.look("falls").exit, engine.look("past").exit
    assert lost is not None and (lost.reason, lost.code) == (ExitReason.LOST, None) and "n02" in lost.detail
    assert past is not None and past.reason is ExitReason.DONE
    assert [node.name for node in engine.nodes()] == ["n01", "n03"]
    with pytest.raises(EngineError, match="n02"):
        engine.start(sleeps("late", 1, "n02"))
    fleet.write("n01", "n02", "n03")
    engine.start(sleeps("again", 1000, "n02"))
    assert engine.look("again").status == engine.look("stays").status == "running"
    assert engine.look("falls").exit == lost


def test_a_start_that_is_refused_for_a_failed_machine_does_not_save_what_ran_there(fleet: Fleet) -> None:
    engine = fleet.open()
    engine.start(sleeps("falls", 1000, "n02"))
    fleet.write("n01")
    with pytest.raises(EngineError, match="n02"):
        engine.start(sleeps("late", 1, "n02"))
    fleet.wait_told(engine, "falls")


def test_a_machine_that_failed_while_no_server_lived_has_lost_its_runs_then(fleet: Fleet) -> None:
    before = fleet.open()
    before.start(sleeps("k", 1000, "n02"))
    before.close()
    fleet.engines.clear()
    fleet.write("n01")
    written_s = fleet.file.stat().st_ctime
    engine = fleet.open()
    until(lambda: engine.look("k").exit)
    ended = engine.look("k").exit
    assert ended is not None and ended.reason is ExitReason.LOST and ended.at is not None
    assert abs(ended.at.timestamp() - written_s) < 0.1


@pytest.mark.parametrize(
    "text",
    [
        b"[{",
        b"{}",
        b'[{"name": "N 1"}]',
        b'[{"name": "n1"}, {"name": "n1"}]',
        b'[{"name": "n1", "gpus": 8}]',
        b'[{"name": "n1", "devices": {"gpu_milli": 0.5}}]',
        b'[{"name": "n1", "devices": {"gpu_milli": -1}}]',
        b'[{"name": "n1", "devices": 8}]',
        b"[7]",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_a_broken_file_changes_nothing_and_is_told_of_once(
    fleet: Fleet, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.open().close()
    fleet.engines.clear()
    fleet.write("n01", "n05")
    engine = fleet.open()
    engine.start(sleeps("k", 1000, "n05"))
    fleet.file.write_bytes(text)
    for _ in range(3):
        assert [node.name for node in engine.nodes()] == ["n01", "n05"]
    assert engine.look("k").status == "running"
    until(lambda: caplog.messages)
    engine.close()
    fleet.engines.clear()
    assert [str(fleet.file) in line for line in caplog.messages] == [True]
    again = fleet.open()  # nor does a start of the server forget the last good list
    assert [node.name for node in again.nodes()] == ["n01", "n05"] and again.look("k").status == "running"
    fleet.write("n05")
    assert [node.name for node in again.nodes()] == ["n05"]


def test_a_file_that_has_gone_is_written_again_from_the_last_good_one(fleet: Fleet) -> None:
    engine = fleet.open()
    fleet.write("n02")
    assert [node.name for node in engine.nodes()] == ["n02"]
    fleet.file.unlink()
    assert [node.name for node in engine.nodes()] == ["n02"]
    assert [node.name for node in fleet.open().nodes()] == ["n02"] and fleet.file.exists()


def test_a_fleet_that_never_had_a_good_list_is_refused(fleet: Fleet) -> None:
    fleet.folder.mkdir()
    fleet.file.write_text("nodes: 8")
    with pytest.raises(ConfigError, match="no list of nodes"):
        fleet.open()


def test_two_servers_on_one_folder_see_and_hear_of_the_same_runs(fleet: Fleet) -> None:
    one, other = fleet.open(), fleet.open()
    one.start(sleeps("a", 0.2))
    other.start(sleeps("b", inf))
    assert one.look("b") == other.look("b") and one.look("a").status == "running"
    one.stop("b", grace_s=0)
    for engine in (one, other):
        fleet.wait_told(engine, "a", "b")
    assert one.look("b") == other.look("b") and one.look("a") == other.look("a")
    assert one.keys() == other.keys() == ["a", "b"]
    other.forget("a")
    assert one.look("a").status == "unknown"


def test_a_key_that_two_servers_start_at_once_is_started_once(fleet: Fleet) -> None:
    engines = [fleet.open(), fleet.open()]
    threads = [
        threading.Thread(target=lambda engine=engine: [engine.start(sleeps(f"k{n}", 1000)) for n in range(50)])
        for engine in engines * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines[0].keys()) == 50
    assert [engines[0].look(f"k{n}") for n in range(50)] == [engines[1].look(f"k{n}") for n in range(50)]


@pytest.mark.parametrize(
    ("command", "seconds"),
    [(("sleep", "2"), 2), (("/bin/sleep", ".5m"), 30), (("sleep", "1", "2"), 0), (("sleep", "-1"), 0), (("true",), 0)],
)
def test_the_only_program_it_knows_is_sleep(fleet: Fleet, command: tuple[str, ...], seconds: float) -> None:
    clock = ManualClock()
    engine = fleet.open(clock)
    engine.start(Launch(key="k", job="j", command=command))
    clock.advance(1000)
    found = engine.look("k")
    assert found.exit is not None and found.exit.at is not None and found.started_at is not None
    assert (found.exit.at - found.started_at, found.exit.code) == (timedelta(seconds=seconds), 0)


@pytest.mark.parametrize(
    "course",
    [7, "x", {"seconds": "soon"}, {"seconds": -1}, {"seconds": "nan"}, {"code": 1 << 70}, {"reason": "mood"}, None],
)
def test_a_course_that_is_none_ends_at_once_and_says_so(fleet: Fleet, course: Any) -> None:
    engine = fleet.open()
    engine.start(follows("k", course))
    ended = engine.look("k").exit
    assert ended is not None and (ended.reason, ended.code) == (ExitReason.NOT_STARTED, None)
    assert "course" in ended.detail


def test_a_clock_that_is_set_back_lets_nothing_run_again(fleet: Fleet) -> None:
    clock = ManualClock()
    engine = fleet.open(clock)
    engine.start(sleeps("k", 5))
    clock.advance(6)
    ended = engine.look("k")
    clock.advance(-3600)
    assert engine.look("k") == ended and ended.status == "exited"


def test_a_full_disk_refuses_a_start_and_leaves_nothing_of_it(fleet: Fleet) -> None:
    engine = fleet.open()
    file = engine._runs._file
    pages = file.execute("PRAGMA page_count").fetchone()[0]
    file.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError):
        engine.start(follows("k", {"seconds": 1000, "output": "x" * 100_000}))
    assert engine.keys() == [] and engine.look("k").status == "unknown"
    file.execute("PRAGMA max_page_count = 100000")
    engine.start(follows("k", {"seconds": 1000, "output": "x" * 100_000}))
    assert engine.look("k").status == "running"


def test_the_fault_of_one_listener_does_not_deafen_the_others(fleet: Fleet) -> None:
    faults: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda args: faults.append(str(args.exc_value))
    try:
        engine = FleetEngine(folder=fleet.folder)
        engine.on_change(lambda key: [][0])
        heard = threading.Event()
        engine.on_change(lambda key: heard.set())
        engine.start(sleeps("k", 0))
        assert heard.wait(DEADLINE_S) and faults
        engine.close()
    finally:
        threading.excepthook = before


def test_two_thousand_runs_on_two_hundred_machines_are_started_and_seen_quickly(fleet: Fleet) -> None:
    fleet.folder.mkdir()
    fleet.file.write_text(text_of(default_nodes(200)))
    engine = fleet.open()
    names = [node.name for node in engine.nodes()]
    start_s = perf_counter()
    for number in range(2000):
        engine.start(sleeps(f"j.{number}.0", 1000, names[number % 200], devices=Devices(gpu_milli=800)))
    began_s = perf_counter()
    assert {engine.look(f"j.{number}.0").status for number in range(2000)} == {"running"}
    seen_s = perf_counter()
    assert len(engine.keys()) == 2000
    assert began_s - start_s < 20 and seen_s - began_s < 2  # measured: 0.9 s and 0.06 s
    write_whole(fleet.file, text_of(default_nodes(200)[:100]))
    until(lambda: len(fleet.told[id(engine)]) == 1000)
