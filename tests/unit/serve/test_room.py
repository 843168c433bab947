"""What a front keeps of requests is bounded, however many send at a time; who finds no place waits, or is refused."""

import asyncio
from time import monotonic

import pytest

from lepton.serve.frames import Entry, Frame, Kind
from lepton.serve.http import Connection
from lepton.serve.lobby import Lobby
from lepton.serve.outlet import AHEAD_BYTES
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.inference.operations import SERVICE
from lepton.serve.room import MAX_WAITING, SMALL_BYTES, Room
from tests.fuzz.front import Transport, Worker, read_answers
from tests.fuzz.http2 import SETTINGS, head, make_front
from tests.unit.serve.test_http2 import Line, data_frames, trailers

MIB = 1 << 20
BODY = b" " * MIB
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
MEASURED = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY)
UPGRADE = b"GET /app/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Paused(Transport):
    """A transport that can be paused."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Client:
    """One client of a front that keeps 4 MiB."""

    def __init__(self, lobby: Lobby) -> None:
        self.transport = Paused()
        self.connection = Connection(lobby)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), 200_000):
            if self.transport.is_paused or self.transport.is_closed:
                return
            self.connection.data_received(data[at : at + 200_000])

    @property
    def told(self) -> list[int]:
        return read_answers(bytes(self.transport.written))


def make(**limits: float) -> tuple[Lobby, Worker]:
    return make_front(max_held_bytes=4 * MIB, **limits)


async def turn(lobby: Lobby, worker: Worker) -> None:
    for _ in range(8):
        await asyncio.sleep(0)
        lobby.own._pump()  # type: ignore[attr-defined]
        worker.work()


async def crowd() -> None:
    lobby, worker = make()
    clients = [Client(lobby) for _ in range(MAX_WAITING + 10)]
    for client in clients:
        client.send(MEASURED + BODY[:-1])
    assert lobby.room.held_bytes == 4 * MIB
    reads = sum(len(client.connection._later) for client in clients)
    assert reads <= MAX_WAITING * 200_000, "nothing more is read of those that wait"
    refused = [client for client in clients if client.told]
    assert len(refused) == 6 and {status for client in refused for status in client.told} == {503}
    assert all(b"retry-after: 1\r\nconnection: close" in client.transport.written for client in refused)
    for client in clients[:4]:
        client.send(b" ")
    await turn(lobby, worker)
    assert [client.told for client in clients[:5]] == [[200]] * 4 + [[]]
    assert lobby.room.held_bytes == 4 * MIB, "the next four have their places"
    for client in clients[4:8]:
        assert not client.transport.is_paused
        client.connection.data_received(BODY[client.connection._message.body_bytes :])
    clients[8].connection.connection_lost(None)
    await turn(lobby, worker)
    assert [client.told for client in clients[4:8]] == [[200]] * 4
    for client in clients:
        client.connection.check(monotonic() + 3)
    assert [client.told for client in clients[13:68]] == [[503]] * 55, "they have waited long enough"
    for client in clients:
        client.connection.connection_lost(None)
    await turn(lobby, worker)
    assert lobby.room.held_bytes == 0 and not lobby.room.is_wanted


def test_bodies_that_arrive_are_bounded_and_the_rest_waits_or_is_refused() -> None:
    asyncio.run(crowd())


async def chunked() -> None:
    lobby, worker = make()
    clients = [Client(lobby) for _ in range(10)]
    for client in clients:
        client.send(CHUNKED + BODY)
    assert lobby.room.held_bytes <= 4 * MIB
    assert sum(client.told == [503] for client in clients) >= 6
    for client in clients:
        client.send(b"\r\n0\r\n\r\n")
    await turn(lobby, worker)
    assert sum(client.told == [200] for client in clients) >= 3
    assert lobby.room.held_bytes == 0


def test_a_body_of_unknown_length_is_refused_once_there_is_no_room_for_more_of_it() -> None:
    asyncio.run(chunked())


async def slow() -> None:
    lobby, _ = make()
    slow, waiting = Client(lobby), Client(lobby)
    long = b" " * (4 * MIB)
    slow.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(long) + long[:SMALL_BYTES])
    slow.connection.check(monotonic() + 3)
    assert slow.told == [], "nobody wants its place"
    waiting.send(MEASURED)
    slow.connection.check(monotonic() + 1)
    assert slow.told == []
    slow.connection.check(monotonic() + 3)
    await asyncio.sleep(0)
    assert slow.told == [408] and not lobby.room.is_wanted
    assert lobby.room.held_bytes == MIB, "the other has its place"


def test_a_slow_body_gives_way_to_those_that_wait() -> None:
    asyncio.run(slow())


async def idle() -> int:
    lobby, worker = make()
    client = Client(lobby)
    client.send(MEASURED + BODY)
    await turn(lobby, worker)
    assert client.told == [200]
    return sum(map(len, client.connection._message.body)) + lobby.room.held_bytes


def test_nothing_is_kept_of_a_request_that_is_answered() -> None:
    assert asyncio.run(idle()) == 0


async def waits_with_expect() -> None:
    lobby, worker = make()
    first, second = Client(lobby), Client(lobby)
    first.send(HEAD + b"Content-Length: %d\r\n\r\n" % (4 * MIB))
    second.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    assert second.told == []
    first.connection.connection_lost(None)
    assert second.told == [100], "it is asked for its body once there is room"
    await asyncio.sleep(0)
    second.send(BODY)
    await turn(lobby, worker)
    assert second.told == [100, 200]


def test_who_asks_first_is_told_to_send_once_there_is_room() -> None:
    asyncio.run(waits_with_expect())


def test_a_single_request_may_be_larger_than_all_that_is_kept_otherwise() -> None:
    room = Room(10)
    assert room.has(20)
    room.take(20)
    assert room.is_full and not room.has(1)


@pytest.mark.parametrize("path", [f"{SERVICE}ModelInfer", f"{SERVICE}ModelStreamInfer"])
def test_messages_of_grpc_are_bounded_over_all_connections(path: str) -> None:
    async def course() -> None:
        line = Line(max_held_bytes=MIB)
        part = b"\0\0\x7f\0\0" + b"x" * 400_000
        statuses = {}
        for number in (1, 3, 5, 7):
            opened = wire.frame(wire.Kind.HEADERS, wire.END_HEADERS, number, head(path))
            statuses |= trailers(line.feed(SETTINGS, opened, data_frames(number, part)))
        assert {fields[b"grpc-status"] for fields in statuses.values()} == {b"14"} and len(statuses) == 2
        assert line.lobby.room.held_bytes <= MIB
        line.transport.protocol.connection_lost(None)
        assert line.lobby.room.held_bytes == 0

    asyncio.run(course())


async def ahead() -> None:
    lobby, worker = make()
    client = Client(lobby)
    glued = b"\x81\x82\0\0\0\0hi"
    client.send(UPGRADE + glued)
    desk = lobby.own
    desk._pump()  # type: ignore[attr-defined]
    frames = [frame for data in worker._inbox for frame in worker._decoder.feed(data)]
    tunnel = client.connection._tunnel
    assert tunnel is not None
    assert [(frame.kind, frame.items[0][1]) for frame in frames][1] == (Kind.INPUT, glued), "it came with the request"
    tunnel.take(Entry(tunnel.id, b"", status=101, flags=0))
    client.send(b"x" * 10 * MIB)
    assert client.transport.is_paused, "its worker has read nothing"
    sent = tunnel.ahead_bytes
    assert AHEAD_BYTES < sent <= AHEAD_BYTES + 200_000 and lobby.room.held_bytes == sent
    desk.heard(Frame(Kind.FLOW, [Entry(tunnel.id, rows=sent)]).items)  # type: ignore[attr-defined]
    assert not client.transport.is_paused and lobby.room.held_bytes == 0
    client.send(b"x" * 100_000)
    client.connection.connection_lost(None)
    assert lobby.room.held_bytes == 0


def test_the_client_of_a_websocket_is_read_from_no_faster_than_its_worker_reads() -> None:
    asyncio.run(ahead())
