"""A replica's end of its link: who leaves takes nobody along."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from lepton.serve.calls import Call
from lepton.serve.frames import Decoder, Entry, Frame, Kind, encode
from lepton.serve.program import Reply, Work
from lepton.serve.replica_link import Link
from lepton.serve.routes import Operation


class Wire:
    """Keeps what is written, as frames."""

    def __init__(self) -> None:
        self.answers: dict[int, Entry] = {}
        self._decoder = Decoder()

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.answers |= {entry.id: entry for entry in frame.entries if frame.kind == Kind.ANSWERS}


async def one_leaves_a_batch() -> dict[int, Entry]:
    begun, gate, wire = Event(), Event(), Wire()

    def double(calls: Sequence[Call]) -> list[Reply]:
        begun.set()
        gate.wait(10)
        return [Reply(call.body * 2) for call in calls]

    with ThreadPoolExecutor(1) as threads:
        works = {16: Work(operation=Operation(id=16, path="/x"), batch=double)}
        link = Link(works, lambda: (b"{}", None), threads, tell=lambda item: None)
        link.connection_made(wire)  # type: ignore[arg-type]
        link.data_received(encode(Frame(Kind.BATCH, [Entry(1, b"a", operation=16), Entry(2, b"b", operation=16)])))
        await asyncio.to_thread(begun.wait, 10)
        link.data_received(encode(Frame(Kind.CANCEL, [Entry(1)])))
        await asyncio.sleep(0)
        gate.set()
        until = asyncio.get_running_loop().time() + 10
        while not {1, 2} <= wire.answers.keys() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.005)
    return wire.answers


def test_who_leaves_a_batch_that_a_thread_computes_takes_nobody_along() -> None:
    answers = asyncio.run(one_leaves_a_batch())
    assert (answers[2].status, answers[2].body) == (200, b"bb")
    assert 1 in answers, "its place at the front is free again"


async def one_leaves_with_what_asked() -> dict[int, Entry]:
    wire = Wire()

    async def wait(call: Call) -> Reply:
        await asyncio.sleep(60)
        return Reply(call.body)

    with ThreadPoolExecutor(1) as threads:
        works = {16: Work(operation=Operation(id=16, path="/x"), answer=wait)}
        link = Link(works, lambda: (b"{}", None), threads, tell=lambda item: None)
        link.connection_made(wire)  # type: ignore[arg-type]
        asked = encode(Frame(Kind.BATCH, [Entry(1, b"a", operation=16)]))
        link.data_received(asked + encode(Frame(Kind.CANCEL, [Entry(1)])))  # a busy worker reads both at once
        until = asyncio.get_running_loop().time() + 10
        while 1 not in wire.answers and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.005)
        link.connection_lost(None)
    return wire.answers


def test_who_leaves_before_a_busy_worker_has_read_the_request_is_let_go() -> None:
    answers = asyncio.run(one_leaves_with_what_asked())
    assert 1 in answers, "its place at the front is free again"
