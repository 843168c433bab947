"""A replica's end of its link: who leaves takes nobody along."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from time import perf_counter

import pytest

from lepton.core.errors import UnavailableError
from lepton.core.resource import Json
from lepton.serve import replica
from lepton.serve.calls import Call
from lepton.serve.frames import LAST, Decoder, Entry, Frame, Kind, encode
from lepton.serve.outbox import PART_S
from lepton.serve.program import Reply, Work
from lepton.serve.replica import Replica
from lepton.serve.replica_link import SLICE_S, Link
from lepton.serve.routes import Operation
from lepton.serve.threads import Threads


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

    with closing(Threads(1)) as threads:
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

    with closing(Threads(1)) as threads:
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


async def sizes_of_five(max_batch: int) -> list[int]:
    seen: list[int] = []

    def count(calls: Sequence[Call]) -> list[Reply]:
        seen.append(len(calls))
        return [Reply() for _ in calls]

    works = {16: Work(operation=Operation(id=16, path="/x"), batch=count, max_batch=64)}
    link = Link(works, lambda: (b"{}", None), None, tell=lambda item: None, max_batch=max_batch)
    link.connection_made(Wire())  # type: ignore[arg-type]
    frames = [Frame(Kind.BATCH, [Entry(id, b"", operation=16)]) for id in range(1, 6)]
    link.data_received(b"".join(map(encode, frames)))  # a busy worker reads several at once
    link.connection_lost(None)
    return seen


@pytest.mark.parametrize(("max_batch", "sizes"), [(0, [5]), (1, [1, 1, 1, 1, 1]), (2, [2, 2, 1])])
def test_what_comes_at_once_is_computed_together_up_to_the_most_that_was_asked_for(
    max_batch: int, sizes: list[int]
) -> None:
    assert asyncio.run(sizes_of_five(max_batch)) == sizes


class Sent:
    """Keeps how many answers each frame had, and how many frames it said were done with."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int]] = []
        self._decoder = Decoder()

    def write(self, data: bytes) -> None:
        found = [frame for frame in self._decoder.feed(data) if frame.kind == Kind.ANSWERS]
        self.frames += [(len(frame.entries), frame.slot) for frame in found]


async def begun_one_by_one(work_s: float, *, until: int) -> tuple[list[tuple[bytes, int]], Sent]:
    """Five requests in two frames, of which the second comes while the first is computed: what was begun, and how
    many were answered before it. The front is gone once it has so many answers."""
    sent, begun, loop = Sent(), [], asyncio.get_running_loop()

    def work(call: Call) -> Reply:
        begun.append((call.body, sum(count for count, _ in sent.frames)))
        ends = perf_counter() + work_s
        while perf_counter() < ends:
            pass
        return Reply(call.body)

    works = {16: Work(operation=Operation(id=16, path="/x"), call=work)}
    link = Link(works, lambda: (b"{}", None), None, tell=lambda item: None)
    link.connection_made(sent)  # type: ignore[arg-type]
    link.data_received(encode(Frame(Kind.BATCH, [Entry(id, b"%d" % id, operation=16) for id in (1, 2, 3)])))
    link.data_received(encode(Frame(Kind.BATCH, [Entry(id, b"%d" % id, operation=16) for id in (4, 5)])))
    ends = loop.time() + 10
    while sum(count for count, _ in sent.frames) < until and loop.time() < ends:
        await asyncio.sleep(0)
    link.connection_lost(None)
    await asyncio.sleep(0.01)
    return begun, sent


def test_a_slow_answer_is_sent_before_the_next_request_of_its_frame_is_begun() -> None:
    begun, sent = asyncio.run(begun_one_by_one(2 * SLICE_S, until=5))
    assert begun == [(b"1", 0), (b"2", 1), (b"3", 2), (b"4", 3), (b"5", 4)]
    assert sent.frames == [(1, 0), (1, 0), (1, 0), (1, 0), (1, 2)], "it has room for frames once it has begun all"


def test_quick_answers_travel_together() -> None:
    _, sent = asyncio.run(begun_one_by_one(0, until=5))
    assert sent.frames == [(3, 1), (2, 1)]


def test_nothing_is_begun_for_a_front_that_is_gone() -> None:
    begun, _ = asyncio.run(begun_one_by_one(2 * SLICE_S, until=2))
    assert begun == [(b"1", 0), (b"2", 1)]


class Log:
    """Keeps the parts of one stream."""

    def __init__(self) -> None:
        self.parts: list[Entry] = []
        self._decoder = Decoder()

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.parts += [entry for entry in frame.entries if frame.kind == Kind.ANSWERS]


async def stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[Log]:
    """What a replica has sent of a stream, whenever there is more, until it has ended."""
    log, loop = Log(), asyncio.get_running_loop()
    works = {16: Work(operation=Operation(id=16, path="/x"), call=lambda _: Reply(stream=pieces))}
    link = Link(works, lambda: (b"{}", None), None, tell=lambda item: None)
    link.connection_made(log)  # type: ignore[arg-type]
    link.data_received(encode(Frame(Kind.BATCH, [Entry(1, b"", operation=16)])))
    until, seen = loop.time() + 30, 0
    while loop.time() < until:
        await asyncio.sleep(0)
        if len(log.parts) > seen:
            seen = len(log.parts)
            yield log
            if log.parts[-1].flags & LAST:
                return


async def hurry() -> list[Entry]:
    async def count() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield b"%d," % number
            await asyncio.sleep(0)

    return [log async for log in stream(count())][-1].parts


def test_pieces_that_come_fast_travel_together_and_in_order() -> None:
    parts = asyncio.run(hurry())
    assert b"".join(part.body for part in parts) == b"".join(b"%d," % number for number in range(1000))
    assert len(parts) <= 500


async def at_leisure() -> None:
    async def wait() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        for number in range(3):
            yield b"%d" % number
            until, turns = loop.time() + 2 * PART_S, 0
            while loop.time() < until or turns < 5:
                await asyncio.sleep(0)
                turns += 1

    lengths = [len(log.parts) async for log in stream(wait())]
    assert lengths == [1, 2, 3, 4], "each is there before the next comes, and then the end"


def test_pieces_that_come_slowly_each_go_at_once() -> None:
    asyncio.run(at_leisure())


class Ill:
    """A program that says how it is, and one plain function that waits."""

    room, threads = 4, 1

    def __init__(self) -> None:
        self.is_well = True
        self.closed = False

    def works(self) -> list[Work]:
        return [Work(operation=Operation(id=16, path="/x"), call=lambda call: Reply(call.body))]

    def about(self) -> dict[str, Json]:
        return {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    def is_healthy(self) -> bool:
        return self.is_well

    def tick(self) -> None:
        pass


async def leave(program: Ill, path: Path, then: Callable[[], None]) -> list[Kind]:
    """The kinds of frames that a front gets, which does not let the replica go."""
    seen: list[Kind] = []
    greeted = asyncio.Event()

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        while data := await reader.read(1 << 16):
            seen.extend(Kind(frame.kind) for frame in decoder.feed(data))
            greeted.set()
        writer.close()

    server = await asyncio.start_unix_server(front, str(path))
    running = asyncio.ensure_future(Replica(program, path, hang_s=600).run())
    async with asyncio.timeout(30):
        await greeted.wait()
        then()
        with pytest.raises(UnavailableError):
            await running
    server.close()
    assert program.closed
    return seen


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "TICK_S", 0.001)
    monkeypatch.setattr(replica, "LEAVE_S", 0.01)


def test_a_replica_that_says_it_is_ill_leaves_and_ends_also_if_it_is_not_let_go(quick: None, tmp_path: Path) -> None:
    program = Ill()
    assert asyncio.run(leave(program, tmp_path / "s", lambda: setattr(program, "is_well", False)))[:2] == [
        Kind.HELLO,
        Kind.LEAVE,
    ]


def test_a_replica_with_a_thread_that_hangs_leaves_and_ends(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def hang() -> None:
        monkeypatch.setattr(Threads, "longest_s", lambda _: 601.0)

    assert Kind.LEAVE in asyncio.run(leave(Ill(), tmp_path / "s", hang))
    assert "longer than 600 s" in capfd.readouterr().err


async def how_long() -> tuple[float, list[int]]:
    gate, begun = Event(), Event()

    def wait() -> None:
        begun.set()
        gate.wait(30)

    with closing(Threads(1)) as threads:
        left = threads.run(wait)
        await asyncio.to_thread(begun.wait, 30)
        left.cancel()
        others = [threads.run(int, str(number)) for number in range(3)]
        during = threads.longest_s()
        assert not any(one.done() for one in others), "who is left keeps the thread"
        gate.set()
        return during, await asyncio.gather(*others)


def test_a_thread_that_runs_tells_for_how_long_and_others_wait_for_it() -> None:
    during, others = asyncio.run(how_long())
    assert during > 0
    assert others == [0, 1, 2]
