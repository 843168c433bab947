"""The standard health service of gRPC (`grpc.health.v1.Health`), answered by the front: it knows who is ready."""

from collections.abc import Callable

from lepton.serve.answers import LATE, SLOW, Refusal
from lepton.serve.exchange import Desk
from lepton.serve.protocols.grpc.call import NOT_WHOLE, PREFIX_BYTES, head_of, prefixed
from lepton.serve.protocols.grpc.status import Answer, trailer
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.inference.operations import SERVICE

HEALTH = b"/grpc.health.v1.Health/"
CHECK, WATCH = HEALTH + b"Check", HEALTH + b"Watch"
KNOWN = (b"", SERVICE.strip("/").encode())
"""Services whose state may be asked: the server as a whole, and the one it has."""
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
"""Messages whose field 1 is a state."""
MAX_NAME = 127
"""Bytes of a service's name: longer ones are not known."""
NO_SERVICE = Refusal(404, "not_found", "There is no such service", f"Ask for {KNOWN[1].decode()}, or for none.")
LEAVING = Refusal(503, "unavailable", "The server ends", "Watch again.")


def check(desk: Desk, message: bytes) -> bytes | Refusal:
    """The state that a request asks for."""
    return NO_SERVICE if name_of(message) not in KNOWN else state_of(desk)


def state_of(desk: Desk) -> bytes:
    """The state of an endpoint."""
    return SERVING if desk.is_ready else NOT_SERVING


def name_of(message: bytes) -> bytes | None:
    """The service that a request asks for, its field 1; None: one that cannot be known here."""
    if not message:
        return b""
    if len(message) < 2 or message[0] != 0x0A or message[1] > MAX_NAME or len(message) != 2 + message[1]:
        return None
    return message[2:]


class Watch(Stream):
    """The state now, and again whenever it has changed, until the client has enough or the front ends.

    Args:
        find: whose state it is; at a front that many share an endpoint may be replaced meanwhile.
    """

    def __init__(self, connection: Http2, number: int, opened: Opened, find: Callable[[], Desk]) -> None:
        super().__init__(connection, number, opened)
        self._find = find

    def begin(self) -> None:
        """Wait for the request."""
        self._body = b""
        self._told = b""
        """The state that was sent last."""
        self._is_known = False

    def receive(self, data: bytes, *, is_last: bool) -> None:
        """A part of the request; with the last the answer begins."""
        self.is_ended = is_last
        self._body += data
        message = self._body[PREFIX_BYTES:]
        if len(message) > 2 + MAX_NAME:
            self._finish(NOT_WHOLE)
        elif is_last:
            if self._body[:PREFIX_BYTES] != prefixed(message)[:PREFIX_BYTES]:
                self._finish(NOT_WHOLE)
                return
            self._is_known = name_of(message) in KNOWN
            self._tell()

    def _tell(self) -> None:
        state = state_of(self._find()) if self._is_known else SERVICE_UNKNOWN
        if state != self._told and not self.out_bytes:
            self._told = state
            self.send(head_of(self.opened), prefixed(state))

    def late(self, now: float) -> None:
        """Tell what has changed; end what is over."""
        slow = not self.is_ended and now - self.since > self.connection.lobby.limits.body_s
        if self.is_ended:
            self._tell()
        if slow or now > self.deadline:
            self._finish(SLOW if slow else LATE)
        elif self.connection.is_leaving:
            self._finish(LEAVING)

    def _finish(self, refusal: Refusal) -> None:
        answer = Answer(refusal.status, refusal.body())
        desk = self._find()
        request_id = self.opened.request_id or desk.request_id()
        self.end((b"" if self._has_begun else head_of(self.opened)) + trailer(answer, request_id))
