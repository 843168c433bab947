"""One request as its bytes arrive: what its head holds, and whether that is in order. Pure."""

import re
from collections.abc import Mapping

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.callers import passed_on
from lepton.serve.cors import Cors
from lepton.serve.exchange import Desk, Limits, Lobby
from lepton.serve.frames import Media
from lepton.serve.routes import Route, find_media, normal
from lepton.serve.wishes import told

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
        b"traceparent",
        b"origin",
    )
)
TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context."""
RARE = frozenset((b"content-encoding", b"transfer-encoding", b"expect"))
CHANGING = frozenset((b"upgrade", b"http2-settings"))
"""Headers, and words of Connection, of a wish to change the protocol."""
IDENTITY = b"identity"
SWALLOW_BYTES = 64 << 10
"""A refused request's body up to this size is read and dropped, so that the connection can be kept."""
MAX_ID_BYTES = 128
CHUNK_BYTES = 20
"""Of a chunk beside its data: its size, line ends, and a short extension."""
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.]+\])(?::[0-9]*)?")
"""What Host, and the authority of a target, may be; with `%` only for escapes (RFC 9110, 7.2)."""
SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\n]*)?\r\n")
"""The line before a chunk."""
ABSURD_BYTES = 1 << 40
"""No chunk is so large by mistake."""
MANY_CHUNKS, TINY_BYTES = 256 << 10, 16
"""A body in more chunks than that must have so many bytes in each, on average."""


class Message:
    """A request that is arriving."""

    __slots__ = (
        "body",
        "body_bytes",
        "chunk_at",
        "chunks",
        "fed_bytes",
        "fields",
        "has_twice",
        "head_bytes",
        "host",
        "is_fresh",
        "is_in_chunk",
        "is_judged",
        "is_misled",
        "is_plain",
        "lines",
        "prefix",
        "tail",
        "trailers",
        "url",
    )

    def __init__(self) -> None:
        self.url = b""
        self.host = b""
        """Whom it asks, by its target or Host."""
        self.prefix = b""
        """What was left out in front of it: the path of its endpoint at a front that many share."""
        self.fields: dict[bytes, bytes] = {}
        """Headers that mean something here, by their names in lower case."""
        self.lines: list[tuple[bytes, bytes]] = []
        """All headers as they came."""
        self.head_bytes = 0
        self.has_twice = False
        self.is_plain = True
        """No rare header so far."""
        self.is_fresh = True
        """It began in the bytes that are being read."""
        self.is_judged = False
        """Whether its sender may come in was asked while its body was still on its way."""
        self.fed_bytes = 0
        """What came of its head, later of its body, after the bytes in which it began."""
        self.trailers = 0
        self.chunks = 0
        self.chunk_at = 0
        """Where in the body the last chunk began."""
        self.is_in_chunk = False
        """That is not whole."""
        self.tail = b""
        """What has come of the line before the next chunk."""
        self.is_misled = False
        """Its target is none that is served here, whatever its path."""
        self.body: list[bytes] = []
        self.body_bytes = 0

    def add_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.head_bytes += len(name) + len(value)
        self.lines.append((name, value))
        name = name.lower()
        if name in WANTED:
            if name in RARE or name in self.fields:
                self.is_plain = False
                self.has_twice |= name in self.fields
            self.fields[name] = value

    def add_trailer(self, name: bytes, value: bytes, limits: Limits) -> Refusal | None:
        """One header after the body; it is not kept. Returned is why it is one too many."""
        self.head_bytes += len(name) + len(value)
        self.trailers += 1
        is_large = self.head_bytes > limits.max_head_bytes or len(self.lines) + self.trailers > limits.max_headers
        return answers.BIG_HEADERS if is_large else None

    def begin_chunk(self) -> None:
        """The line before a chunk is whole."""
        self.chunks += 1
        self.chunk_at = self.body_bytes
        self.is_in_chunk = True

    def weigh_chunk(self, data: bytes | memoryview, had: int, limit: int) -> Refusal | None:
        """Refuse a chunk that is announced as larger than a body may be, before it comes.

        Args:
            data: what was just read, with which the body did not end.
            had: chunks that had begun before it.
        """
        text = self.tail + data
        if not self.is_in_chunk:
            self.tail = text[text.rfind(b"\n") + 1 :]
            return None
        self.tail = b""
        if self.chunks == had:
            return None
        end = len(text) - (self.body_bytes - self.chunk_at)
        line = SIZE.fullmatch(text, text.rfind(b"\n", 0, end - 1) + 1, end)
        size = int(line[1], 16) if line else 0  # no line: a trailer, after the last
        if self.chunk_at + size <= limit:
            return None
        return answers.NOT_HTTP if size >= ABSURD_BYTES else answers.too_large(limit)

    def lead(self, lobby: Lobby) -> Desk:
        """Whose it is; from now on its URL is the one there, in its normal form."""
        self.host = self.fields.get(b"host", b"")
        if not self.url.startswith(b"/"):
            self._read_target()
        if b"%" in self.url or not self.url.isascii():
            path, mark, query = self.url.partition(b"?")
            self.url = normal(path) + mark + query
        desk, self.url, self.prefix = lobby.lead(self.url, self.host)
        return desk

    def _read_target(self) -> None:
        """The host of a target in absolute form is what counts, whatever Host says (RFC 9112, 3.2.2)."""
        found = apart(self.url)
        if found is None:
            self.is_misled = b"://" in self.url
            return
        self.host, self.url = found
        self.is_misled = not (self.host and HOST.fullmatch(self.host))
        self.lines = [(name, self.host if name.lower() == b"host" else value) for name, value in self.lines]

    @property
    def request_id(self) -> bytes:
        """What the client calls it, else its trace; empty: neither, or nothing that can be used."""
        return request_id_of(self.fields)

    def preflight(self, cors: Cors | None) -> Refusal | None:
        """The answer to a browser that asks whether a page may send a request; None: it does not."""
        told = {name.lower(): value for name, value in self.lines}
        method = told.get(b"access-control-request-method")
        if cors is None or method is None or b"origin" not in told:
            return None
        return cors.preflight(told[b"origin"], method, told.get(b"access-control-request-headers"))

    @property
    def length(self) -> int | None:
        """The body's, if it is told."""
        told = self.fields.get(b"content-length")
        return None if told is None else int(told)

    @property
    def has_body(self) -> bool:
        """Whether one follows."""
        return b"transfer-encoding" in self.fields or bool(self.length)

    @property
    def rest_bytes(self) -> int:
        """What is still to come of the body, as far as it is known."""
        return (self.length or 0) - self.body_bytes

    def has_long_body(self, *, is_upgrade: bool) -> bool:
        """Whether the body, if this is refused, is better not waited for."""
        if is_upgrade:
            return self.has_body
        return (b"expect" in self.fields and self.has_body) or (self.length or 0) > SWALLOW_BYTES

    def whole_body(self) -> bytes:
        """All of the body."""
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def weigh_part(self, size: int, limits: Limits, *, is_head: bool) -> Refusal | None:
        """Bound what the parser holds back or drops: a header until it is whole, and what comes beside a body's chunks.

        Args:
            size: bytes that have come, with which the message did not end.
            is_head: neither did its head.
        """
        if self.is_fresh:
            self.is_fresh = False
            return None
        if self.chunks > MANY_CHUNKS and self.body_bytes < self.chunks * TINY_BYTES:
            return answers.TINY_CHUNKS
        self.fed_bytes += size
        limit = limits.max_head_bytes * (2 if is_head else 1)
        if self.fed_bytes <= limit:
            return None
        if is_head:
            return answers.LONG_URL if len(self.url) > limits.max_url_bytes else answers.BIG_HEADERS
        if (
            b"transfer-encoding" not in self.fields
            or self.fed_bytes - self.body_bytes - CHUNK_BYTES * self.chunks <= limit
        ):
            return None
        return answers.BIG_HEADERS if self.chunks and self.chunk_at == self.body_bytes else answers.LONG_CHUNK

    def judge_head(self, version: str, limits: Limits, *, is_upgrade: bool) -> Refusal | None:
        """Why the message itself is not in order; None if it is."""
        if len(self.url) > limits.max_url_bytes:
            return answers.LONG_URL
        if self.head_bytes > limits.max_head_bytes or len(self.lines) > limits.max_headers:
            return answers.BIG_HEADERS
        if version not in ("1.1", "1.0"):
            return answers.OLD_HTTP
        if b"host" not in self.fields and version == "1.1":
            return answers.NO_HOST
        if self.is_misled or b"#" in self.url:
            return answers.BAD_TARGET
        if not HOST.fullmatch(self.fields.get(b"host", b"")):
            return answers.BAD_HOST
        return None if self.is_plain and not is_upgrade else self._judge_rare(version, is_upgrade=is_upgrade)

    def _judge_rare(self, version: str, *, is_upgrade: bool) -> Refusal | None:
        """Whether headers that few messages have are in order."""
        fields = self.fields
        if self.has_twice:
            return answers.TWICE
        if version == "1.0" and b"transfer-encoding" in fields:
            return answers.OLD_CODING
        if fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            return answers.CODING
        if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
            return answers.BAD_EXPECT
        return answers.NO_UPGRADE if is_upgrade and self.has_body else None

    def unchanging(self, method: bytes, version: str, limits: Limits) -> bytes:
        """Its head as if it did not ask to change the protocol, which a server may ignore (RFC 9110, 7.8).

        Empty: the wish counts. One to speak HTTP/2 never does: its clients ask for it with every first request.
        """
        wish = b",".join(value for name, value in self.lines if name.lower() == b"upgrade").lower()
        is_ignored = wish.strip() == b"h2c" or (self.has_body and b"websocket" not in wish)
        is_large = self.head_bytes > limits.max_head_bytes or len(self.lines) > limits.max_headers
        if method == b"CONNECT" or not is_ignored or is_large:
            return b""
        kept = [(name, _staying(value) if name.lower() == b"connection" else value) for name, value in self.lines]
        lines = [b"%b: %b\r\n" % pair for pair in kept if pair[0].lower() not in CHANGING]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version.encode(), b"".join(lines))

    def judge_body(self, route: Route, limits: Limits) -> tuple[int, Refusal | None]:
        """What kind of body it has and what it wishes (`wishes`), and why its route cannot take it; None if it can."""
        length = self.length
        if length is None and route.has_body and b"transfer-encoding" not in self.fields:
            return Media.OTHER, answers.NO_LENGTH
        if length is not None and length > limits.max_body_bytes:
            return Media.OTHER, answers.too_large(limits.max_body_bytes)
        media = find_media(self.fields.get(b"content-type", b""))
        wished = told(media, self.lines)
        if route.media is None:
            return wished, None
        if not self.is_plain and self.fields.get(b"content-encoding", IDENTITY).lower() != IDENTITY:
            return wished, answers.MEDIA
        return wished, None if media in route.media else answers.MEDIA

    def head_text(self, method: bytes, version: str, place: bytes) -> bytes:
        """The request line, the headers that its code may see, and in front of them the place: the client's address and
        port, the scheme, and the path that was left out."""
        line = b"%b %b\r\n%b %b HTTP/%b\r\n" % (place, self.prefix, method, self.url, version.encode())
        return line + b"".join([b"%b: %b\r\n" % pair for pair in passed_on(self.lines)])


def _staying(value: bytes) -> bytes:
    """What a Connection header says beside a wish to change the protocol."""
    return b", ".join(word for each in value.split(b",") if (word := each.strip()).lower() not in CHANGING)


def apart(url: bytes) -> tuple[bytes, bytes] | None:
    """Host and path of a target in absolute form; None: it is in another, or of another scheme."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None
    end = min(at for at in (rest.find(b"/"), rest.find(b"?"), len(rest)) if at >= 0)
    path = rest[end:]
    return rest[:end], path if path.startswith(b"/") else b"/" + path


def request_id_of(fields: Mapping[bytes, bytes]) -> bytes:
    """What a client calls its request, else its trace, by its headers; empty: neither, or nothing that can be used."""
    name = fields.get(b"x-request-id", b"")
    if name and len(name) <= MAX_ID_BYTES and name.isascii():
        return name
    trace = TRACE.fullmatch(fields.get(b"traceparent", b""))
    return trace[1] if trace else b""
