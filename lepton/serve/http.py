"""One client's connection: HTTP/1.1 from bytes to exchanges, and answers back in the order they were asked.

The parser (llhttp) is strict, so a message with two readings - both lengths, a folded header, a bare line feed - is
refused and the connection closed. A body is collected and never looked into.
"""

import asyncio
from collections import deque
from time import monotonic

import httptools

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import HIGH_BYTES, Desk, Exchange
from lepton.serve.frames import HEADED, LAST, Media, with_head
from lepton.serve.routes import Route, find_media

WANTED = frozenset(
    (
        b"host",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"expect",
        b"authorization",
        b"x-request-id",
    )
)
RARE = WANTED - {b"host", b"content-type", b"content-length", b"authorization", b"x-request-id"}
IDENTITY = b"identity"
SWALLOW_BYTES = 64 << 10
"""A refused request's body up to this size is read and dropped, so that the connection can be kept."""


class Connection(asyncio.Protocol):
    """One TCP connection from a client."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._limits = desk.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._open: deque[Exchange] = deque()
        self._current: Exchange | None = None
        """The exchange whose body is arriving."""
        self._refusal: Refusal | None = None
        """Of the current exchange, to be given once its body is swallowed."""
        self._phase = "idle"
        self._since = monotonic()
        self._is_deaf = False
        self._is_paused = False
        self._is_blocked = False
        self._wants_continue = False
        self._tunnel: Exchange | None = None
        """The exchange that has taken over the connection."""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._fields: dict[bytes, bytes] = {}
        self._lines: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._header_count = 0
        self._has_twice = False
        self._is_plain = True
        """No rare header so far."""
        self._is_fresh = True
        """The message began in the bytes that are being read."""
        self._body: list[bytes] = []
        self._body_bytes = 0

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        self._desk.connections.add(self)
        if len(self._desk.connections) > self._limits.max_connections:
            self._refuse_and_close(answers.CROWDED)

    def connection_lost(self, fault: Exception | None) -> None:
        """The client is gone: nobody waits for its answers any more."""
        self._transport = None
        self._desk.connections.discard(self)
        for exchange in self._open:
            if not exchange.is_done:
                exchange.is_done = True
                self._desk.give_up(exchange)
        self._open.clear()

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests; or of whatever an upgraded connection speaks."""
        if self._is_deaf:
            if self._tunnel is not None:
                self._desk.pass_on(self._tunnel, data, is_last=False)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_deaf = True
            rest = data[upgrade.args[0] :]
            if rest and self._tunnel is not None:
                self._desk.pass_on(self._tunnel, rest, is_last=False)
        except httptools.HttpParserError as fault:
            if isinstance(fault, httptools.HttpParserCallbackError):
                raise
            self._refuse_and_close(answers.NOT_HTTP)
        if self._phase == "head":
            self._weigh_partial(data)

    def pause_writing(self) -> None:
        """The client does not read its answers: read nothing more from it."""
        self._is_blocked = True
        self._since = monotonic()
        self._balance()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_blocked = False
        self.flush()
        self._balance()

    def eof_received(self) -> bool:
        """The client sends nothing more; it may still read."""
        if self._tunnel is not None:
            self._desk.pass_on(self._tunnel, b"", is_last=True)
            return True
        return False

    # what the parser tells

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if not self._is_deaf:
            self._begin()
            self._phase = "head"
            self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; also a trailer, which is ignored."""
        self._head_bytes += len(name) + len(value)
        self._header_count += 1
        if self._phase == "head":
            self._lines.append((name, value))
        name = name.lower()
        if name in WANTED and self._phase == "head":
            if name in RARE or name in self._fields:
                self._is_plain = False
                self._has_twice |= name in self._fields
            self._fields[name] = value

    def on_headers_complete(self) -> None:
        """All headers are there; decide what needs no body."""
        if self._is_deaf:
            return
        self._phase = "body"
        desk, parser = self._desk, self._parser
        method = parser.get_method()
        route = desk.find(method, self._url)
        number = desk.next_id()
        name = self._fields.get(b"x-request-id")
        if not name or len(name) > 128 or not name.isascii():
            name = desk.request_id(number)
        exchange = Exchange(number, self, None if isinstance(route, Refusal) else route, name)
        if not parser.should_keep_alive() or desk.is_draining or parser.should_upgrade():
            exchange.keep_alive = False
        exchange.is_head = method == b"HEAD"
        exchange.is_old = parser.get_http_version() == "1.0"
        if parser.should_upgrade() and isinstance(route, Route) and route.is_headed and not self._has_body():
            exchange.is_tunnel = True
            self._tunnel = exchange
        self._current = exchange
        self._open.append(exchange)
        refusal = self._judge_head(parser.get_http_version())
        self._refusal = refusal or (route if isinstance(route, Refusal) else self._judge_request(exchange, route))
        if self._refusal is not None:
            if self._has_long_body():
                self._refuse_and_close(self._refusal)
        elif not self._is_plain and b"expect" in self._fields:
            self._wants_continue = True
            self._continue_if_due()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(data)
        if self._is_deaf:
            return
        if self._body_bytes > (SWALLOW_BYTES if self._refusal else self._limits.max_body_bytes):
            self._refuse_and_close(self._refusal or answers.too_large(self._limits.max_body_bytes))
        elif self._refusal is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._is_deaf or self._current is None:
            return
        exchange, self._current = self._current, None
        self._phase, self._since = "idle", monotonic()
        self._wants_continue = False
        exchange.arrived = self._since
        if not exchange.keep_alive:
            self._is_deaf = True
        if self._refusal is not None:
            self._desk.refuse(exchange, self._refusal)
        else:
            body = self._body
            exchange.body = body[0] if len(body) == 1 else b"".join(body)
            if exchange.media == Media.FORM or (exchange.route is not None and exchange.route.is_headed):
                exchange.body = with_head(self._head(), exchange.body)
                exchange.flags = LAST | HEADED
            exchange.size_bytes = len(exchange.body)
            self._desk.accept(exchange, self._fields.get(b"authorization"))
        if len(self._open) >= self._limits.max_pipelined:
            self._balance()

    # judgement

    def _judge_head(self, version: str) -> Refusal | None:
        """Whether the message itself is in order."""
        fields, limits = self._fields, self._limits
        if len(self._url) > limits.max_url_bytes:
            return answers.LONG_URL
        if self._head_bytes > limits.max_head_bytes or self._header_count > limits.max_headers:
            return answers.BIG_HEADERS
        if version not in ("1.1", "1.0"):
            return answers.OLD_HTTP
        if b"host" not in fields and version == "1.1":
            return answers.NO_HOST
        return None if self._is_plain and not self._parser.should_upgrade() else self._judge_rare()

    def _judge_rare(self) -> Refusal | None:
        """Whether headers that few messages have are in order."""
        fields = self._fields
        if self._has_twice:
            return answers.TWICE
        if fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            return answers.CODING
        if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
            return answers.BAD_EXPECT
        if self._parser.should_upgrade() and self._has_body():
            return answers.NO_UPGRADE
        return None

    def _judge_request(self, exchange: Exchange, route: Route) -> Refusal | None:
        """Whether this request may go on to its route."""
        fields = self._fields
        doubt = self._desk.doubt(route, fields.get(b"authorization"))
        if doubt is not None or not route.operation:
            return doubt
        length = fields.get(b"content-length")
        if length is None and route.has_body and b"transfer-encoding" not in fields:
            return answers.NO_LENGTH
        if length is not None and int(length) > self._limits.max_body_bytes:
            return answers.too_large(self._limits.max_body_bytes)
        exchange.media = find_media(fields.get(b"content-type", b""))
        if route.media is None:
            return None
        if not self._is_plain and fields.get(b"content-encoding", IDENTITY).lower() != IDENTITY:
            return answers.MEDIA
        return None if exchange.media in route.media else answers.MEDIA

    def _head(self) -> bytes:
        """The request line and headers, and in front of them the client's address."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        client = f"{peer[0]} {peer[1]}".encode() if isinstance(peer, tuple) else b"- 0"
        version = self._parser.get_http_version().encode()
        line = b"%b\r\n%b %b HTTP/%b\r\n" % (client, self._parser.get_method(), self._url, version)
        return line + b"".join([b"%b: %b\r\n" % pair for pair in self._lines])

    def _has_body(self) -> bool:
        return b"transfer-encoding" in self._fields or int(self._fields.get(b"content-length", 0)) > 0

    def _has_long_body(self) -> bool:
        """Whether a refused request's body is better not waited for."""
        if self._parser.should_upgrade():
            return self._has_body()
        is_waiting = b"expect" in self._fields and self._has_body()
        return is_waiting or int(self._fields.get(b"content-length", 0)) > SWALLOW_BYTES

    # answers

    def flush(self) -> None:
        """Write what is due of the answers, in the order of the requests, as long as the client reads."""
        ready: list[bytes] = []
        closes = False
        while self._open and not closes and not self._is_blocked:
            exchange = self._open[0]
            ready += exchange.out
            if not exchange.is_complete:
                exchange.out.clear()
                exchange.out_bytes = 0
                self._since = monotonic()
                break
            self._open.popleft()
            closes = not exchange.keep_alive
        self._weigh_streams()
        if self._transport is None or not ready:
            return
        self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if closes:
            self._hang_up()
            return
        if self._wants_continue:
            self._continue_if_due()
        if self._is_paused:
            self._balance()

    def _weigh_streams(self) -> None:
        """Let the workers of streams pause whose client does not read, and go on once it does."""
        for exchange in self._open:
            if exchange.has_begun and exchange.is_paused != (exchange.out_bytes > HIGH_BYTES):
                exchange.is_paused = not exchange.is_paused
                self._desk.flow(exchange, is_paused=exchange.is_paused)

    def close_if_idle(self) -> None:
        """For a drain: hang up if no request is open, else with the answer of the last one."""
        if not self._open and self._phase == "idle" and self._transport is not None:
            self._transport.close()
        for exchange in list(self._open)[-1:]:
            exchange.keep_alive = False

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: float) -> None:
        """Let go of a client that is too slow or has long been silent."""
        limits = self._limits
        waited_s = now - self._since
        if self._is_blocked:
            if waited_s > limits.idle_s:
                self.abort()
        elif self._is_deaf or self._is_paused:
            return
        elif self._phase != "idle":
            if waited_s > (limits.head_s if self._phase == "head" else limits.body_s):
                self._refuse_and_close(answers.SLOW)
        elif not self._open and waited_s > limits.idle_s and self._transport is not None:
            self._transport.close()

    def _continue_if_due(self) -> None:
        """Tell a client that waits for it to send its body, once all answers before it are written."""
        if self._transport is not None and self._open and self._open[0] is self._current:
            self._wants_continue = False
            self._transport.write(answers.CONTINUE)

    def _weigh_partial(self, data: bytes) -> None:
        """Bound a head that has not ended: the parser holds back a header until it is whole."""
        if self._is_fresh:
            self._is_fresh = False
            return
        self._head_bytes += len(data)
        if self._head_bytes > 2 * self._limits.max_head_bytes:
            self._refuse_and_close(answers.BIG_HEADERS)

    def _refuse_and_close(self, refusal: Refusal) -> None:
        """Refuse the request that is arriving, read nothing more, and close after the answer."""
        if self._is_deaf:
            return
        self._is_deaf = True
        exchange, self._current = self._current, None
        if exchange is None:
            number = self._desk.next_id()
            exchange = Exchange(number, self, None, self._desk.request_id(number))
            self._open.append(exchange)
        exchange.keep_alive = False
        exchange.arrived = monotonic()
        self._desk.refuse(exchange, refusal)

    def _hang_up(self) -> None:
        """Say that nothing more comes, and close a little later: at once would destroy an answer in flight."""
        self._is_deaf = True
        transport = self._transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(self._limits.linger_s, transport.abort)

    def _balance(self) -> None:
        """Read only while the client reads its answers and has not too many open."""
        must_pause = self._is_blocked or len(self._open) >= self._limits.max_pipelined
        if must_pause == self._is_paused or self._transport is None or self._transport.is_closing():
            return
        self._is_paused = must_pause
        if must_pause:
            self._transport.pause_reading()
        else:
            self._since = monotonic()
            self._transport.resume_reading()
