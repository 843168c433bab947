"""Calls of gRPC whose messages come in a stream, each answered in its place."""

from collections import deque
from time import monotonic

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import HIGH_BYTES, Desk
from lepton.serve.protocols.grpc.call import (
    NOT_WHOLE,
    PREFIX_BYTES,
    Call,
    find,
    head_of,
    judge,
    refusal_of,
    submit,
    unpack_for,
)
from lepton.serve.protocols.grpc.status import Answer, stream_part, trailer
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.inference.operations import SERVICE

INFER = f"{SERVICE}ModelInfer".encode()
MAX_AHEAD = 64
"""Messages of one stream that may be worked on at a time."""
MAX_TOGETHER = 256
"""And of all streams of a connection; beyond that one of each."""


class Streamed(Stream):
    """Messages as they come, answers in the same order; what is wrong with one is told in its place.

    Args:
        desk: whose they are.
        path: of the method that answers each.
    """

    def __init__(self, connection: Http2, number: int, opened: Opened, desk: Desk, path: bytes) -> None:
        super().__init__(connection, number, opened)
        self.desk = desk
        self._path = path

    def begin(self) -> None:
        """Look where its messages go."""
        self._route, self._refusal = find(self.desk, self._path, self.opened.authorization)
        self._calls: deque[Call] = deque()
        self._body = bytearray()
        self._packed_bytes = 0
        """Of a message that is being unpacked."""
        self._is_reading = False
        self._is_over = False
        self._has_come = False
        """A message has; the token was looked at with it."""
        self._moved = monotonic()
        """When the last message was whole."""

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """A part of the messages."""
        self.is_ended = is_last
        if self._is_over:
            return
        if not self._body:
            self._moved = monotonic()
        self._body += data
        if self._refusal is not None:
            self._finish(self._refusal)
        else:
            self._read()

    def _read(self) -> None:
        """Bring messages to the desk, not too many ahead of their answers."""
        if self._is_reading or self._is_over:
            return
        self._bring()
        if not self._is_over and (refusal := self.hold(len(self._body) + self._packed_bytes)) is not None:
            self._finish(refusal)
        if self._is_over or not self._has_room():
            return
        if not self.is_ended:
            self.take_more()
        elif not self._calls:
            self._finish(NOT_WHOLE if self._body else None)

    def _bring(self) -> None:
        self._is_reading = True
        while self._has_room() and (found := self._next()) is not None:
            is_packed, message = found
            self._has_come = True
            route = self.desk.find(b"POST", self._path)  # another program may answer than when the stream began
            if isinstance(route, Refusal) or judge(route)[1] is not None:
                self._finish(answers.NO_RPC)
                break
            call = Call(self, route)
            self._calls.append(call)
            self.connection.ahead += 1
            if is_packed:
                self._unpack(call, message)
            else:
                submit(call, self._path, message)
        self._is_reading = False

    def _has_room(self) -> bool:
        if self._is_over or self._packed_bytes or self.out_bytes >= HIGH_BYTES:
            return False
        return not self._calls or (len(self._calls) < MAX_AHEAD and self.connection.ahead < MAX_TOGETHER)

    def _next(self) -> tuple[bool, bytes] | None:
        """The next message, if it is whole, and whether it is packed."""
        body = self._body
        if len(body) < PREFIX_BYTES:
            return None
        length, limit = int.from_bytes(body[1:PREFIX_BYTES], "big"), self.desk.limits.max_body_bytes
        refusal = answers.too_large(limit) if length > limit else refusal_of(body[0], self.opened)
        if refusal is not None:
            self._finish(refusal)
            return None
        end = PREFIX_BYTES + length
        if len(body) < end:
            return None
        is_packed, message = bool(body[0]), bytes(body[PREFIX_BYTES:end])
        del body[:end]
        self._moved = monotonic()
        return is_packed, message

    def _unpack(self, call: Call, packed: bytes) -> None:
        """Read nothing more until the message is unpacked: one at a time is large enough."""

        def take(message: bytes | Refusal) -> None:
            self._packed_bytes = 0
            if isinstance(message, Refusal):
                if not self._is_over:
                    self._finish(message)
                return
            submit(call, self._path, message)
            self._read()

        self._packed_bytes = max(1, len(packed))
        unpack_for(call, packed, take)

    def shape(self, reply: Answer) -> bytes:
        """An answer in the stream's own message, which an error has a place in."""
        return stream_part(reply)

    def ends_with(self, reply: Answer) -> bool:
        """Whether nothing can follow this answer."""
        return reply.status in (401, 403, 501)

    def answered(self, call: Call) -> None:
        """An answer is there; it goes out once those before it have."""
        while self._calls and (reply := self._calls[0].reply) is not None and not self._is_over:
            first = self._calls.popleft()
            self.connection.ahead -= 1
            if self.ends_with(reply):
                self._close_with(reply, first.request_id)
                return
            self.send(head_of(self.opened), first.data)
        self._read()

    def drained(self) -> None:
        """All answers are sent: more messages may be worked on."""
        self._read()

    def _finish(self, refusal: Refusal | None) -> None:
        """End it, for a reason or because all is answered."""
        desk = self.desk
        answer = Answer(200, b"") if refusal is None else Answer(refusal.status, refusal.body(), refusal.headers)
        self._close_with(answer, self.opened.request_id or desk.request_id())

    def _close_with(self, answer: Answer, request_id: bytes) -> None:
        self.close()
        self.end((b"" if self._has_begun else head_of(self.opened)) + trailer(answer, request_id))

    def late(self, now: float) -> None:
        """Give up what the client no longer waits for, or a message that does not come."""
        if self._refusal is not None and not self._is_over:
            self._finish(self._refusal)  # not before: clients take a stream that ends as it begins for a broken one
        elif not self._has_come and not self._is_over:
            self.desk.judge(Call(self, self._route), self.opened.authorization, self._turn_away)
        slow = bool(self._body) and self._has_room() and now - self._moved > self.connection.lobby.limits.body_s
        if (slow or now > self.deadline) and not self._is_over:
            self._finish(answers.SLOW if slow else answers.LATE)

    def _turn_away(self, refusal: Refusal) -> None:
        """Whose stream this is may not come in."""
        if not self._has_come and not self._is_over:
            self._finish(refusal)

    def close(self) -> None:
        """Work on nothing more."""
        self._is_over = True
        self._body.clear()
        self.hold(0)
        for call in self._calls:
            call.give_up()
        self.connection.ahead -= len(self._calls)
        self._calls.clear()


class Reflected(Streamed):
    """A stream whose messages are answered as calls are: the first fault ends it."""

    def shape(self, reply: Answer) -> bytes:
        """The answer's own bytes."""
        return reply.body

    def ends_with(self, reply: Answer) -> bool:
        """A fault has no place in its messages."""
        return not reply.is_good
