"""What waits for the first worker, and how much of it."""

import asyncio
from time import monotonic

import pytest

from lepton.serve import answers
from lepton.serve.access import Gate
from lepton.serve.allowance import Addresses
from lepton.serve.desk import Desk
from lepton.serve.exchange import Exchange, Limits
from lepton.serve.held import MAX_OBJECTED, MAX_OBJECTED_BYTES, Held
from lepton.serve.http import Connection
from lepton.serve.lobby import Lobby
from lepton.serve.queue import Queue
from lepton.serve.routes import UNKNOWN
from tests.fuzz.front import GOOD, Transport, Worker, read_answers
from tests.fuzz.http2 import make_front


def asked(desk: Desk, size_bytes: int, *, is_good: bool) -> Exchange:
    exchange = Exchange(desk, Transport(), UNKNOWN, b"")  # type: ignore[arg-type]
    exchange.size_bytes = size_bytes
    exchange.objection = None if is_good else answers.NO_TOKEN
    return exchange


async def fill() -> None:
    desk, held, large = make_front()[0].own, Held(), Held()
    assert all(held.add(asked(desk, 1, is_good=False)) for _ in range(MAX_OBJECTED))
    assert not held.add(asked(desk, 1, is_good=False))
    assert held.add(asked(desk, MAX_OBJECTED_BYTES, is_good=True))
    assert large.add(asked(desk, MAX_OBJECTED_BYTES, is_good=False)) and not large.add(asked(desk, 1, is_good=False))
    assert large.add(asked(desk, 1, is_good=True))


def test_those_without_a_good_token_take_little_room_and_none_of_the_others() -> None:
    asyncio.run(fill())


class Thinking:
    """A server that says what it thinks of a token when it is told to."""

    def __init__(self, status: int) -> None:
        self.may_answer, self.status = asyncio.Event(), status

    async def get(self, path: str, token: bytes) -> tuple[int, bytes]:
        await self.may_answer.wait()
        return self.status, b'{"name": "ann"}'


async def meet(status: int, path: bytes) -> list[int]:
    """What is answered to one who came before the first worker, and whose token is judged after that."""
    server = Thinking(status)
    gate = Gate(server, "ep_1", monotonic)  # type: ignore[arg-type]
    queue = Queue(max_batch=32, max_waiting=4096, max_waiting_bytes=1 << 28)
    desk = Desk(queue, limits=Limits(), deadline_s=60, name="own", gate=gate, prefix="f")
    connection, transport = Connection(Lobby(desk, Addresses(()))), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    asks = GOOD.replace(b"/predict", path).replace(b"Host: a\r\n", b"Host: a\r\nAuthorization: Bearer t\r\n")
    connection.data_received(asks)
    worker = Worker(desk)
    server.may_answer.set()
    for _ in range(10):
        await asyncio.sleep(0)
    desk._pump()
    worker.work()
    return read_answers(bytes(transport.written))


@pytest.mark.parametrize(
    ("status", "path", "answer"), [(200, b"/predict", 200), (401, b"/predict", 401), (200, b"/nothing", 404)]
)
def test_a_worker_that_comes_while_a_token_is_judged_is_not_waited_for_again(
    status: int, path: bytes, answer: int
) -> None:
    assert asyncio.run(meet(status, path)) == [answer]


async def lengths() -> list[int]:
    """What /queue-length says while one request comes before the first worker, then to it, and is answered."""
    queue = Queue(max_batch=32, max_waiting=4096, max_waiting_bytes=1 << 28)
    desk = Desk(queue, limits=Limits(), deadline_s=60, name="own", gate=None, prefix="f")
    lobby, found = Lobby(desk, Addresses(())), list[int]()

    def send(data: bytes) -> bytearray:
        connection, transport = Connection(lobby), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(data)
        return transport.written

    def look() -> None:
        found.append(int(send(b"GET /queue-length HTTP/1.1\r\nHost: a\r\n\r\n").rpartition(b"\r\n")[2]))

    look()
    send(GOOD)
    look()  # it is held until a worker tells what can be asked
    worker = Worker(desk)
    look()  # it has come out, and is not in the queue yet
    desk._pump()
    look()
    worker.work()
    look()
    send(GOOD)
    send(GOOD)
    look()  # both have come in this turn of the loop
    desk._pump()
    worker.work()
    look()
    return found


def test_a_request_is_counted_from_its_coming_to_its_answer() -> None:
    assert asyncio.run(lengths()) == [0, 1, 1, 1, 0, 2, 0]
