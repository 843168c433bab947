"""One client's connection: HTTP/1.1 from bytes to exchanges.

The parser (llhttp) is strict, so a message with two readings - both lengths, a folded header, a bare line feed - is
refused and the connection closed. A body is collected and never looked into.
"""

import asyncio
from functools import partial
from hashlib import sha256
from time import monotonic

import httptools

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Asked, Desk, Exchange, Limits, Lobby
from lepton.serve.heads import MAX_KNOWN_BYTES, end_of_lines, is_http2, remember
from lepton.serve.message import SWALLOW_BYTES, Message
from lepton.serve.protocols.grpc.calls import open_stream
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.reading import PART_BYTES, Reading
from lepton.serve.room import SMALL_BYTES
from lepton.serve.routes import Route

NOWHERE = b"- 0 http"
NO_HEAD = b"\0"
"""No request begins so."""
BAD_VERSION = "Invalid HTTP version"
"""What the parser says of a version that it does not know."""


class Connection(Reading):
    """One TCP connection from a client."""

    def __init__(self, lobby: Lobby) -> None:
        super().__init__(lobby)
        self._first: bytes | None = b""
        """What has come so far, until it is clear which protocol that is."""
        self._parser = httptools.HttpRequestParser(self)
        self._place = NOWHERE
        """The client's address and port, and the scheme it speaks, as the heads of its requests tell them."""
        self._caller = b""
        """The client's address."""
        self._head_key = b""
        """Names the bytes of the head that is being read, if they came at once."""
        self._last_head, self._last_key = NO_HEAD, b""
        """The last head that came at once, and its name: most clients send it again."""
        self._seen = b""
        """What was read of the head of the present request, perhaps with line ends before it."""
        self._message_count = 0
        """Messages begun in the bytes that are being read."""
        self._anew = b""
        """The head of a message that is read again, as if it did not ask to change the protocol."""

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        self._lobby.connections.add(self)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._caller = str(peer[0]).encode()
            scheme = b"https" if transport.get_extra_info("sslcontext") is not None else b"http"
            self._place = b"%b %d %b" % (self._caller, peer[1], scheme)
        if not self._lobby.admits(self._caller.decode()):
            self._refuse_and_close(answers.NO_ENTRY)
        elif len(self._lobby.connections) > self._limits.max_connections:
            self._refuse_and_close(answers.CROWDED)

    def connection_lost(self, fault: Exception | None) -> None:
        """The client is gone: nobody waits for its answers any more."""
        self._transport = None
        self._lobby.connections.discard(self)
        self._stop_waiting()
        for exchange in self._open:
            if not exchange.is_done:
                exchange.is_done = True
                exchange.let_go()
                exchange.desk.give_up(exchange)
        self._open.clear()
        self._message = Message()

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests; or of whatever an upgraded connection speaks."""
        if self._later or self._waiter is not None:
            self._later += data  # it had come before the transport paused
            return
        if self._is_deaf:
            self._pass_on(data)
            return
        if self._first is not None and not (data := self._sort(data)):
            return
        if self._phase == "idle":
            self._message_count = 0
            if self._is_known(data):
                return
        if len(data) <= PART_BYTES:
            self._parse(data)
            return
        self._read_parts(data)

    def _parse(self, data: bytes | memoryview) -> None:
        if self._is_deaf:
            self._pass_on(data)
            return
        message, chunks = self._message, self._message.chunks
        rest: bytes | memoryview = data
        try:
            while rest and not self._is_deaf:
                if self._is_paused and self._phase == "idle":
                    self._later = bytes(rest)  # it has enough open
                    break
                rest = self._feed(rest)
        except httptools.HttpParserError as fault:
            if isinstance(fault, httptools.HttpParserCallbackError):
                raise
            self._refuse_and_close(answers.OLD_HTTP if str(fault) == BAD_VERSION else answers.NOT_HTTP)
        if self._phase != "idle" and not self._is_deaf:
            self._judge_part(data, chunks if self._message is message else 0)

    def _feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Let the parser read on, no further than the present message surely goes; what is left of the bytes.

        Raises:
            httptools.HttpParserError: they are not HTTP.
        """
        self._chunks += 1
        size = self._message.rest_bytes if self._phase == "body" else 0
        if size <= 0:
            data, had = bytes(data), self._seen if self._phase == "head" else b""
            size = end_of_lines(had, data)
            self._seen = had + data[:size]
        try:
            self._parser.feed_data(data[:size])
        except httptools.HttpParserUpgrade as upgrade:
            return self._turn(data[upgrade.args[0] :])
        return data[size:]

    def _turn(self, rest: bytes | memoryview) -> bytes | memoryview:
        """What is to be read after a head that asks to change the protocol: that head anew, if that is not done."""
        if not self._anew:
            self._is_deaf = True
            self._pass_on(rest)
            return b""
        rest, self._anew = self._anew + bytes(rest), b""
        self._parser, self._phase = httptools.HttpRequestParser(self), "idle"
        return rest

    def _pass_on(self, data: bytes | memoryview) -> None:
        """Bytes that are not read here."""
        if data and self._tunnel is not None:
            self._tunnel.desk.pass_on(self._tunnel, bytes(data), is_last=False)
            self._balance()

    def _judge_part(self, data: bytes | memoryview, chunks: int) -> None:
        """A request has not ended with these bytes: whether its rest is worth being waited for.

        Args:
            chunks: of its body that had begun before.
        """
        message, exchange = self._message, self._current
        refusal = message.weigh_part(len(data), self._limits, is_head=self._phase == "head")
        if refusal is None and exchange is not None and b"transfer-encoding" in message.fields:
            refusal = message.weigh_chunk(data, chunks, exchange.desk.limits.max_body_bytes)
        if refusal is None and self._refusal is not None and self._refusal.status in answers.NO_ACCESS:
            refusal = self._refusal
        if refusal is not None:
            self._refuse_and_close(refusal)
        elif exchange is not None and self._refusal is None and not message.is_judged:
            message.is_judged = True
            exchange.desk.judge(exchange, message.fields.get(b"authorization"), partial(self._turn_away, exchange))

    def _turn_away(self, exchange: Exchange, refusal: Refusal) -> None:
        """Refuse a request whose body is still to come."""
        if exchange is self._current:
            self._refuse_and_close(refusal)

    def _sort(self, data: bytes) -> bytes:
        """What is to be read of the first bytes as HTTP/1.1: nothing while they may be HTTP/2's, or if they are."""
        assert self._first is not None and self._transport is not None
        self._first = first = self._first + data
        verdict = is_http2(first)
        self._phase = "head" if verdict is None else "idle"
        if verdict is None:
            return b""
        self._first = None
        if not verdict:
            return first
        self._is_deaf = True
        self._lobby.connections.discard(self)
        Http2(self._lobby, self._transport, self._caller, open_stream).begin(first)
        return b""

    def _is_known(self, data: bytes) -> bool:
        """Take one whole request whose head was read before, byte for byte: it means the same again.

        Clients that keep a connection send equal heads; to parse each anew is most of what a request costs here.
        """
        if not data.startswith(self._last_head):
            end = data.find(b"\r\n\r\n") + 4
            is_short = 4 < end <= MAX_KNOWN_BYTES
            self._last_head = data[:end] if is_short else NO_HEAD
            self._last_key = sha256(self._last_head).digest() if is_short else b""
        self._head_key = self._last_key
        known = self._lobby.heads.get(self._last_key)
        if known is None or self._is_paused:
            return False
        body = data[len(self._last_head) :]
        size = known.body_bytes
        if len(body) != size or (size > SMALL_BYTES and not self.room.has(size)):
            return False
        desk = known.desk
        is_judged, verdict = desk.recall(known)
        if not is_judged:
            return False
        exchange = Exchange(desk, self, known.route, known.request_id)
        exchange.media = known.media
        exchange.caller = known.token or self._caller
        exchange.origin = known.origin
        exchange.body = body
        exchange.size_bytes = size
        if size > SMALL_BYTES:
            exchange.keep(size)
        exchange.arrived = self._since = monotonic()
        self._open.append(exchange)
        desk.go(exchange, verdict)
        return True

    def say_goodbye(self) -> None:
        """For the end of a drain: close a WebSocket, which may be open for ever."""
        tunnel = self._tunnel
        if tunnel is not None and tunnel.is_tunnel and tunnel.has_begun and not tunnel.is_done:
            tunnel.break_off()
            tunnel.desk.give_up(tunnel)

    # what the parser tells

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._head_key and self._message_count:
            self._head_key = b""  # a second message in the same bytes: the key is not of its head
        self._message_count += 1
        if not self._is_deaf:
            self._message = Message()
            self._phase = "head"
            self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._message.url += url
        self._message.head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; also a trailer, which is ignored."""
        if self._phase == "head":
            self._message.add_header(name, value)
        elif refusal := self._message.add_trailer(name, value, self._limits):
            self._refuse_and_close(refusal)

    def on_chunk_header(self) -> None:
        """The line before a chunk."""
        self._message.begin_chunk()
        self._chunks += 1

    def on_chunk_complete(self) -> None:
        """The end of a chunk."""
        self._message.is_in_chunk = False

    def on_headers_complete(self) -> None:
        """All headers are there; decide what needs no body."""
        if self._is_deaf:
            return
        parser, message = self._parser, self._message
        version, is_upgrade = parser.get_http_version(), parser.should_upgrade()
        line = b"%b %b HTTP/%b\r\n" % (parser.get_method(), message.url, version.encode())
        is_exact = self._seen.lstrip(b"\r\n").startswith(line)
        if is_upgrade and is_exact and (head := message.unchanging(parser.get_method(), version, self._limits)):
            self._anew = head
            return
        self._phase = "body"
        message.fed_bytes = 0
        desk = message.lead(self._lobby)
        route = desk.find(parser.get_method(), message.url)
        if isinstance(route, Refusal):
            route = desk.veil(route)
        if parser.get_method() == b"OPTIONS" and not (isinstance(route, Route) and route.operation):
            route = message.preflight(desk.cors) or route
        exchange = self._open_exchange(desk, route, is_upgrade=is_upgrade)
        refusal = message.judge_head(version, self._limits, is_upgrade=is_upgrade)
        if refusal is None and not is_exact:
            refusal = answers.NOT_HTTP  # the parser takes RTSP for it, and several spaces for one
        if refusal is None:
            refusal = self._judge_request(exchange, route) if isinstance(route, Route) else route
        self._refusal = refusal
        if refusal is not None:
            if refusal in answers.MISFRAMED or message.has_long_body(is_upgrade=is_upgrade):
                self._refuse_and_close(refusal)
            return
        self._find_room(exchange)
        if not message.is_plain and b"expect" in message.fields:
            self._wants_continue = not self._is_deaf
            self._continue_if_due()
        else:
            remember(self._lobby.heads, self._head_key, message, exchange)

    def _open_exchange(self, desk: Desk, route: Route | Refusal, *, is_upgrade: bool) -> Exchange:
        """The exchange of the message whose head is complete."""
        parser, message = self._parser, self._message
        exchange = Exchange(desk, self, route if isinstance(route, Route) else None, message.request_id)
        exchange.keep_alive = parser.should_keep_alive() and not self._lobby.is_draining and not is_upgrade
        exchange.prefix = message.prefix
        exchange.origin = message.fields.get(b"origin", b"")
        exchange.is_head = parser.get_method() == b"HEAD"
        exchange.is_old = parser.get_http_version() == "1.0"
        if is_upgrade and isinstance(route, Route) and route.is_headed and not message.has_body:
            exchange.is_tunnel = True
            self._tunnel = exchange
        self._current = exchange
        self._open.append(exchange)
        return exchange

    def _judge_request(self, exchange: Exchange, route: Route) -> Refusal | None:
        """Whether this request may go on to its route."""
        doubt = exchange.desk.doubt(route, self._message.fields.get(b"authorization"))
        if doubt is not None or not route.operation:
            return doubt
        exchange.media, refusal = self._message.judge_body(route, exchange.desk.limits)
        return refusal

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        message = self._message
        message.body_bytes += len(data)
        if self._is_deaf:
            return
        limit = self._current.desk.limits.max_body_bytes if self._current is not None else 0
        if message.body_bytes > (SWALLOW_BYTES if self._refusal else limit):
            self._refuse_and_close(self._refusal or answers.too_large(limit))
        elif self._refusal is None and self._current is not None:
            message.body.append(data)
            if message.body_bytes > max(self._current.kept_bytes, SMALL_BYTES):
                self._grow(self._current)

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
            exchange.desk.refuse(exchange, self._refusal)
        else:
            route = exchange.route
            wants_head = route is not None and not route.is_held and route.wants_head(exchange.media)
            exchange.bear(self._message.whole_body(), self._head_text() if wants_head else None)
            self._message.body = []  # the next request may be long in coming
            exchange.caller = self._caller
            exchange.authorization = self._message.fields.get(b"authorization")
            if route is not None and route.is_held:
                exchange.asked = self._asked(exchange.desk.limits)
            exchange.desk.accept(exchange, exchange.authorization)
        if len(self._open) >= self._limits.max_pipelined:
            self._balance()

    def _asked(self, limits: Limits) -> Asked:
        message, method = self._message, self._parser.get_method()
        return Asked(
            method, message.url, self._head_text(), partial(message.judge_body, limits=limits), message.preflight
        )

    def _head_text(self) -> bytes:
        return self._message.head_text(self._parser.get_method(), self._parser.get_http_version(), self._place)

    def _refuse_and_close(self, refusal: Refusal) -> None:
        """Refuse the request that is arriving, read nothing more, and close after the answer."""
        if self._is_deaf:
            return
        self._is_deaf = self._is_cut = True
        self._stop_waiting()
        self._later, self._message.body = b"", []
        exchange, self._current = self._current, None
        if exchange is None:
            exchange = Exchange(self._lobby.own, self, None, b"")
            self._open.append(exchange)
        exchange.keep_alive = False
        exchange.arrived = monotonic()
        exchange.desk.refuse(exchange, refusal)
        self._balance()
