"""The contract of `lepton.engine.base.Engine`: one suite over every engine."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest

from lepton.core.errors import EngineError, LeptonError
from lepton.core.launch import Exit, ExitReason, Launch, Sighting
from lepton.engine.base import Engine, open_engine
from lepton.engine.simulated import SimulatedEngine

DEADLINE_S = 30.0
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1000 & wait $!; done"


class Bench:
    """An engine under test, and how to say to it what a launch should do."""

    engine: Engine

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.told: list[str] = []

    def listen(self) -> None:
        self.engine.on_change(self.hear)

    def hear(self, key: str) -> None:
        with self.changed:
            self.told.append(key)
            self.changed.notify_all()

    def forever(self, key: str, **more: Any) -> Launch:
        raise NotImplementedError

    def stubborn(self, key: str, **more: Any) -> Launch:
        """Ignores the polite way."""
        raise NotImplementedError

    def ends(self, key: str, code: int = 0, **more: Any) -> Launch:
        raise NotImplementedError

    def prints(self, key: str, text: str, **more: Any) -> Launch:
        raise NotImplementedError

    def missing(self, key: str) -> Launch:
        raise NotImplementedError

    def wait(self, key: str) -> Exit:
        raise NotImplementedError

    def heard(self, key: str) -> Exit:
        """How it has ended; looks again whenever an end is told."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.engine.look(key).exit, DEADLINE_S), self.engine.look(key)
        found = self.engine.look(key).exit
        assert found is not None
        return found

    def until_ready(self, key: str) -> None:
        """Return once a stubborn launch is past its start."""


class LocalBench(Bench):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.engine = open_engine("local", folder=folder / "engine")
        self.listen()

    def run(self, key: str, *command: str, **more: Any) -> Launch:
        return Launch(key=key, job="j", command=command, **more)

    def forever(self, key: str, **more: Any) -> Launch:
        return self.run(key, "sleep", "1000", **more)

    def stubborn(self, key: str, **more: Any) -> Launch:
        return self.run(key, "sh", "-c", STUBBORN, **more)

    def ends(self, key: str, code: int = 0, **more: Any) -> Launch:
        return self.run(key, "sh", "-c", f"exit {code}", **more)

    def prints(self, key: str, text: str, **more: Any) -> Launch:
        return self.run(key, sys.executable, "-S", "-c", f"print({text!r}, end='')", **more)

    def missing(self, key: str) -> Launch:
        return self.run(key, "/no/such/program")

    def wait(self, key: str) -> Exit:
        return self.heard(key)

    def until_ready(self, key: str) -> None:
        wait_until(lambda: self.engine.log_size(key) > 0)


class CourseBench(Bench):
    """Of an engine on which a launch does what is written in it."""

    def course(self, key: str, more: dict[str, Any], **course: Any) -> Launch:
        return Launch(key=key, job="j", command=("program",), params={"course": course}, **more)

    def forever(self, key: str, **more: Any) -> Launch:
        return self.course(key, more, seconds=inf)

    def stubborn(self, key: str, **more: Any) -> Launch:
        return self.course(key, more, seconds=inf, ignores_stop=True)

    def ends(self, key: str, code: int = 0, **more: Any) -> Launch:
        return self.course(key, more, seconds=0.5, code=code)

    def prints(self, key: str, text: str, **more: Any) -> Launch:
        return self.course(key, more, output=text)

    def missing(self, key: str) -> Launch:
        return self.course(key, {}, seconds=0, reason="not_started", detail="Program /no/such/program: missing")


class SimulatedBench(CourseBench):
    engine: SimulatedEngine

    def __init__(self, folder: Path) -> None:
        super().__init__()
        del folder
        self.engine = SimulatedEngine()
        self.listen()

    def wait(self, key: str) -> Exit:
        self.engine.advance(10.0)
        found = self.engine.look(key).exit
        assert found is not None
        return found


class FleetBench(CourseBench):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.engine = open_engine("fleet", folder=folder / "engine")
        self.listen()

    def ends(self, key: str, code: int = 0, **more: Any) -> Launch:
        return self.course(key, more, seconds=0.05, code=code)

    def prints(self, key: str, text: str, **more: Any) -> Launch:
        return self.course(key, more, seconds=0.05, output=text)

    def wait(self, key: str) -> Exit:
        return self.heard(key)


def wait_until(is_true: Callable[[], object]) -> None:
    """For what announces itself by no event: look again every few milliseconds."""
    give_up_at, tick = time.monotonic() + DEADLINE_S, threading.Event()
    while not is_true():
        assert time.monotonic() < give_up_at
        tick.wait(0.005)


@pytest.fixture(params=[LocalBench, SimulatedBench, FleetBench], ids=["local", "simulated", "fleet"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench: Bench = request.param(tmp_path)
    yield bench
    for key in list(bench.engine.keys()):
        bench.engine.stop(key, grace_s=0)
    for key in list(bench.engine.keys()):
        bench.wait(key)
        bench.engine.forget(key)
    bench.engine.close()


def text_of(bench: Bench, key: str, offset: int = 0) -> bytes:
    return b"".join(bench.engine.logs(key, offset=offset))


def test_it_has_at_least_one_node_with_processors(bench: Bench) -> None:
    nodes = list(bench.engine.nodes())
    assert nodes and all(node.name and node.devices.cpu_milli > 0 and node.devices.memory_bytes > 0 for node in nodes)


def test_starting_twice_runs_once_and_stop_ends_it(bench: Bench) -> None:
    bench.engine.start(bench.forever("k1"))
    first = bench.engine.look("k1")
    bench.engine.start(bench.forever("k1"))
    assert (first.status, bench.engine.look("k1")) == ("running", first)
    assert first.pid > 0 and first.started_at is not None and first.started_at.tzinfo == UTC
    bench.engine.stop("k1", grace_s=5)
    ended = bench.wait("k1")
    assert (ended.reason, ended.signal) == (ExitReason.STOPPED, 15)


def test_an_unknown_key_is_no_fault(bench: Bench) -> None:
    assert bench.engine.look("nobody") == Sighting(key="nobody", status="unknown")
    bench.engine.stop("nobody", grace_s=0)
    bench.engine.forget("nobody")
    assert (text_of(bench, "nobody"), bench.engine.log_size("nobody"), list(bench.engine.keys())) == (b"", 0, [])


@pytest.mark.parametrize(("code", "reason"), [(0, ExitReason.DONE), (3, ExitReason.FAILED)])
def test_the_exit_code_is_told(bench: Bench, code: int, reason: ExitReason) -> None:
    bench.engine.start(bench.ends("k", code))
    ended = bench.wait("k")
    assert (ended.reason, ended.code, ended.signal) == (reason, code, None)
    sighting = bench.engine.look("k")
    assert sighting.status == "exited" and ended.at is not None and sighting.started_at is not None
    assert timedelta(0) <= ended.at - sighting.started_at < timedelta(seconds=DEADLINE_S)


def test_an_ended_key_is_not_started_again(bench: Bench) -> None:
    bench.engine.start(bench.ends("k", 3))
    ended = bench.wait("k")
    bench.engine.start(bench.ends("k", 0))
    assert bench.wait("k") == ended


def test_a_missing_program_is_an_ending_that_says_why(bench: Bench) -> None:
    bench.engine.start(bench.missing("k"))
    ended = bench.wait("k")
    assert (ended.reason, ended.code) == (ExitReason.NOT_STARTED, None) and "/no/such/program" in ended.detail


def test_an_unknown_node_is_refused_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(EngineError, match="mars"):
        bench.engine.start(replace(bench.forever("k"), node="mars"))
    assert bench.engine.look("k").status == "unknown" and list(bench.engine.keys()) == []


def test_it_can_be_started_on_each_of_its_nodes_by_name(bench: Bench) -> None:
    for node in bench.engine.nodes():
        bench.engine.start(replace(bench.forever(f"on-{node.name}"), node=node.name))
        assert bench.engine.look(f"on-{node.name}").status == "running"


def test_what_ignores_the_polite_way_is_killed_after_the_grace(bench: Bench) -> None:
    bench.engine.start(bench.stubborn("k"))
    bench.until_ready("k")
    bench.engine.stop("k", grace_s=0.2)
    assert bench.engine.look("k").status == "running"
    ended = bench.wait("k")
    assert (ended.reason, ended.signal) == (ExitReason.STOPPED, 9)


def test_a_second_stop_can_shorten_the_grace(bench: Bench) -> None:
    bench.engine.start(bench.stubborn("k"))
    bench.until_ready("k")
    bench.engine.stop("k", grace_s=1000)
    bench.engine.stop("k", grace_s=0.1)
    assert bench.wait("k").reason == ExitReason.STOPPED


def test_what_runs_too_long_is_ended_with_reason_timeout(bench: Bench) -> None:
    bench.engine.start(bench.forever("soft", timeout_s=0.1, grace_s=20))
    assert (bench.wait("soft").reason, bench.wait("soft").signal) == (ExitReason.TIMEOUT, 15)
    bench.engine.start(bench.stubborn("hard", timeout_s=0.3, grace_s=0.1))
    assert (bench.wait("hard").reason, bench.wait("hard").signal) == (ExitReason.TIMEOUT, 9)


def test_stop_and_timeout_after_the_end_change_nothing(bench: Bench) -> None:
    bench.engine.start(bench.ends("k", 3, timeout_s=5.0))
    ended = bench.wait("k")
    bench.engine.stop("k", grace_s=0)
    assert bench.wait("k") == ended


def test_logs_go_on_where_the_last_reading_ended(bench: Bench) -> None:
    bench.engine.start(bench.prints("k", "one\ntwo\n"))
    bench.wait("k")
    whole, size = text_of(bench, "k"), bench.engine.log_size("k")
    assert whole.endswith(b"one\ntwo\n") and size == len(whole)
    assert text_of(bench, "k", size - 4) == b"two\n"
    assert text_of(bench, "k", size) == text_of(bench, "k", size + 100) == b""


def test_a_dropped_part_of_the_log_is_marked(bench: Bench) -> None:
    bench.engine.start(bench.prints("k", "x" * 5000 + "the end", log_limit_bytes=800))
    bench.wait("k")
    marker, _, kept = text_of(bench, "k").partition(b"\n")
    size = bench.engine.log_size("k")
    assert marker == b"[lepton: %d bytes dropped]" % (size - len(kept))
    assert 700 <= len(kept) <= 800 and kept.endswith(b"xthe end")
    assert text_of(bench, "k", size - 7) == b"the end"


def test_keys_are_all_that_is_here_until_forgotten(bench: Bench) -> None:
    bench.engine.start(bench.forever("runs"))
    bench.engine.start(bench.ends("ended"))
    bench.wait("ended")
    assert sorted(bench.engine.keys()) == ["ended", "runs"]
    bench.engine.forget("ended")
    bench.engine.forget("runs")
    assert sorted(bench.engine.keys()) == ["runs"]
    assert (bench.engine.look("ended").status, bench.engine.look("runs").status) == ("unknown", "running")
    assert text_of(bench, "ended") == b""


def test_every_listener_hears_of_every_ending_once(bench: Bench) -> None:
    others: list[str] = []
    bench.engine.on_change(others.append)
    for key in ("a", "b"):
        bench.engine.start(bench.ends(key))
    bench.engine.start(bench.forever("c"))
    for key in ("a", "b"):
        bench.wait(key)
    wait_until(lambda: sorted(others) == sorted(bench.told) == ["a", "b"])


def test_it_may_be_called_from_many_threads(bench: Bench) -> None:
    faults: list[LeptonError] = []

    def start_and_look(key: str) -> None:
        try:
            bench.engine.start(bench.forever(key))
            assert bench.engine.look(key).status == "running"
        except LeptonError as fault:
            faults.append(fault)

    keys = [f"k{number}" for number in range(4)] * 3
    threads = [threading.Thread(target=start_and_look, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and sorted(bench.engine.keys()) == sorted(set(keys))
