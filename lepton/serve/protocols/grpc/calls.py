"""gRPC over the streams of an HTTP/2 connection: messages become exchanges of the desk, as requests over HTTP do.

No message is read here: its bytes go to a worker, and the worker's come back.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import HIGH_BYTES, Asked, Desk, Exchange
from lepton.serve.frames import Media
from lepton.serve.message import SWALLOW_BYTES
from lepton.serve.protocols.grpc.status import Answer, stream_part, trailer
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.hpack import write_int
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.inference.operations import FIRST_RPC, RPCS, SERVICE
from lepton.serve.routes import UNKNOWN, Route

OPERATIONS = range(FIRST_RPC, FIRST_RPC + len(RPCS))
INFER, STREAM = f"{SERVICE}ModelInfer".encode(), f"{SERVICE}ModelStreamInfer".encode()
HEAD = b"\x88" + write_int(31, 4) + write_int(16, 7) + b"application/grpc"
"""Of an answer: status 200 and the content type, by their places in the static table."""
NOT_GRPC = b"\x08\x03415"
PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length in four bytes."""
MAX_AHEAD = 64
"""Messages of one stream that may be worked on at a time."""
PACKED = Refusal(501, "unimplemented", "Compressed messages are not read here", "Send them plain.")
NOT_WHOLE = Refusal(400, "invalid", "The request holds not exactly one whole message", "Send one.")
CROWDED = Refusal(429, "busy", "Too many large messages arrive at a time", "Send fewer at once on a connection.")
YES, NO, NOT_SERVING = b"\x08\x01", b"", b"\x08\x02"
"""Messages whose field 1 is a boolean, or of the health service a state."""
FIXED: dict[bytes, Callable[[Desk], bytes]] = {
    f"{SERVICE}ServerLive".encode(): lambda desk: YES,
    f"{SERVICE}ServerReady".encode(): lambda desk: YES if desk.is_ready else NO,
    b"/grpc.health.v1.Health/Check": lambda desk: YES if desk.is_ready else NOT_SERVING,
}
"""Methods that the front answers by itself."""


def open_stream(connection: Http2, number: int, opened: Opened) -> Stream:
    """The stream of a request, by its method."""
    if opened.method != b"POST" or not opened.media.startswith(b"application/grpc"):
        return Foreign(connection, number, opened)
    named = b"/" + opened.endpoint + opened.path if opened.endpoint else opened.path
    desk, path, _ = connection.lobby.lead(named, opened.host)
    if path == STREAM:
        return Streamed(connection, number, opened, desk)
    return Unary(connection, number, opened, desk, path)


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


class Call(Exchange):
    """One message and its answer."""

    def __init__(self, stream: "Unary | Streamed", route: Route | None) -> None:
        super().__init__(stream.desk, stream.connection, route, stream.opened.request_id)
        self.stream = stream
        self.reply: Answer | None = None
        self.media = Media.OCTETS
        self.caller = stream.connection.caller
        self.arrived = monotonic()

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """Give the whole answer. A second call does nothing."""
        if not self.is_done:
            self.is_done = self.is_complete = True
            self.reply = Answer(status, body, headers)
            self.stream.answered(self)

    def give_up(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.is_done:
            self.is_done = True
            self.desk.give_up(self)


def find(desk: Desk, path: bytes, authorization: bytes | None) -> tuple[Route | None, Refusal | None]:
    """The route of a method, and why a request may not take it, as far as that is known at once."""
    route = desk.find(b"POST", path)
    if isinstance(route, Refusal):
        return None, answers.NO_RPC
    refusal = judge(route)[1]
    return route, refusal if refusal is not None else desk.doubt(route, authorization)


def judge(route: Route) -> tuple[int, Refusal | None]:
    """What a message is to a route, and why it cannot take it: what else answers at that path is no gRPC."""
    return Media.OCTETS, None if route is UNKNOWN or route.operation in OPERATIONS else answers.NO_RPC


def submit(call: Call, path: bytes, message: bytes) -> None:
    """Give a message to the desk."""
    call.bear(message, None)
    call.arrived = monotonic()
    if call.route is UNKNOWN:
        call.asked = Asked(b"POST", path, b"", judge)
    call.desk.accept(call, call.stream.opened.authorization)


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
        elif self._fixed is not None:
            self._call.finish(200, self._fixed(self.desk))
        else:
            message = bytes(body[PREFIX_BYTES:])
            self._forget()
            submit(self._call, self._path, message)

    def _weigh(self, body: bytes | bytearray, *, is_last: bool) -> Refusal | None:
        """Why the body cannot be taken, as far as it is there."""
        limit = self.desk.limits.max_body_bytes
        length = int.from_bytes(body[1:PREFIX_BYTES], "big") if len(body) >= PREFIX_BYTES else 0
        if length > limit or len(body) > limit + PREFIX_BYTES:
            return answers.too_large(limit)
        if body and body[0]:
            return PACKED
        if is_last and (len(body) < PREFIX_BYTES or len(body) != PREFIX_BYTES + length):
            return NOT_WHOLE
        return None if self.hold(len(self._body)) else CROWDED

    def _forget(self) -> None:
        """Let go of what came of the body."""
        self._body = bytearray()
        self.hold(0)

    def answered(self, call: Call) -> None:
        """The answer is there."""
        reply = call.reply
        assert reply is not None
        if reply.is_good:
            self.answer(HEAD, prefixed(reply.body), trailer(reply, call.request_id))
        else:
            self.end(HEAD + trailer(reply, call.request_id))

    def late(self, now: float) -> None:
        """Give up what the client no longer waits for, or does not send."""
        slow = not self.is_ended and now - self.since > self.connection.lobby.limits.body_s
        if (slow or now > self.deadline) and not self._call.is_done:
            self._forget()
            if self.is_ended:
                self.desk.give_up(self._call)
            self.desk.refuse(self._call, answers.SLOW if slow else answers.LATE)

    def close(self) -> None:
        """The client has dropped it, or is gone."""
        self._forget()
        self._call.give_up()


class Streamed(Stream):
    """Messages as they come, answers in the same order; what is wrong with one is told in its place.

    Args:
        desk: whose they are.
    """

    def __init__(self, connection: Http2, number: int, opened: Opened, desk: Desk) -> None:
        super().__init__(connection, number, opened)
        self.desk = desk

    def begin(self) -> None:
        """Look where its messages go."""
        self._route, self._refusal = find(self.desk, INFER, self.opened.authorization)
        self._calls: deque[Call] = deque()
        self._body = bytearray()
        self._is_reading = False
        self._is_over = False
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
        if not self._is_over and not self.hold(len(self._body)):
            self._finish(CROWDED)
        if self._is_over or not self._has_room():
            return
        if not self.is_ended:
            self.take_more()
        elif not self._calls:
            self._finish(NOT_WHOLE if self._body else None)

    def _bring(self) -> None:
        self._is_reading = True
        while self._has_room() and (message := self._next()) is not None:
            call = Call(self, self._route)
            self._calls.append(call)
            submit(call, INFER, message)
        self._is_reading = False

    def _has_room(self) -> bool:
        return not self._is_over and len(self._calls) < MAX_AHEAD and self.out_bytes < HIGH_BYTES

    def _next(self) -> bytes | None:
        """The next message, if it is whole."""
        body = self._body
        if len(body) < PREFIX_BYTES:
            return None
        length, limit = int.from_bytes(body[1:PREFIX_BYTES], "big"), self.desk.limits.max_body_bytes
        if body[0] or length > limit:
            self._finish(PACKED if body[0] else answers.too_large(limit))
            return None
        end = PREFIX_BYTES + length
        if len(body) < end:
            return None
        message = bytes(body[PREFIX_BYTES:end])
        del body[:end]
        self._moved = monotonic()
        return message

    def answered(self, call: Call) -> None:
        """An answer is there; it goes out once those before it have."""
        while self._calls and (reply := self._calls[0].reply) is not None and not self._is_over:
            first = self._calls.popleft()
            if reply.status in (401, 403, 501):
                self._close_with(reply, first.request_id)
                return
            self.send(HEAD, prefixed(stream_part(reply)))
        self._read()

    def drained(self) -> None:
        """All answers are sent: more messages may be worked on."""
        self._read()

    def _finish(self, refusal: Refusal | None) -> None:
        """End it, for a reason or because all is answered."""
        desk = self.desk
        answer = Answer(200, b"") if refusal is None else Answer(refusal.status, refusal.body(), refusal.headers)
        self._close_with(answer, self.opened.request_id or desk.request_id(desk.next_id()))

    def _close_with(self, answer: Answer, request_id: bytes) -> None:
        self.close()
        self.end((b"" if self._has_begun else HEAD) + trailer(answer, request_id))

    def late(self, now: float) -> None:
        """Give up what the client no longer waits for, or a message that does not come."""
        slow = bool(self._body) and self._has_room() and now - self._moved > self.connection.lobby.limits.body_s
        if (slow or now > self.deadline) and not self._is_over:
            self._finish(answers.SLOW if slow else answers.LATE)

    def close(self) -> None:
        """Work on nothing more."""
        self._is_over = True
        self._body.clear()
        self.hold(0)
        for call in self._calls:
            call.give_up()
        self._calls.clear()


def prefixed(message: bytes) -> bytes:
    """A message as a body has it."""
    return b"\x00%b%b" % (len(message).to_bytes(4, "big"), message)
