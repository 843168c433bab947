"""A client that asks on and on without waiting: only so many of its requests are open, fewer if it reads no answers."""

import asyncio

from lepton.serve.exchange import Limits
from lepton.serve.lobby import Lobby
from lepton.serve.protocols.grpc.streamed import MAX_AHEAD, MAX_TOGETHER
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.wire import Kind, Setting
from lepton.serve.protocols.inference.operations import SERVICE
from tests.fuzz.front import GOOD, HEAD, Worker
from tests.fuzz.http2 import MESSAGE, call, head
from tests.unit.serve.test_http2 import Line
from tests.unit.serve.test_room import Client, make, turn

MOST = Limits().max_pipelined
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
MIXED = (GOOD + CHUNKED + HEALTHZ) * 300


async def read_on(lobby: Lobby, worker: Worker, client: Client, count: int) -> list[int]:
    """The statuses of its answers, and never too many requests open meanwhile."""
    for _ in range(count):
        assert len(client.connection._open) <= MOST
        await turn(lobby, worker)
    return client.told


async def asked_at_once(data: bytes, *, size: int) -> tuple[list[int], bool]:
    lobby, worker = make()
    client = Client(lobby)
    for at in range(0, len(data), size):
        client.connection.data_received(data[at : at + size])  # over TLS some comes although it is paused
        assert len(client.connection._open) <= MOST
    return await read_on(lobby, worker, client, 150), client.transport.is_paused


def test_only_so_many_requests_of_a_connection_are_open_and_all_are_answered() -> None:
    for size in (len(MIXED), 16_000, 999):
        told, is_paused = asyncio.run(asked_at_once(MIXED, size=size))
        assert told == [200] * 900 and not is_paused


async def unread() -> None:
    lobby, worker = make()
    client = Client(lobby)
    client.connection.data_received(GOOD)
    client.connection.pause_writing()
    client.connection.data_received(GOOD * 900)
    await turn(lobby, worker)
    assert len(client.connection._open) <= 1, "nothing is begun for one who does not read"
    client.connection.resume_writing()
    assert len(await read_on(lobby, worker, client, 100)) == 901
    assert not client.transport.is_paused


def test_nothing_more_is_begun_for_a_client_that_does_not_read_its_answers() -> None:
    asyncio.run(unread())


async def ended() -> list[int]:
    """Of many requests, one of which asks to close, the rest being no HTTP: all before that are answered."""
    lobby, worker = make()
    client = Client(lobby)
    last = GOOD.replace(b"Host: a", b"Host: a\r\nConnection: close")
    client.connection.data_received(GOOD * 200 + last + b"\0" * 9999)
    found = await read_on(lobby, worker, client, 50)
    assert client.transport.is_closed
    return found


def test_what_comes_after_the_last_request_is_not_read() -> None:
    assert asyncio.run(ended()) == [200] * 201


CLOSED, OPENED = (wire.settings({Setting.INITIAL_WINDOW_SIZE: size}) for size in (0, 1 << 20))


async def many_streams(count: int) -> None:
    line = Line()
    protocol = line.transport.protocol
    protocol.data_received(CLOSED)
    for number in range(1, 2 * count, 2):
        begin = wire.frame(Kind.HEADERS, wire.END_HEADERS, number, head(f"{SERVICE}ModelStreamInfer"))
        protocol.data_received(begin + wire.frame(Kind.DATA, wire.END_STREAM, number, MESSAGE * 70))
    ahead = [len(stream._calls) for stream in protocol.streams.values()]
    assert all(1 <= one <= MAX_AHEAD for one in ahead)
    assert sum(ahead) == protocol.ahead <= MAX_TOGETHER + count
    frames = line.feed(OPENED, wire.window_update(0, 1 << 24))
    for _ in range(70 * count):
        if not protocol.ahead:
            break
        frames += line.feed(b"")
    answered = [number for kind, flags, number, _ in frames if kind == Kind.HEADERS and flags & wire.END_STREAM]
    assert sorted(answered) == list(range(1, 2 * count, 2)) and protocol.ahead == 0
    assert sum(len(payload) for kind, _, _, payload in frames if kind == Kind.DATA) % (70 * count) == 0


def test_the_streams_of_a_connection_have_only_so_many_messages_worked_on_between_them_and_all_are_answered() -> None:
    for count in (3, 200):
        asyncio.run(many_streams(count))


async def untaken() -> None:
    line = Line()
    line.feed(CLOSED, *call(1))
    (stream,) = line.transport.protocol.streams.values()
    assert stream.out_bytes and not stream._call.data and stream._call.reply is None


def test_an_answer_that_its_client_does_not_take_is_kept_once() -> None:
    asyncio.run(untaken())
