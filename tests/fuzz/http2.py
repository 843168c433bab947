"""Throw mutated HTTP/2 at a front and see that it stays whole: `python tests/fuzz/http2.py [SESSIONS] [SEED]`.

As `front.py` does with HTTP/1.1: the front's own classes take the bytes, cut at random places. After each session
nothing was raised, and what was written is a sequence of whole frames. After each thousand nothing is left behind, and
a good session is still answered.
"""

import asyncio
import gzip
import sys
from collections import Counter
from random import Random
from time import monotonic

from lepton.serve.allowance import Addresses
from lepton.serve.desk import Desk
from lepton.serve.exchange import Limits
from lepton.serve.heads import PREFACE
from lepton.serve.http import Connection
from lepton.serve.lobby import Lobby
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.hpack import write_field
from lepton.serve.protocols.http2.wire import Kind, Setting
from lepton.serve.protocols.inference.operations import FIRST_RPC, SERVICE
from lepton.serve.queue import Queue
from tests.fuzz.front import OPERATIONS, Transport, Worker, cut, resident_mb

INFER = {"id": FIRST_RPC, "path": f"{SERVICE}ModelInfer", "has_body": False, "is_repeatable": True}
MESSAGE = b"\x00\x00\x00\x00\x03abc"
PACKED = b"\x01\x00\x00\x00" + bytes([len(gzip.compress(MESSAGE))]) + gzip.compress(MESSAGE)
PACKS = {"grpc_encoding": "gzip", "grpc_accept_encoding": "gzip"}


def head(path: str, **more: str) -> bytes:
    """The header block of a call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "a",
        "content-type": "application/grpc",
    }
    return b"".join(write_field(n.replace("_", "-").encode(), v.encode()) for n, v in {**fields, **more}.items())


def call(number: int, path: str = f"{SERVICE}ModelInfer", data: bytes = MESSAGE) -> list[bytes]:
    """The frames of one call."""
    return [
        wire.frame(Kind.HEADERS, wire.END_HEADERS, number, head(path)),
        wire.frame(Kind.DATA, wire.END_STREAM, number, data),
    ]


SETTINGS = wire.settings({Setting.INITIAL_WINDOW_SIZE: 100_000})
GOOD = [SETTINGS, wire.window_update(0, 1 << 20), *call(1), *call(3)]
SESSIONS = (
    GOOD,
    [SETTINGS, *call(1, f"{SERVICE}ModelStreamInfer", MESSAGE * 5), wire.frame(Kind.PING, 0, 0, b"12345678")],
    [SETTINGS, *call(1, f"{SERVICE}ServerLive"), *call(3, "/none/None"), wire.reset(3, wire.Code.CANCEL)],
    [
        SETTINGS,
        wire.frame(Kind.HEADERS, 0, 1, head(f"{SERVICE}ModelInfer", grpc_timeout="3S")[:40]),
        wire.frame(Kind.CONTINUATION, wire.END_HEADERS, 1, head(f"{SERVICE}ModelInfer", grpc_timeout="3S")[40:]),
        wire.frame(Kind.DATA, wire.PADDED, 1, b"\x02" + MESSAGE[:4] + b"\0\0"),
        wire.frame(Kind.DATA, wire.END_STREAM, 1, MESSAGE[4:]),
    ],
    [
        SETTINGS,
        wire.frame(Kind.HEADERS, wire.END_HEADERS | wire.PRIORITY, 1, b"\0\0\0\0\1" + head(f"{SERVICE}ModelReady")),
        wire.frame(Kind.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, head("/")),
        wire.goaway(0, wire.Code.NO_ERROR),
    ],
    [
        SETTINGS,
        wire.frame(Kind.HEADERS, wire.END_HEADERS, 1, head(f"{SERVICE}ModelInfer", **PACKS)),
        wire.frame(Kind.DATA, wire.END_STREAM, 1, PACKED),
        wire.frame(Kind.HEADERS, wire.END_HEADERS, 3, head(f"{SERVICE}ModelStreamInfer", **PACKS)),
        wire.frame(Kind.DATA, wire.END_STREAM, 3, PACKED + MESSAGE + PACKED),
    ],
    [SETTINGS, *call(1, "/grpc.health.v1.Health/Watch", b"\0\0\0\0\0"), *call(3, "/grpc.health.v1.Health/Check")],
)


def mutate(random: Random, frames: list[bytes]) -> bytes:
    """A session a little or much unlike one that is right."""
    frames = list(frames)
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        place = random.randrange(len(frames))
        match random.randrange(5):
            case 0:
                frames.insert(place, random.choice(random.choice(SESSIONS)))
            case 1 if len(frames) > 1:
                del frames[place]
            case 2:
                size = random.choice((0, 0, 1, 4, 5, 6, 8, 300))
                kind, flags, stream = (
                    random.randrange(12),
                    random.randrange(256),
                    random.choice((0, 1, 2, 3, 5, 1 << 31)),
                )
                body = random.randbytes(size)
                frames.insert(place, wire.HEAD.pack(size >> 8, size & 255, kind, flags, stream) + body)
            case 3:
                frames[place] = wire.frame(Kind.HEADERS, 5, 2 * random.randrange(6) + 1, random.randbytes(30))
            case _:
                frames += random.choice(SESSIONS)[1:]
    data = bytearray(b"".join(frames))
    for _ in range(random.choice((0, 0, 1, 1, 3))):
        data[random.randrange(len(data))] = random.randrange(256)
    return PREFACE + bytes(data)


def read_frames(written: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of all frames, each of which must be whole.

    Raises:
        AssertionError: the bytes are no sequence of frames.
    """
    found, at = [], 0
    while at < len(written):
        high, low, kind, flags, stream = wire.HEAD.unpack_from(written, at)
        end = at + wire.HEAD_BYTES + (high << 8 | low)
        assert end <= len(written), "a frame is cut short"
        found.append((kind, flags, stream, written[at + wire.HEAD_BYTES : end]))
        at = end
    return found


def make_front(**limits: float) -> tuple[Lobby, Worker]:
    """A front with one worker, without sockets."""
    OPERATIONS.append(INFER) if INFER not in OPERATIONS else None
    queue = Queue(max_batch=32, max_waiting=4096, max_waiting_bytes=1 << 28)
    told = Limits(**{"linger_s": 0, **limits})  # type: ignore[arg-type]
    desk = Desk(queue, limits=told, deadline_s=60, name="fuzz", gate=None, prefix="f")
    return Lobby(desk, Addresses(())), Worker(desk)


def turn(lobby: Lobby, worker: Worker, transport: Transport) -> None:
    """What happens at the end of a turn of the loop."""
    lobby.own._pump()
    worker.work()
    if transport.protocol is not None:
        transport.protocol._flush()


async def throw(lobby: Lobby, worker: Worker, pieces: list[bytes]) -> list[tuple[int, int, int, bytes]]:
    """One connection's life: the frames it was sent."""
    connection, transport = Connection(lobby), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        (transport.protocol or connection).data_received(piece)
        turn(lobby, worker, transport)
        while getattr(transport.protocol, "_is_resting", False):
            await asyncio.sleep(0)
            turn(lobby, worker, transport)
        if transport.is_closed:
            break
    (transport.protocol or connection).connection_lost(None)
    turn(lobby, worker, transport)
    return read_frames(bytes(transport.written))


async def storm(sessions: int, seed: int) -> Counter[str]:
    """Throw so many; return how often which kind of frame was answered."""
    random, seen = Random(seed), Counter[str]()
    lobby, worker = make_front()
    for number in range(sessions):
        data = mutate(random, random.choice(SESSIONS))
        frames = await throw(lobby, worker, list(cut(random, data)))
        seen.update(Kind(kind).name for kind, _, _, _ in frames)
        if number % 1000 == 0:
            good = await throw(lobby, worker, [PREFACE + b"".join(GOOD)])
            assert [stream for kind, _, stream, _ in good if kind == Kind.DATA] == [1, 3]
            assert not lobby.connections and not lobby.own.open and not lobby.own.queue.held
            lobby.sweep(monotonic())
            await asyncio.sleep(0)
    return seen


def main() -> None:
    """Run, and say what came of it."""
    sessions, seed = (int(text) for text in (*sys.argv[1:], *("200000", "1")[len(sys.argv) - 1 :]))
    begun, before = monotonic(), resident_mb()
    seen = asyncio.run(storm(sessions, seed))
    print(f"{sessions:,} sessions in {monotonic() - begun:.0f} s, seed {seed}: the front lives")  # noqa: T201
    print("frames:", dict(sorted(seen.items())))  # noqa: T201
    print(f"resident: {before:.0f} MB before, {resident_mb():.0f} MB after")  # noqa: T201


if __name__ == "__main__":
    main()
