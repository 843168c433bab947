"""Compressed messages of gRPC within a front: what is read, what is refused, and how answers are packed."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.serve.frames import Entry
from lepton.serve.heads import PREFACE
from lepton.serve.http import Connection
from lepton.serve.protocols.grpc.call import prefixed
from lepton.serve.protocols.grpc.coding import PackedError, Unpacking, coding_for, pack
from lepton.serve.protocols.grpc.health import NOT_SERVING, SERVING, name_of
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.hpack import Reader
from lepton.serve.protocols.http2.wire import Kind
from lepton.serve.protocols.inference.operations import SERVICE
from tests.fuzz.front import Transport, Worker
from tests.fuzz.http2 import SETTINGS, head, make_front, read_frames, turn

INFER, STREAM = f"{SERVICE}ModelInfer", f"{SERVICE}ModelStreamInfer"
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
WAIT_S = 30


@given(st.binary(max_size=5000), st.sampled_from(sorted(PACK)), st.integers(0, 6000), st.integers(0, 6000))
def test_what_is_packed_is_unpacked_if_it_is_within_the_limit(data: bytes, coding: str, first: int, then: int) -> None:
    for packed in (PACK[coding](data), pack(data, coding.encode())):
        unpacking = Unpacking(packed, coding.encode())
        assert unpacking.go(first) == (data if len(data) <= first else None)
        assert Unpacking(packed, coding.encode()).go(max(first, then)) == (
            data if len(data) <= max(first, then) else None
        )
        if len(data) > first and then >= first:  # gone on with, with more room
            assert unpacking.go(then) == (data if len(data) <= then else None)


@given(st.binary(max_size=300))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    try:
        Unpacking(data, b"gzip").go(1 << 16)
    except PackedError:
        return
    assert data[:2] == b"\x1f\x8b"


def test_a_bomb_is_not_unpacked_beyond_its_limit() -> None:
    unpacking = Unpacking(gzip.compress(bytes(64 << 20), mtime=0), b"gzip")
    assert unpacking.go(1000) is None
    assert sum(map(len, unpacking._parts)) == 1001
    assert unpacking.go(5000) is None
    assert sum(map(len, unpacking._parts)) == 5001


def test_an_answer_is_packed_only_as_its_client_packs_and_reads() -> None:
    assert coding_for(b"gzip", b"identity, deflate, gzip") == b"gzip"
    assert coding_for(b"gzip", b"gzip") == b"gzip"
    for asked, codings in ((b"gzip", b""), (b"gzip", b"deflate"), (b"br", b"br"), (b"identity", b"identity")):
        assert coding_for(asked, codings) == b""


class Large(Worker):
    """Answers with as many bytes as the request has, ten times over."""

    def _answer(self, entry: Entry) -> Iterator[Entry]:
        yield Entry(entry.id, entry.body * 10, status=200)


class Line:
    """An open connection, without a socket."""

    def __init__(self) -> None:
        self.lobby, other = make_front(max_body_bytes=1 << 20)
        other.link.connection_lost(None)
        self.worker = Large(self.lobby.own)
        self.transport = Transport()
        first = Connection(self.lobby)
        first.connection_made(self.transport)  # type: ignore[arg-type]
        first.data_received(PREFACE + SETTINGS + wire.window_update(0, 1 << 30))

    def ask(self, path: str, data: bytes, **headers: str) -> list[tuple[int, int, int, bytes]]:
        """What is answered to one call at once."""
        frames = wire.frame(Kind.HEADERS, wire.END_HEADERS, 1, head(path, **headers))
        frames += wire.window_update(1, 1 << 30)
        for at in range(0, len(data), 16_000):
            frames += wire.frame(Kind.DATA, 0, 1, data[at : at + 16_000])
        self.transport.protocol.data_received(frames + wire.frame(Kind.DATA, wire.END_STREAM, 1))
        return self.taken()

    def taken(self) -> list[tuple[int, int, int, bytes]]:
        turn(self.lobby, self.worker, self.transport)
        frames = read_frames(bytes(self.transport.written))
        self.transport.written.clear()
        return frames

    async def whole(self, found: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
        """What was answered, and what is until the stream ends."""
        async with asyncio.timeout(WAIT_S):
            while not any(kind == Kind.HEADERS and flags & wire.END_STREAM for kind, flags, _, _ in found):
                await asyncio.sleep(0)
                found += self.taken()
        return found


def fields(frames: list[tuple[int, int, int, bytes]]) -> list[dict[bytes, bytes]]:
    """Of each header block."""
    reader = Reader(list, 1 << 16)
    return [dict(reader.read(block)) for kind, _, _, block in frames if kind == Kind.HEADERS]


def body(frames: list[tuple[int, int, int, bytes]]) -> bytes:
    return b"".join(payload for kind, _, _, payload in frames if kind == Kind.DATA)


ACCEPTS = {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity, deflate, gzip"}


@pytest.mark.parametrize("size", [10, 1000, 5000, 100_000])
def test_an_answer_worth_it_is_packed_for_who_packs(size: int) -> None:
    async def course() -> None:
        line, message = Line(), bytes(size)
        found = line.ask(INFER, prefixed(gzip.compress(message), is_packed=True), **ACCEPTS)
        found = await line.whole(found)
        told, data = fields(found), body(found)
        assert told[0][b"grpc-encoding"] == b"gzip"
        assert told[0][b"grpc-accept-encoding"] == b"identity, deflate, gzip"
        assert told[-1][b"grpc-status"] == b"0"
        assert data[0] == (size >= 1000)
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        assert (gzip.decompress(data[5:]) if data[0] else data[5:]) == bytes(10 * size)

    asyncio.run(course())


def test_who_does_not_pack_or_read_it_is_answered_plainly() -> None:
    async def course() -> None:
        for headers in ({}, {"grpc_accept_encoding": "gzip"}, {"grpc_encoding": "gzip"}):
            line = Line()
            found = line.ask(INFER, prefixed(bytes(5000)), **headers)
            assert b"grpc-encoding" not in fields(found)[0]
            assert body(found) == prefixed(bytes(50_000))

    asyncio.run(course())


@pytest.mark.parametrize("path", [INFER, STREAM])
@pytest.mark.parametrize(
    ("data", "coding", "status"),
    [
        (gzip.compress(b"abc", mtime=0), "gzip", b"0"),
        (zlib.compress(b"abc"), "deflate", b"0"),
        (b"abc", "gzip", b"3"),
        (gzip.compress(b"abc", mtime=0)[:-4], "gzip", b"3"),
        (gzip.compress(b"abc", mtime=0) + b"x", "gzip", b"3"),
        (zlib.compress(b"abc"), "gzip", b"3"),
        (b"", "gzip", b"3"),
        (b"abc", "snappy", b"12"),
        (b"abc", "identity", b"12"),
        (gzip.compress(bytes(2 << 20), mtime=0), "gzip", b"8"),
        (gzip.compress(bytes(64 << 20), mtime=0), "gzip", b"8"),
    ],
)
def test_a_message_that_is_not_what_its_coding_says_is_refused(
    path: str, data: bytes, coding: str, status: bytes
) -> None:
    async def course() -> None:
        line = Line()
        found = line.ask(path, prefixed(data, is_packed=True), grpc_encoding=coding)
        found = await line.whole(found)
        assert fields(found)[-1][b"grpc-status"] == status
        assert fields(found)[0].get(b"grpc-accept-encoding") == b"identity, deflate, gzip"
        assert not line.lobby.own.open
        assert line.transport.protocol.partial_bytes == 0

    asyncio.run(course())


@pytest.mark.parametrize("path", [INFER, STREAM])
def test_a_client_that_goes_while_its_message_is_unpacked_costs_nothing(path: str) -> None:
    async def course() -> None:
        line = Line()
        line.ask(path, prefixed(gzip.compress(bytes(500_000)), is_packed=True), **ACCEPTS)
        protocol = line.transport.protocol
        protocol.connection_lost(None)
        await asyncio.get_running_loop().shutdown_default_executor()
        for _ in range(5):  # what the thread has found comes by way of the loop
            await asyncio.sleep(0)
        line.taken()
        assert not line.lobby.own.open
        assert protocol.partial_bytes == 0

    asyncio.run(course())


@pytest.mark.parametrize(
    ("message", "name"),
    [(b"", b""), (b"\x0a\x00", b""), (b"\x0a\x01a", b"a"), (b"\x0a\x02a", None), (b"\x12\x01a", None), (b"\x0a", None)],
)
def test_the_name_of_a_service_is_read(message: bytes, name: bytes | None) -> None:
    assert name_of(message) == name


def states(frames: list[tuple[int, int, int, bytes]]) -> list[bytes]:
    return [payload for kind, _, _, payload in frames if kind == Kind.DATA]


def watch(line: Line, after_s: float, loop: asyncio.AbstractEventLoop) -> Any:
    line.transport.protocol.check(loop.time() + after_s)
    return line.taken()


def test_a_watch_tells_only_what_has_changed_and_ends_at_its_deadline() -> None:
    async def course() -> None:
        line, loop = Line(), asyncio.get_running_loop()
        assert states(line.ask("/grpc.health.v1.Health/Watch", prefixed(b""), grpc_timeout="90S")) == [
            prefixed(SERVING)
        ]
        assert watch(line, 1, loop) == []
        line.worker.link.connection_lost(None)
        assert states(watch(line, 70, loop)) == [prefixed(NOT_SERVING)]
        assert watch(line, 80, loop) == []
        assert fields(watch(line, 91, loop))[-1][b"grpc-status"] == b"4"
        assert not line.transport.protocol.streams

    asyncio.run(course())


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\0\x05ab", b"\x01" + prefixed(b"")[1:], prefixed(b"\x0a\xff" + bytes(255))]
)
def test_a_watch_for_no_message_is_refused(data: bytes) -> None:
    async def course() -> None:
        line = Line()
        assert fields(line.ask("/grpc.health.v1.Health/Watch", data))[-1][b"grpc-status"] == b"3"

    asyncio.run(course())
