"""Answers that take their time: a stream of pieces, and a connection that an operation has taken over."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import Event, Thread
from time import monotonic
from typing import Any

from lepton.serve.calls import Call
from lepton.serve.faults import reply_for
from lepton.serve.frames import FAILED, HEADED, LAST, Entry, Item, Media, with_head
from lepton.serve.program import Line, Reply, Written

EVENTS = b"content-type: text/event-stream"

Put = Callable[[Item], None]
AHEAD, AHEAD_BYTES = 256, 1 << 20
"""Pieces, and their bytes, that a plain generator may be ahead of what was sent; one piece it may always be."""
MOST_UNSENT_BYTES = 65_536
"""Of one stream in one turn of the loop: then they go out, and others have their turn."""
TURN_S = 0.001
"""That a stream which never waits may take in one turn of the loop."""
READ_BYTES = 8 << 10
"""Of what a client sends over its connection: the front is told once so much is read."""
MOST_MESSAGES = 64
"""That a connection sends in one turn of the loop."""


class Flow:
    """Something that the front may ask to pause.

    Args:
        room: set while the connection to the front takes more; None: it always does.
    """

    def __init__(self, room: asyncio.Event | None = None) -> None:
        self._is_paused = False
        self._room = room
        self._is_on = asyncio.Event()
        self._is_on.set()

    def turn(self, *, is_on: bool) -> None:
        """Pause or go on."""
        self._is_paused = not is_on
        if is_on:
            self._is_on.set()
        else:
            self._is_on.clear()

    async def _give_way(self) -> None:
        """Let the loop send, read and do for others what is due; go on once the front and its connection have room."""
        await asyncio.sleep(0)
        if self._room is not None and not self._room.is_set():
            await self._room.wait()
        if self._is_paused:
            await self._is_on.wait()


class Pump(Flow):
    """Sends one stream, piece by piece. Nothing goes out before the first piece: an early fault has a status."""

    def __init__(
        self,
        id: int,
        reply: Reply,
        put: Put,
        is_ready: "Callable[[Pump], None]",
        room: asyncio.Event | None = None,
    ) -> None:
        """Make one.

        Args:
            is_ready: told once there are pieces, which are to be collected at the end of this turn of the loop.
        """
        super().__init__(room)
        self._id = id
        self._reply = reply
        self._put = put
        self._tell = is_ready
        self._has_begun = False
        self._ready: list[bytes] = []
        """Pieces of this turn of the loop, which travel together."""
        self._ready_bytes = 0
        self._since = 0.0
        """When the first of them was ready, or the others had their turn last."""

    async def run(self) -> None:
        """Send it all."""
        values, write = _source(self._reply)
        try:
            async for value in values:
                piece = value if write is None else write(value)
                if not self._has_begun:
                    self._has_begun = True
                    self._put(self._headed(piece, 0))
                else:
                    self._add(piece)
                    if self._ready_bytes >= MOST_UNSENT_BYTES or monotonic() - self._since >= TURN_S:
                        await self._send_on()
                if self._is_paused:
                    await self._is_on.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            self._break_off(fault)
            return
        finally:
            close = getattr(values, "aclose", None)
            if close is not None:
                await close()
        if self._has_begun:
            self._put(self._joined(LAST))
        else:
            self._put(self._headed(b"", LAST))

    def _add(self, piece: bytes) -> None:
        if not self._ready:
            self._tell(self)
            self._ready_bytes, self._since = 0, monotonic()
        self._ready.append(piece)
        self._ready_bytes += len(piece)

    async def _send_on(self) -> None:
        """Its turn is over: a generator that never waits would keep the loop for ever, and all pieces in memory."""
        if self._ready_bytes >= MOST_UNSENT_BYTES:
            self._put(self._joined(0))
        await self._give_way()
        self._since = monotonic()

    def collect(self) -> Item | None:
        """What is there, as one part."""
        return self._joined(0) if self._ready else None

    def _joined(self, flags: int) -> Item:
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        body = ready[0] if len(ready) == 1 else b"".join(ready)
        return self._id, body, 0, 0, 0, 0, self._reply.media, flags

    def _headed(self, piece: bytes, flags: int) -> Entry:
        reply = self._reply
        body = with_head(reply.headers, piece) if reply.headers else piece
        flags |= HEADED if reply.headers else 0
        return Entry(self._id, body, rows=reply.rows, status=reply.status, media=reply.media, flags=flags)

    def _break_off(self, fault: BaseException) -> None:
        told = reply_for(fault, self._id)
        if (part := self.collect()) is not None:
            self._put(part)
        if not self._has_begun:
            body = with_head(told.headers, told.body) if told.headers else told.body
            self._put(Entry(self._id, body, status=told.status, flags=LAST | (HEADED if told.headers else 0)))
        elif self._reply.media == Media.SSE or EVENTS in self._reply.headers.lower():
            self._put(Entry(self._id, b"event: error\ndata: " + told.body + b"\n\n", flags=LAST))
        else:
            self._put(Entry(self._id, flags=LAST | FAILED))


def _source(reply: Reply) -> tuple[AsyncIterator[Any], Callable[[Any], bytes] | None]:
    """Where the values of a stream come from, and what makes bytes of them; None: they are such already."""
    stream = reply.stream
    if isinstance(stream, Written):
        return stream.values, stream.write
    return (stream if isinstance(stream, AsyncIterator) else Feeder(stream or iter(())).read()), None


class Feeder:
    """The pieces of a plain iterator, which runs in one thread of its own; the loop is woken once for many of them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._ready: deque[bytes | Exception | None] = deque()
        self._wake = asyncio.Event()
        self._room = Event()
        self._made_bytes = self._taken_bytes = 0
        """Each counted by one thread alone."""
        self._is_left = False
        Thread(target=self._turn, name="lepton-stream", daemon=True).start()

    async def read(self) -> AsyncIterator[bytes]:
        """What it yields; raises what it raises. Leaving early ends the thread at its next piece."""
        try:
            while True:
                self._wake.clear()
                while self._ready:
                    piece = self._ready.popleft()
                    self._taken_bytes += len(piece) if isinstance(piece, bytes) else 0
                    self._room.set()
                    if piece is None:
                        return
                    if isinstance(piece, Exception):
                        raise piece
                    yield piece
                await self._wake.wait()
        finally:
            self._is_left = True
            self._room.set()

    def _turn(self) -> None:
        try:
            for piece in self._pieces:
                self._push(piece)
                if self._is_left:
                    break
            self._push(None)
        except BaseException as fault:  # noqa: BLE001  raised again where the stream is read
            self._push(fault if isinstance(fault, Exception) else RuntimeError(f"{type(fault).__name__}: {fault}"))
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()

    def _push(self, piece: bytes | Exception | None) -> None:
        self._made_bytes += len(piece) if isinstance(piece, bytes) else 0
        self._ready.append(piece)
        if len(self._ready) == 1 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)
        while self._is_ahead():
            self._room.clear()
            if self._is_ahead():
                self._room.wait()

    def _is_ahead(self) -> bool:
        """Whether the thread has to wait for who reads."""
        is_far = len(self._ready) >= AHEAD or self._made_bytes - self._taken_bytes >= AHEAD_BYTES
        return is_far and not self._is_left


class Tunnel(Flow):
    """A connection that an operation speaks for: a `program.Line`.

    Args:
        was_read: told how much of what the client sends has been taken.
    """

    def __init__(self, id: int, put: Put, room: asyncio.Event | None, was_read: Callable[[int, int], None]) -> None:
        super().__init__(room)
        self._was_read = was_read
        self._read_bytes = 0
        self._id = id
        self._put = put
        self._sent = self._sent_bytes = 0
        """Messages and their bytes since others had their turn."""
        self._inbox: deque[bytes] = deque()
        self._has_input = asyncio.Event()
        self._is_ended = False
        self._has_begun = False

    def feed(self, data: bytes, *, is_last: bool) -> None:
        """Bytes from the client."""
        if data:
            self._inbox.append(data)
        self._is_ended |= is_last
        self._has_input.set()

    async def run(self, work: Callable[[Call, Line], Awaitable[None]], call: Call) -> None:
        """Let `work` speak until it returns."""
        try:
            await work(call, self)
        except asyncio.CancelledError:
            raise
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            told = reply_for(fault, self._id)
            if not self._has_begun:
                self._put(Entry(self._id, told.body, status=told.status))
            else:
                self._put(Entry(self._id, flags=LAST | FAILED))
            return
        self._put(Entry(self._id, flags=LAST))

    async def receive(self) -> bytes:
        """The next bytes from the client; empty once it has closed its side."""
        while not self._inbox and not self._is_ended:
            self._has_input.clear()
            await self._has_input.wait()
        if not self._inbox:
            return b""
        data = self._inbox.popleft()
        self._read_bytes += len(data)
        if self._read_bytes >= READ_BYTES:
            self._was_read(self._id, self._read_bytes)
            self._read_bytes = 0
        return data

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the client does not read."""
        self._put(Entry(self._id, data, flags=0))
        self._sent += 1
        self._sent_bytes += len(data)
        if self._sent >= MOST_MESSAGES or self._sent_bytes >= MOST_UNSENT_BYTES:
            self._sent = self._sent_bytes = 0
            await self._give_way()
        if self._is_paused:
            await self._is_on.wait()

    async def begin(self, status: int, headers: bytes) -> None:
        """Give the head of the answer."""
        self._has_begun = True
        self._put(Entry(self._id, with_head(headers, b""), status=status, media=Media.OTHER, flags=HEADED))
