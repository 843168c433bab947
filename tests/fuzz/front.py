"""Throw mutated HTTP at a front and see that it stays whole: `python tests/fuzz/front.py [MESSAGES] [SEED]`.

The front's own classes take the bytes without a socket between, cut at random places. After each message: nothing was
raised, and what was written is a sequence of whole HTTP answers. After each thousand: nothing is left behind of the
connections, and a good request is still answered.
"""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from lepton.serve.allowance import Addresses
from lepton.serve.desk import Desk
from lepton.serve.exchange import Limits
from lepton.serve.frames import Decoder, Entry, Frame, Kind, encode
from lepton.serve.http import Connection
from lepton.serve.links import WorkerLink
from lepton.serve.lobby import Lobby
from lepton.serve.queue import Queue

BODY = b'{"inputs": [[0, 1], [2, 3]]}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SEEDS = (
    GOOD,
    GOOD + GOOD,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
    HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /app/x?y=z HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 2\r\n\r\n{}",
    HEAD + b"Upgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"PUT /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS /predict HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    HEAD + b"Origin: http://a\r\nContent-Length: 2\r\n\r\n{}",
)
PIECES = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"\t", b" ", b":", b",", b"\xff", b"\x80", b"%00", b"../"),
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"content-length : 3\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(b"Host: b\r\n", b" folded\r\n", b"Expect: 200-maybe\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n"),
    *(
        b"FFFFFFFFFFFFFFFF\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/0.9",
        b"HTTP/9.9",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *(b"\x16\x03\x01\x02\x00", b"X: " + b"a" * 9000 + b"\r\n", b"x:y\r\n" * 120, b"/" * 3000),
)
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n]*\r\n)*)\r\n")
OPERATIONS = [
    {"id": 1, "path": "/predict", "is_repeatable": True, "media": ["JSON", "OCTETS", "NPY"]},
    {
        "id": 2,
        "path": "/app",
        "methods": ["GET", "POST", "PUT"],
        "is_prefix": True,
        "is_headed": True,
        "has_body": False,
    },
    {"id": 3, "path": "/stream"},
]


class Transport:
    """Keeps what is written; a connection that closes is closed for good."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closed = False
        self.protocol: Any = None
        """Another than the one that it began with."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def close(self) -> None:
        self.is_closed = True

    abort = close


class Worker:
    """Answers every request at once, streams in three parts; its transport is the front's link."""

    def __init__(self, desk: Desk, number: int = 1) -> None:
        self.link = WorkerLink(desk, number)
        self._decoder = Decoder()
        self._inbox: list[bytes] = []
        self.link.connection_made(self)  # type: ignore[arg-type]
        about = (
            b'{"operations": %b, "room": 64, "cors": {"origins": ["http://a"]}}'
            % str(OPERATIONS).replace("'", '"').replace("True", "true").replace("False", "false").encode()
        )
        self.link.data_received(encode(Frame(Kind.HELLO, [Entry(0, about)])))

    def write(self, data: bytes) -> None:
        self._inbox.append(data)

    def abort(self) -> None:
        raise AssertionError("the front dropped its worker")

    def work(self) -> None:
        """Answer what has come."""
        while self._inbox:
            inbox, self._inbox = self._inbox, []
            for frame in (frame for data in inbox for frame in self._decoder.feed(data)):
                if frame.kind == Kind.BATCH:
                    entries = [part for entry in frame.entries for part in self._answer(entry)]
                    self.link.data_received(encode(Frame(Kind.ANSWERS, entries, 1)))

    def _answer(self, entry: Entry) -> Iterator[Entry]:
        if entry.operation != 3:
            yield Entry(entry.id, b"{}", status=200)
            return
        yield Entry(entry.id, b"one", status=200, flags=0)
        yield Entry(entry.id, b"two", flags=0)
        yield Entry(entry.id, b"")


def mutate(random: Random, message: bytes) -> bytes:
    """A message a little or much unlike one that is right."""
    data = bytearray(message)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        place = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0:
                data[place:place] = random.choice(PIECES)
            case 1:
                del data[place : place + random.choice((1, 1, 2, 10, 60))]
            case 2 if data:
                data[random.randrange(len(data))] = random.randrange(256)
            case 3:
                end = place + random.randrange(40)
                data[place:place] = data[place:end]
            case 4:
                data[place : place + 1] = random.choice(PIECES)
            case _:
                data = data[:place] if random.random() < 0.2 else data + random.choice(SEEDS)
    return bytes(data[:60_000])


def cut(random: Random, data: bytes) -> Iterator[bytes]:
    """The bytes in one piece, or in several."""
    if random.random() < 0.5 or len(data) < 2:
        yield data
        return
    places = sorted(random.sample(range(1, len(data)), min(len(data) - 1, random.choice((1, 2, 5)))))
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end]


def read_answers(written: bytes) -> list[int]:
    """The statuses of all answers, each of which must be whole.

    Raises:
        AssertionError: the bytes are no sequence of answers.
    """
    statuses, at = [], 0
    while at < len(written):
        found = ANSWER.match(written, at)
        assert found is not None, written[at : at + 200]
        status, headers, at = int(found[1]), found[2].lower(), found.end()
        statuses.append(status)
        if status in (100, 101):
            continue
        if b"transfer-encoding: chunked" in headers:
            end = written.index(b"0\r\n\r\n", at)
            at = end + 5
        elif length := re.search(rb"content-length: (\d+)", headers):
            at += int(length[1])
            assert at <= len(written) or at - int(length[1]) == len(written), "an answer is cut short"
        elif status not in (204, 304):
            at = len(written)  # ended by closing
    return statuses


async def storm(messages: int, seed: int) -> Counter[int]:
    """Throw so many; return the statuses of the answers."""
    random, seen = Random(seed), Counter[int]()
    queue = Queue(max_batch=32, max_waiting=4096, max_waiting_bytes=1 << 28)
    desk = Desk(queue, limits=Limits(linger_s=0), deadline_s=60, name="fuzz", gate=None, prefix="f")
    lobby = Lobby(desk, Addresses(()))
    worker = Worker(desk)
    for number in range(messages):
        message = mutate(random, random.choice(SEEDS))
        seen.update(throw(lobby, worker, list(cut(random, message))))
        if number % 1000 == 0:
            assert throw(lobby, worker, [GOOD]) == [200]
            assert not lobby.connections and not desk.open and not queue.waiting and not queue.held
            lobby.sweep(monotonic())
            await asyncio.sleep(0)
    return seen


def throw(lobby: Lobby, worker: Worker, pieces: list[bytes]) -> list[int]:
    """One connection's life: its statuses."""
    connection, transport = Connection(lobby), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        (transport.protocol or connection).data_received(piece)
        lobby.own._pump()
        worker.work()
        if transport.is_closed:
            break
    is_read = transport.protocol is None and not any(b"HEAD" in piece for piece in pieces)
    statuses = read_answers(bytes(transport.written)) if is_read else []
    (transport.protocol or connection).connection_lost(None)
    lobby.own._pump()
    worker.work()
    return statuses


def main() -> None:
    """Run, and say what came of it."""
    messages, seed = (int(text) for text in (*sys.argv[1:], *("1000000", "1")[len(sys.argv) - 1 :]))
    begun, before = monotonic(), resident_mb()
    seen = asyncio.run(storm(messages, seed))
    spent = monotonic() - begun
    print(f"{messages:,} messages in {spent:.0f} s, seed {seed}: the front lives")  # noqa: T201
    print("answers:", dict(sorted(seen.items())))  # noqa: T201
    print(f"resident: {before:.0f} MB before, {resident_mb():.0f} MB after")  # noqa: T201


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    main()
