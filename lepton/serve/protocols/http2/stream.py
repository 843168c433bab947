"""One request of an HTTP/2 connection: what the client has opened, and its answer, as fast as the client takes it."""

import re
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.message import request_id_of
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.hpack import Field
from lepton.serve.protocols.http2.wire import Code, Kind, WireError
from lepton.serve.room import SMALL_BYTES

if TYPE_CHECKING:
    from lepton.serve.protocols.http2.connection import Http2

WINDOW = 1 << 20
"""Bytes that a client may be ahead of us on a stream."""
MAX_PARTIAL = 64 << 20
"""Bytes of requests that are not whole yet, on one connection; one request may always arrive."""
TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Opened(NamedTuple):
    """What a request's head says, as far as it means something here."""

    method: bytes
    path: bytes
    host: bytes
    endpoint: bytes
    """Whose request it is, at a front that many share; empty: by its host or path."""
    media: bytes
    authorization: bytes | None
    request_id: bytes
    """Given by the client; empty: it gave none."""
    timeout_s: float
    """`inf`: it waits for ever."""
    coding: bytes
    """How those of its messages are compressed that say that they are."""
    codings: bytes
    """How those of the answer may be, as the client lists them."""

    @classmethod
    def read(cls, fields: list[Field]) -> Self:
        """From the fields of a header block; of one that comes twice the last."""
        found = dict(fields)
        timeout = TIMEOUT.fullmatch(found.get(b"grpc-timeout", b""))
        return cls(
            method=found.get(b":method", b""),
            path=found.get(b":path", b""),
            host=found.get(b":authority", b""),
            endpoint=found.get(b"lepton-endpoint", b""),
            media=found.get(b"content-type", b""),
            authorization=found.get(b"authorization"),
            request_id=request_id_of(found),
            timeout_s=int(timeout[1]) * UNITS[timeout[2]] if timeout else float("inf"),
            coding=found.get(b"grpc-encoding", b""),
            codings=found.get(b"grpc-accept-encoding", b""),
        )


class Stream:
    """One stream. Subclasses say what it is for: `begin`, `receive`, `drained`, `late` and `close`."""

    def __init__(self, connection: "Http2", number: int, opened: Opened) -> None:
        self.connection = connection
        self.number = number
        self.opened = opened
        self.room = WINDOW
        """Bytes that the client may still send."""
        self.window = connection.stream_window
        """Bytes that the client takes."""
        self.is_ended = False
        """The client has sent all."""
        self.since = monotonic()
        """When it began, or when its answer was last waited for."""
        self.deadline = self.since + opened.timeout_s
        self.out_bytes = 0
        self._held_bytes = 0
        self._out: deque[bytes] = deque()
        self._at = 0
        """Of the first piece of `_out`: how much is sent."""
        self._trailer: bytes | None = None
        self._has_begun = False

    # what the connection tells

    def begin(self) -> None:
        """It is opened."""
        raise NotImplementedError

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """A part of the body."""
        raise NotImplementedError

    def drained(self) -> None:
        """All that was to be sent is."""

    def late(self, now: float) -> None:
        """Called a few times a second; `deadline` is looked at here."""

    def close(self) -> None:
        """The client has dropped it, or is gone."""

    def grow(self, more: int) -> None:
        """The client takes so much more; less, if that is negative."""
        self.window += more
        if self.window > wire.MAX_WINDOW:
            raise WireError(Code.FLOW_CONTROL_ERROR, "A stream's window is too large")
        self.push()

    def check(self, now: float) -> None:
        """By the clock: an answer that the client does not take is dropped."""
        if self._out and now - self.since > self.connection.lobby.limits.idle_s:
            self.connection.put(wire.reset(self.number, Code.CANCEL))
            self.connection.streams.pop(self.number, None)
            self.close()
        else:
            self.late(now)

    # what subclasses do

    def hold(self, size_bytes: int) -> Refusal | None:
        """Tell how much is kept of a request that is not whole; returned is why that is too much."""
        connection, room, more = self.connection, self.connection.room, size_bytes - self._held_bytes
        if size_bytes > SMALL_BYTES and more > 0 and not room.has(more):
            return answers.NO_ROOM
        connection.partial_bytes += more
        self._held_bytes = size_bytes
        if more:
            room.take(more)
        is_alone = connection.partial_bytes == size_bytes
        return None if is_alone or connection.partial_bytes <= MAX_PARTIAL else answers.MANY_LARGE

    def take_more(self) -> None:
        """Let the client send on."""
        if self.room < WINDOW // 2 and not self.is_ended:
            self.connection.put(wire.window_update(self.number, WINDOW - self.room))
            self.room = WINDOW

    def send(self, head: bytes, data: bytes) -> None:
        """Send data, and before the first the block `head`."""
        if not self._has_begun:
            self._has_begun = True
            self.connection.put(wire.frame(Kind.HEADERS, wire.END_HEADERS, self.number, head))
        if not self._out:
            self.since = monotonic()
        self._out.append(data)
        self.out_bytes += len(data)
        self.push()

    def answer(self, head: bytes, data: bytes, trailer: bytes) -> None:
        """Send a whole answer; nothing was sent before."""
        connection, size = self.connection, len(data)
        if size > self.window or size > connection.window or size > connection.max_frame:
            self.send(head, data)
            self.end(trailer)
            return
        connection.window -= size
        first = wire.frame(Kind.HEADERS, wire.END_HEADERS, self.number, head)
        last = wire.frame(Kind.HEADERS, wire.END_HEADERS | wire.END_STREAM, self.number, trailer)
        connection.put(first + wire.frame(Kind.DATA, 0, self.number, data) + last)
        connection.done(self)

    def end(self, trailer: bytes) -> None:
        """End the answer with a header block, once all before it is sent."""
        self._trailer = trailer
        self.push()

    def push(self) -> None:
        """Send what is due and the client takes."""
        connection, out = self.connection, self._out
        had_some = bool(out)
        while out:
            piece = out[0]
            size = min(len(piece) - self._at, self.window, connection.window, connection.max_frame)
            if size <= 0:
                return
            part = piece[self._at : self._at + size]
            connection.put(wire.frame(Kind.DATA, 0, self.number, part))
            self.window -= size
            connection.window -= size
            self.out_bytes -= size
            self._at += size
            self.since = monotonic()
            if self._at == len(piece):
                out.popleft()
                self._at = 0
        if self._trailer is not None:
            flags = wire.END_HEADERS | wire.END_STREAM
            connection.put(wire.frame(Kind.HEADERS, flags, self.number, self._trailer))
            self._trailer = None
            connection.done(self)
        elif had_some:
            self.drained()
