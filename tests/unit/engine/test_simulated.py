"""What the simulated engine adds to the contract: virtual time and failures on demand."""

from datetime import timedelta
from math import inf

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import EngineError
from lepton.core.launch import Devices, Exit, ExitReason, Launch, NodeFacts
from lepton.engine.course import Course
from lepton.engine.simulated import SimulatedEngine

NODES = tuple(NodeFacts(name=name, devices=Devices(memory_bytes=1)) for name in ("n1", "n2"))


def launch(key: str, node: str = "") -> Launch:
    return Launch(key=key, job="j", command=("train", "--big model"), node=node)


def engine_of(**seconds: float) -> SimulatedEngine:
    return SimulatedEngine(nodes=NODES, course=lambda launch: Course(seconds=seconds.get(launch.key, inf)))


def test_endings_are_told_in_order_at_their_own_time_and_may_start_more() -> None:
    engine, told = engine_of(a=5, b=2, c=1), []

    def hear(key: str) -> None:
        told.append((key, engine.clock.monotonic()))
        if key == "b":
            engine.start(launch("c"))

    engine.on_change(hear)
    engine.start(launch("a"))
    engine.start(launch("b"))
    engine.advance(10)
    assert told == [("b", 2), ("c", 3), ("a", 5)] and engine.clock.monotonic() == 10
    ended = engine.look("a").exit
    assert ended is not None and ended.at == ManualClock().now() + timedelta(seconds=5)


def test_a_failure_can_be_ordered_and_is_told_once() -> None:
    engine, told = engine_of(k=9), []
    engine.on_change(told.append)
    engine.start(launch("k"))
    engine.advance(1)
    engine.fail("k", Exit(reason=ExitReason.FAILED, code=3))
    engine.advance(20)
    ended = engine.look("k").exit
    assert ended is not None and ended.code == 3 and told == ["k"]


def test_a_lost_node_takes_its_workers_along_and_can_come_back() -> None:
    engine, told = engine_of(), []
    engine.on_change(told.append)
    engine.start(launch("a", "n1"))
    engine.start(launch("b", "n2"))
    engine.lose_node("n1")
    engine.advance(0)
    ended = engine.look("a").exit
    assert ended is not None and ended.reason == ExitReason.LOST
    assert told == ["a"] and engine.look("b").status == "running" and [n.name for n in engine.nodes()] == ["n2"]
    with pytest.raises(EngineError, match="n1"):
        engine.start(launch("c", "n1"))
    engine.add_node(NODES[0])
    engine.start(launch("c", "n1"))
    assert engine.look("c").status == "running"


def test_its_log_says_what_would_have_run() -> None:
    engine = engine_of()
    engine.start(launch("k", "n2"))
    assert b"".join(engine.logs("k")) == b"[simulated on n2] train '--big model'\n"
