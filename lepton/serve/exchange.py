"""What passes between a client's connection and the desk: exchanges, and the limits a client is held to."""

from dataclasses import dataclass
from typing import Protocol

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.frames import Media
from lepton.serve.queue import Ticket
from lepton.serve.routes import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may cost."""

    max_body_bytes: int = 8 << 20
    max_head_bytes: int = 16 << 10
    max_url_bytes: int = 8 << 10
    max_headers: int = 100
    max_pipelined: int = 64
    """Exchanges open on one connection before it is read no further."""
    max_connections: int = 4096
    head_s: float = 10.0
    """For the whole request line and headers."""
    body_s: float = 60.0
    idle_s: float = 75.0
    """Between requests; also how long an answer may wait for a client that does not read."""
    linger_s: float = 2.0
    """Before a refused client's connection is closed for good, so that it can read why."""


class Client(Protocol):
    """The connection an exchange came from."""

    def flush(self) -> None:
        """Write the answers that are due."""
        ...

    def close_if_idle(self) -> None:
        """For a drain: hang up if no request is open, else with the answer of the last one."""
        ...

    def abort(self) -> None:
        """Drop the connection now."""
        ...

    def check(self, now: float) -> None:
        """Let go of a client that is too slow or has long been silent."""
        ...


class Exchange(Ticket):
    """One request and the place of its answer."""

    __slots__ = ("answer", "arrived", "body", "connection", "is_head", "keep_alive", "media", "request_id", "route")

    def __init__(self, id: int, connection: Client, route: Route | None, request_id: bytes) -> None:
        self.id = id
        self.size_bytes = 0
        self.deadline = 0.0
        self.tries = 0
        self.is_done = False
        self.connection = connection
        self.route = route
        """None: it was refused before its path was known."""
        self.request_id = request_id
        self.media = Media.JSON
        self.keep_alive = True
        self.is_head = False
        self.body = b""
        self.arrived = 0.0
        self.answer: bytes | None = None

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """Give the answer; it is written when all before it on the connection are. A second call does nothing."""
        if self.is_done:
            return
        self.is_done = True
        if not self.keep_alive:
            headers += b"connection: close\r\n"
        answer = answers.render(status, body, self.request_id, media=media, headers=headers)
        self.answer = answers.headers_only(answer) if self.is_head else answer
        self.connection.flush()


class Desk(Protocol):
    """Where complete requests go."""

    limits: Limits
    is_draining: bool
    connections: set[Client]

    def next_id(self) -> int:
        """A number for a new exchange."""
        ...

    def request_id(self, number: int) -> bytes:
        """A name for a request whose client gave none."""
        ...

    def doubt(self, route: Route, authorization: bytes | None) -> Refusal | None:
        """Refuse at once what is known to be not allowed, before its body is read."""
        ...

    def accept(self, exchange: Exchange, authorization: bytes | None) -> None:
        """Take a complete request; `finish` of the exchange is called in the end."""
        ...

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Answer with a refusal, and count it."""
        ...
