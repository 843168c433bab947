"""What passes between a client's connection and the desk: exchanges, and the limits a client is held to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.cors import Cors
from lepton.serve.frames import FAILED, HEADED, LAST, Entry, Item, Media, split_head, with_head
from lepton.serve.room import SMALL_BYTES, Room
from lepton.serve.routes import Route, Table
from lepton.serve.seats import Ticket

LENGTH = b"\r\ncontent-length: "
"""In the head of a streamed answer: its worker knows how long it will be, and says so of files only."""
HIGH_BYTES = 1 << 20
"""Of a streamed answer that its client has not read: its worker is asked to pause."""


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
    max_held_bytes: int = 256 << 20
    """Of all requests that the front keeps."""
    room_s: float = 2.0
    """That a client waits for a place among them before it is refused."""
    slow_bytes: int = 32 << 10
    """A second: a body that comes more slowly is refused while others wait for its place."""
    head_s: float = 10.0
    """For the whole request line and headers."""
    body_s: float = 60.0
    idle_s: float = 75.0
    """Between requests; also how long an answer may wait for a client that does not read."""
    stream_s: float = 60.0
    """Between two parts of an answer that streams."""
    linger_s: float = 2.0
    """Before a refused client's connection is closed for good, so that it can read why."""
    leave_s: float = 1.0
    """For what an idle client of a front that drains may have on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the head of a request was read as."""

    desk: "Desk"
    route: Route
    body_bytes: int
    media: int
    token: bytes
    """SHA-256 of the token that it bore; empty: none, or none that is judged."""
    request_id: bytes
    """Given by the client; empty: it gave none."""
    origin: bytes
    """Of the page that asks; empty: none does."""


class Client(Protocol):
    """The connection an exchange came from."""

    room: Room
    """Of its front."""

    def flush(self) -> None:
        """Write the answers that are due."""
        ...

    def write_now(self, exchange: "Exchange", answer: bytes) -> bool:
        """Write a whole answer at once if nothing is before it; False: it must wait its turn."""
        ...

    def write_part(self, exchange: "Exchange", part: bytes) -> bool:
        """Write a part of an answer at once if nothing is before it; False: it must wait its turn."""
        ...

    def leave(self) -> None:
        """For a drain: let the client know with the next answer that it is the last. One that asks nothing is left a
        moment, as a request of its may be on its way."""
        ...

    def say_goodbye(self) -> None:
        """For the end of a drain: close a WebSocket, which may be open for ever."""
        ...

    def abort(self) -> None:
        """Drop the connection now."""
        ...

    def check(self, now: float) -> None:
        """Let go of a client that is too slow or has long been silent."""
        ...


class Asked(NamedTuple):
    """A request whose route is to be found later."""

    method: bytes
    url: bytes
    head: bytes
    judge: Callable[[Route], tuple[int, Refusal | None]]
    """What kind of body it has, and why a route cannot take it."""
    preflight: Callable[[Cors | None], Refusal | None] = lambda _: None
    """The answer to a browser that asks whether a page may send a request; None: it does not."""


class Exchange(Ticket):
    """One request and the place of its answer."""

    media: int = Media.JSON
    flags = LAST
    keep_alive = True
    prefix = b""
    origin = b""
    """Of the page that asks, in a browser."""
    """What was left out in front of its path, at a front that many endpoints share."""
    is_head = False
    is_old = False
    """The client speaks HTTP/1.0."""
    is_tunnel = False
    """The client asks to upgrade the connection; after a 101 its bytes pass both ways unread."""
    ahead_bytes = 0
    """Of what the client has sent then, its worker has not read so much."""
    early: list[Item] | None = None
    """What it has sent before it was upgraded."""
    kept_bytes = 0
    """Its place among what the front keeps."""
    body = b""
    head: bytes | None = None
    """Of a request whose worker wants it: its line and headers, but for those that say who asks."""
    authorization: bytes | None = None
    """Header of a request that may have a head."""
    caller = b""
    """Whose request it is: the digest of a token, or an address."""
    asked: Asked | None = None
    """Of one that came before its route was known."""
    table: Table | None = None
    """Of one that came before what answers now: in which its route was found again."""
    objection: Refusal | None = None
    """Of one that came before its route was known: why it may not come in, unless that route is public."""
    worker = 0
    """Who has it; 0: nobody yet."""
    silent_s = 0.0
    """Seconds that may pass between two parts of it."""
    is_complete = False
    """Its answer is all in `out`."""
    is_chunked = False
    is_paused = False
    out_bytes = 0

    def __init__(self, desk: "Desk", connection: Client, route: Route | None, request_id: bytes) -> None:
        self.id = number = next(desk.numbers)
        self.size_bytes = 0
        self.deadline = 0.0
        self.desk = desk
        self.connection = connection
        self.route = route
        """None: it was refused before its path was known."""
        if route is not None:
            self.is_repeatable = route.is_repeatable
        self.request_id = request_id or b"%b%x" % (desk.prefix, number)
        """What its client calls it, or a name that was made for it."""
        self.out: list[bytes] = []
        """What is not yet written to the connection."""

    def bear(self, body: bytes, head: bytes | None) -> None:
        """Take the body for the worker, and the request's head if the worker wants it: then `lend` follows."""
        self.body, self.head = body, head
        self.size_bytes = len(body)
        self.keep(len(body) if len(body) > SMALL_BYTES else 0)

    def keep(self, size: int) -> None:
        """Have a place of this size among what the front keeps."""
        if size != self.kept_bytes:
            more, self.kept_bytes = size - self.kept_bytes, size
            self.connection.room.take(more)

    def let_go(self) -> None:
        """Nobody needs its body any more."""
        if self.kept_bytes:
            self.body = b""
            self.keep(0)

    def lend(self, head: bytes, more: bytes) -> None:
        """Put the head in front of the body, with further lines that say who asks."""
        self.head = None
        self.body = with_head(head + more, self.body)
        self.flags = LAST | HEADED
        self.size_bytes = len(self.body)

    def take(self, entry: Entry) -> None:
        """An answer of a worker, or a part of one."""
        is_last = bool(entry.flags & LAST)
        headers, body = split_head(entry.body) if entry.flags & HEADED else (b"", entry.body)
        media = b"" if entry.flags & HEADED and entry.media == Media.OTHER else answers.TYPES[entry.media]
        if entry.status and self.has_begun:
            self.part(b"", is_last=True, is_broken=True)  # a status comes too late
        elif entry.status and is_last and not self.is_tunnel:
            self.finish(entry.status, body, media, headers)
        else:
            if entry.status:
                self.begin(entry.status, media, headers)
            self.part(body, is_last=is_last, is_broken=bool(entry.flags & FAILED))

    def finish(self, status: int, body: bytes, media: bytes = answers.JSON_TYPE, headers: bytes = b"") -> None:
        """Give the whole answer; it is written when all before it on the connection are. A second call does nothing."""
        if self.is_done:
            return
        self.is_done = self.is_complete = True
        if self.kept_bytes:
            self.let_go()
        if not self.keep_alive:
            headers += b"connection: close\r\n"
        if self.origin:
            headers += self._cors()
        answer = answers.render(status, body, self.request_id, media=media, headers=headers)
        if self.is_head:
            answer = answers.headers_only(answer)
        if not (self.keep_alive and self.connection.write_now(self, answer)):
            self.out.append(answer)
            self.connection.flush()

    def begin(self, status: int, media: bytes, headers: bytes = b"") -> None:
        """Give the head of an answer that streams."""
        self.has_begun = True
        self.early = None
        if self.is_tunnel and status == 101:
            self.out.append(answers.render_upgrade(headers, self.request_id))
            return
        self.is_tunnel = False
        self.let_go()
        is_measured = LENGTH in b"\r\n" + headers
        self.is_chunked = not (self.is_old or self.is_head or is_measured)
        if self.is_old and not is_measured:
            self.keep_alive = False
        headers += b"transfer-encoding: chunked\r\n" if self.is_chunked else b""
        headers += b"" if self.keep_alive else b"connection: close\r\n"
        headers += self._cors() if self.origin else b""
        self.out.append(answers.render_head(status, self.request_id, media=media, headers=headers))

    def _cors(self) -> bytes:
        """What a browser must read of an answer to a page; a mounted application says it by itself."""
        cors, route = self.desk.cors, self.route
        return cors.lines(self.origin) if cors is not None and not (route is not None and route.is_prefix) else b""

    def go_on(self, body: bytes) -> None:
        """Give a further part, which is not the last."""
        if self.is_chunked and body:
            part = b"%x\r\n%b\r\n" % (len(body), body)
            if self.connection.write_part(self, part):
                return
        self.part(body, is_last=False)

    def part(self, body: bytes, *, is_last: bool, is_broken: bool = False) -> None:
        """Give a further part; the last one ends the answer, or if it broke off, the connection."""
        if body and not self.is_head:
            self.out.append(b"%x\r\n%b\r\n" % (len(body), body) if self.is_chunked else body)
            self.out_bytes += len(body)
        if is_last:
            self.is_done = self.is_complete = True
            self.let_go()
            if is_broken or self.is_tunnel:
                self.keep_alive = False
            elif self.is_chunked:
                self.out.append(b"0\r\n\r\n")
        self.connection.flush()

    def break_off(self) -> None:
        """End an answer that streams, and of which no more will come."""
        self.part(answers.GOING_AWAY if self.is_tunnel else b"", is_last=True, is_broken=True)


class Desk(Protocol):
    """Where complete requests for one endpoint go."""

    limits: Limits
    numbers: Iterator[int]
    """Each names an exchange."""
    prefix: bytes
    """Begins the names of requests whose clients gave none; their numbers follow."""
    cors: Cors | None
    """Which pages of other origins may read its answers."""

    @property
    def is_ready(self) -> bool:
        """A worker has the model loaded, and no drain has begun."""
        ...

    def find(self, method: bytes, url: bytes) -> Route | Refusal:
        """The route of a request line, or why there is none."""
        ...

    def veil(self, refusal: Refusal) -> Route | Refusal:
        """What to do with a request that nothing answers: where a token is needed, who has none learns only that."""
        ...

    def request_id(self) -> bytes:
        """A name for a request that has neither an exchange nor a name of its client's."""
        ...

    def judges(self, route: Route) -> bool:
        """Whether who asks for it must have a token: only a judged one says whose a request is."""
        ...

    def doubt(self, route: Route, authorization: bytes | None) -> Refusal | None:
        """Refuse at once what is known to be not allowed, before its body is read."""
        ...

    def judge(self, exchange: Exchange, authorization: bytes | None, then: Callable[[Refusal], None]) -> None:
        """Find out whether a request may come in whose body is still to come; call `then` if it may not."""
        ...

    def accept(self, exchange: Exchange, authorization: bytes | None) -> None:
        """Take a complete request; `finish` of the exchange is called in the end."""
        ...

    def recall(self, known: Known) -> tuple[bool, Refusal | None]:
        """Whether a fresh verdict about its token is known, and it."""
        ...

    def go(self, exchange: Exchange, verdict: Refusal | None) -> None:
        """Take a complete request whose token is judged."""
        ...

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Answer with a refusal, and count it."""
        ...

    def give_up(self, exchange: Exchange) -> None:
        """Its client is gone: whoever works on it may stop."""
        ...

    def flow(self, exchange: Exchange, *, is_paused: bool) -> None:
        """Let the worker that streams an answer pause, or go on."""
        ...

    def pass_on(self, exchange: Exchange, data: bytes, *, is_last: bool) -> None:
        """Bytes from the client of an upgraded connection."""
        ...


class Lobby(Protocol):
    """What all clients of a front share."""

    limits: Limits
    room: Room
    is_draining: bool
    heads: dict[bytes, Known]
    """SHA-256 of a head's bytes -> what it was read as; emptied whenever the routes change,
    and for good when a drain begins."""
    connections: set[Client]

    @property
    def own(self) -> Desk:
        """Answers what is for no other."""
        ...

    def admits(self, address: str) -> bool:
        """Whether a client at this address may connect."""
        ...

    def lead(self, url: bytes, host: bytes) -> tuple[Desk, bytes, bytes]:
        """Whose a request is, its URL there, and the part of the path that is left out."""
        ...
