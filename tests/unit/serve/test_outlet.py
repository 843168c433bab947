"""What a connection writes, and from when on it is idle."""

import asyncio
from time import monotonic

from lepton.serve.answers import GOING_AWAY
from lepton.serve.frames import Entry
from lepton.serve.http import Connection
from lepton.serve.message import MANY_CHUNKS
from lepton.serve.reading import PART_BYTES, TURN_CHUNKS
from tests.fuzz.front import Transport
from tests.fuzz.http2 import make_front

ASK = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
PARTS = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def connected() -> tuple[Connection, Transport, object, object]:
    lobby, worker = make_front()
    connection, transport = Connection(lobby), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport, lobby, worker


async def long_answer() -> None:
    connection, transport, lobby, worker = await connected()
    connection.data_received(ASK % b"predict")
    later = monotonic() + 1000
    connection.check(later)
    assert not transport.is_closed, "it waits for its answer"
    lobby.own._pump()  # type: ignore[attr-defined]
    worker.work()  # type: ignore[attr-defined]
    assert transport.written.startswith(b"HTTP/1.1 200")
    connection.check(later + 1)
    assert not transport.is_closed, "it is idle for a second, however long its answer took"
    connection.check(later + 1000)
    assert transport.is_closed


def test_a_connection_is_idle_from_its_last_answer_on() -> None:
    asyncio.run(long_answer())


async def streams(*paths: bytes) -> bytes:
    connection, transport, lobby, worker = await connected()
    connection.data_received(b"".join(ASK % path for path in paths))
    lobby.own._pump()  # type: ignore[attr-defined]
    worker.work()  # type: ignore[attr-defined]
    return bytes(transport.written)


def test_parts_of_a_stream_go_out_in_order_and_after_what_was_asked_before() -> None:
    assert asyncio.run(streams(b"stream")).count(PARTS) == 1
    written = asyncio.run(streams(b"stream", b"predict", b"stream"))
    assert written.count(PARTS) == 2 and written.endswith(PARTS)
    assert [written.count(b"HTTP/1.1 200"), written.count(b"content-length: 2")] == [3, 1]
    assert written.index(PARTS) < written.index(b"content-length: 2") < written.rindex(PARTS)


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1\r\n \r\n"


async def chunked(count: int) -> tuple[int, bytes, bytes]:
    """A body in tiny chunks that comes all at once, and meanwhile another client's request: how many chunks were read
    before that one was, and what the two were answered."""
    connection, transport, lobby, worker = await connected()
    other, others = Connection(lobby), Transport()  # type: ignore[arg-type]
    other.connection_made(others)  # type: ignore[arg-type]
    connection.data_received(CHUNKED + count * CHUNK + b"0\r\n\r\n")
    read = connection._chunks
    other.data_received(ASK % b"predict")
    for _ in range(2 + count // TURN_CHUNKS):
        await asyncio.sleep(0)
    lobby.own._pump()  # type: ignore[attr-defined]
    worker.work()  # type: ignore[attr-defined]
    return read, bytes(transport.written), bytes(others.written)


def test_a_body_in_tiny_chunks_leaves_others_their_turn_and_is_refused_if_there_are_too_many() -> None:
    for count, status in ((100, b"200"), (8 * TURN_CHUNKS, b"200"), (MANY_CHUNKS + PART_BYTES, b"400")):
        read, written, others = asyncio.run(chunked(count))
        assert read <= TURN_CHUNKS + PART_BYTES // len(CHUNK)
        assert written.startswith(b"HTTP/1.1 " + status) and others.startswith(b"HTTP/1.1 200")
        assert (b"tiny chunks" in written) is (status == b"400")


async def drained(*asked: bytes) -> tuple[bytes, bool]:
    """What a client reads that asks again once a drain has begun, and whether its connection is closed before that.

    Args:
        asked: what it has asked; of the last nothing but the head of the answer is there when the drain begins.
    """
    connection, transport, lobby, worker = await connected()
    streams = []
    for path in asked:
        connection.data_received(ASK % path)
        lobby.own._pump()  # type: ignore[attr-defined]
        if path == b"stream":
            worker._inbox.clear()  # type: ignore[attr-defined]
            streams.append(connection._open[-1])
            streams[-1].take(Entry(streams[-1].id, b"one", status=200, flags=0))
    lobby.drain()  # type: ignore[attr-defined]
    for stream in streams:
        stream.take(Entry(stream.id, b"two"))
    worker.work()  # type: ignore[attr-defined]
    connection.check(monotonic())
    was_closed = transport.is_closed
    connection.data_received(ASK % b"predict")
    lobby.own._pump()  # type: ignore[attr-defined]
    worker.work()  # type: ignore[attr-defined]
    assert transport.is_closed
    return bytes(transport.written), was_closed


def test_what_was_on_its_way_when_a_drain_began_is_answered_and_told_to_be_the_last() -> None:
    written, was_closed = asyncio.run(drained())
    assert written.count(b"HTTP/1.1 200") == written.count(b"connection: close") == 1 and not was_closed
    written, was_closed = asyncio.run(drained(b"stream"))
    assert not was_closed, "its answer could not say any more that it is the last"
    assert (written.count(b"HTTP/1.1 200"), written.count(b"connection: close")) == (2, 1)
    written, was_closed = asyncio.run(drained(b"predict"))
    assert was_closed and (written.count(b"HTTP/1.1 200"), written.count(b"connection: close")) == (1, 1)


async def left() -> list[bool]:
    """Whether a client that asks nothing is still connected at the begin of a drain, and when its moment is over."""
    connection, transport, lobby, _ = await connected()
    connection.check(monotonic() + 50)
    lobby.drain()  # type: ignore[attr-defined]
    found = []
    for later in (0.0, lobby.limits.leave_s + 1):  # type: ignore[attr-defined]
        lobby.sweep(monotonic() + later)  # type: ignore[attr-defined]
        found.append(not transport.is_closed)
    return [*found, lobby.is_open]  # type: ignore[attr-defined]


def test_an_idle_client_is_left_a_moment_when_a_drain_begins() -> None:
    assert asyncio.run(left()) == [True, False, False]


async def parted(*, has_begun: bool) -> tuple[bytes, bool]:
    """What the client of a WebSocket reads at the end of a drain, and whether its connection is closed then."""
    connection, transport, lobby, _ = await connected()
    connection.data_received(b"GET /app/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    lobby.own._pump()  # type: ignore[attr-defined]
    assert connection._tunnel is not None
    if has_begun:
        connection._tunnel.begin(101, b"upgrade: websocket\r\nconnection: upgrade\r\n")
        connection._tunnel.go_on(b"\x81\x02hi")
    lobby.say_goodbye()  # type: ignore[attr-defined]
    return bytes(transport.written), transport.is_closed


def test_a_websocket_is_closed_as_going_away_at_the_end_of_a_drain() -> None:
    written, is_closed = asyncio.run(parted(has_begun=True))
    assert written.startswith(b"HTTP/1.1 101") and written.endswith(b"\x81\x02hi" + GOING_AWAY) and is_closed
    assert asyncio.run(parted(has_begun=False)) == (b"", False), "it still waits for its answer"
