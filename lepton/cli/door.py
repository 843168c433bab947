"""What the server reads of a connection before anybody has said who they are: little, and not for long."""

import asyncio
import json
from itertools import chain
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lepton.core.errors import InvalidError, LeptonError, TooLargeError

HEAD_BYTES = 64 << 10
"""Of a request line and its headers together, and of what may follow a body."""
HEADERS = 200
HEAD_S = 15.0
"""How long a connection may take for the head of a request once it has begun, and a new one for its first."""
LINGER_S = 1.0
"""How long what a refused connection still sends is thrown away, so that it gets to read the answer."""
REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class HeadTooLargeError(TooLargeError):
    """The request line and headers are over the limit."""

    status = 431


class HeadTooLateError(LeptonError):
    """The request line and headers did not arrive in time."""

    code, status = "timeout", 408


class DoorProtocol(HttpToolsProtocol):
    """HTTP with bounds on a request's head; what breaks them, or is not HTTP, gets an error of the usual form."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins: its first head is awaited."""
        super().connection_made(transport)
        self._fault: LeptonError | None = None
        self._is_refused = False
        self._is_head_due = True
        self._unread = 0  # bytes fed to the parser since it last finished a head, a piece of a body or a message
        self._is_behind = False  # the head began amid bytes that came together: `_unread` says too little of it
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._await_head(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._is_refused:
            return
        self._unread += len(data)
        super().data_received(data)
        if not self._unread and self._deadline is None:
            return  # nearly always: the parser has used up all of it
        if self._is_refused or self.transport.is_closing():
            return
        if self._unread > HEAD_BYTES:
            self._refuse(_too_large())
            return
        self._await_head(self._is_head_due and self._unread > 0)

    def on_message_begin(self) -> None:
        """The first byte of a request was read."""
        super().on_message_begin()
        if not self._unread:
            self._unread, self._is_behind = 1, True

    def on_headers_complete(self) -> None:
        """A head was read; whoever called the parser passes what is raised here to `send_400_response`."""
        if self._unread > HEAD_BYTES or self._is_behind or len(self.headers) > HEADERS:
            size = len(self.url) + sum(map(len, chain.from_iterable(self.headers)))
            if size > HEAD_BYTES or len(self.headers) > HEADERS:
                self._fault = _too_large()
                raise self._fault
        self._unread, self._is_head_due, self._is_behind = 0, False, False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body was read."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request was read to its end."""
        self._unread, self._is_head_due = 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read, and hang up."""
        self._refuse(self._fault or InvalidError(msg, fix="Send HTTP/1.1."), status=None if self._fault else 400)

    def _await_head(self, is_awaited: bool) -> None:
        if is_awaited and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._give_up)
        elif not is_awaited and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_answering():  # an earlier request on this connection; this one waits behind it
            self._await_head(True)
        elif self._unread:
            said = f"The request line and headers did not arrive within {HEAD_S:g} s"
            self._refuse(HeadTooLateError(said, fix="Send the head of a request at once."))
        else:
            self.transport.close()

    def _refuse(self, fault: LeptonError, *, status: int | None = None) -> None:
        """Answer, unless another answer is under way, and hang up once the other side can have read it."""
        self._is_refused = True
        self._await_head(False)
        cycle = self.cycle
        if self._is_answering():
            if cycle.response_started or getattr(self, "pipeline", None):
                self.transport.close()
                return
            cycle.disconnected = True  # its answer would come after this one
            cycle.message_event.set()
        self.transport.write(_answer(fault, status or fault.status))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def _answer(fault: LeptonError, status: int) -> bytes:
    body = json.dumps(fault.to_json()).encode()
    head: list[Any] = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _too_large() -> HeadTooLargeError:
    return HeadTooLargeError(
        f"The request line and headers are over {HEAD_BYTES >> 10} KiB or {HEADERS} headers",
        fix="Send less in headers and in the path; large things go in the body.",
    )
