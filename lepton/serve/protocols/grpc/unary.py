"""Calls of gRPC with one message and one answer, and requests over HTTP/2 that are not gRPC."""

from collections.abc import Callable

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Desk
from lepton.serve.message import SWALLOW_BYTES
from lepton.serve.protocols.grpc import health
from lepton.serve.protocols.grpc.call import (
    AT_ONCE,
    NOT_WHOLE,
    PREFIX_BYTES,
    Call,
    find,
    head_of,
    refusal_of,
    submit,
    unpack,
    unpack_for,
)
from lepton.serve.protocols.grpc.status import Answer, trailer
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.inference.operations import SERVICE

NOT_GRPC = b"\x08\x03415"
YES, NO = b"\x08\x01", b""
"""Messages whose field 1 is a boolean."""
FIXED: dict[bytes, Callable[[Desk, bytes], bytes | Refusal]] = {
    f"{SERVICE}ServerLive".encode(): lambda desk, message: YES,
    f"{SERVICE}ServerReady".encode(): lambda desk, message: YES if desk.is_ready else NO,
    health.CHECK: health.check,
}
"""Methods that the front answers by itself."""


class Foreign(Stream):
    """A request that is not gRPC."""

    def begin(self) -> None:
        """Read and drop its body, if it is not too long."""
        self._size = 0

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """Say that it is none."""
        self.is_ended = is_last
        self._size += len(data)
        if is_last or self._size > SWALLOW_BYTES:
            self.end(NOT_GRPC)

    def late(self, now: float) -> None:
        """Wait for its body no longer."""
        if now - self.since > self.connection.lobby.limits.body_s:
            self.end(NOT_GRPC)


class Unary(Stream):
    """One message for one.

    Args:
        desk: whose it is.
        path: of the method there.
    """

    def __init__(self, connection: Http2, number: int, opened: Opened, desk: Desk, path: bytes) -> None:
        super().__init__(connection, number, opened)
        self.desk = desk
        self._path = path
        self._fixed = FIXED.get(path)

    def begin(self) -> None:
        """Look where it goes."""
        route, self._refusal = (None, None) if self._fixed else find(self.desk, self._path, self.opened.authorization)
        self._call = Call(self, route)
        self._body = bytearray()
        self._size = 0
        """Bytes of the body so far."""
        if self._refusal is not None and self._refusal.status in answers.NO_ACCESS:
            self.desk.refuse(self._call, self._refusal)

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """A part of the message."""
        self.is_ended = is_last
        self._size += len(data)
        body: bytes | bytearray = data
        if self._refusal is None:
            if not is_last or self._body:
                self._body += data
                body = self._body
            self._refusal = self._weigh(body, is_last=is_last)
        if self._refusal is not None:
            self._forget()
            if is_last or self._size > SWALLOW_BYTES:
                self.desk.refuse(self._call, self._refusal)
        elif not is_last:
            self.take_more()
        elif body[0] and self._fixed is not None:
            unpack(bytes(body[PREFIX_BYTES:]), self.opened.coding, AT_ONCE, self._take)
        elif body[0]:
            unpack_for(self._call, bytes(body[PREFIX_BYTES:]), self._take)
        else:
            self._take(bytes(body[PREFIX_BYTES:]))

    def _weigh(self, body: bytes | bytearray, *, is_last: bool) -> Refusal | None:
        """Why the body cannot be taken, as far as it is there."""
        limit = self.desk.limits.max_body_bytes
        length = int.from_bytes(body[1:PREFIX_BYTES], "big") if len(body) >= PREFIX_BYTES else 0
        if length > limit or len(body) > limit + PREFIX_BYTES:
            return answers.too_large(limit)
        if body and (refusal := refusal_of(body[0], self.opened)):
            return refusal
        if is_last and (len(body) < PREFIX_BYTES or len(body) != PREFIX_BYTES + length):
            return NOT_WHOLE
        return self.hold(len(self._body))

    def _take(self, message: bytes | Refusal) -> None:
        """The message is whole and unpacked."""
        self._forget()
        if self._fixed is not None and not isinstance(message, Refusal):
            message = self._fixed(self.desk, message)
            if not isinstance(message, Refusal):
                self._call.finish(200, message)
                return
        if isinstance(message, Refusal):
            if not self._call.is_done:
                self.desk.refuse(self._call, message)
        else:
            submit(self._call, self._path, message)

    def _forget(self) -> None:
        """Let go of what came of the body."""
        self._body = bytearray()
        self.hold(0)

    def shape(self, reply: Answer) -> bytes:
        """The answer's own bytes; an error has none."""
        return reply.body if reply.is_good else b""

    def answered(self, call: Call) -> None:
        """The answer is there; the client may have gone while it was packed."""
        reply, head = call.reply, head_of(self.opened)
        assert reply is not None
        if self.number not in self.connection.streams:
            return
        if reply.is_good:
            self.answer(head, call.data, trailer(reply, call.request_id))
        else:
            self.end(head + trailer(reply, call.request_id))
        call.reply, call.data = None, b""  # it is kept once, however long the client does not take it

    def late(self, now: float) -> None:
        """Give up what the client no longer waits for, or does not send."""
        if not self.is_ended:
            self.desk.judge(self._call, self.opened.authorization, self._turn_away)
        slow = not self.is_ended and now - self.since > self.connection.lobby.limits.body_s
        if (slow or now > self.deadline) and not self._call.is_done:
            self._forget()
            if self.is_ended:
                self.desk.give_up(self._call)
            self.desk.refuse(self._call, answers.SLOW if slow else answers.LATE)

    def _turn_away(self, refusal: Refusal) -> None:
        """Whose call this is may not come in."""
        if not self._call.is_done:
            self.desk.refuse(self._call, refusal)

    def close(self) -> None:
        """The client has dropped it, or is gone."""
        self._forget()
        self._call.give_up()
