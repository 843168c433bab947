"""The bytes of HTTP answers, and every reason a front refuses a request. Pure."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import NamedTuple

from lepton.core.errors import clip
from lepton.serve.frames import Media

JSON_TYPE = b"application/json"
TEXT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
TYPES: Mapping[int, bytes] = {
    Media.OTHER: b"application/octet-stream",
    Media.JSON: JSON_TYPE,
    Media.OCTETS: b"application/octet-stream",
    Media.NPY: b"application/x-npy",
    Media.MSGPACK: b"application/msgpack",
    Media.TEXT: b"text/plain; charset=utf-8",
    Media.HTML: b"text/html; charset=utf-8",
    Media.SSE: b"text/event-stream; charset=utf-8",
}
"""Content-Type of an answer. One of kind OTHER has its own in its head."""
GOING_AWAY = b"\x88\x02\x03\xe9"
"""What a WebSocket hears last whose worker is no more: a close frame, 1001. Workers send whole frames at a time."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEADS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


BEGINS = {
    (status, media): HEADS[status] + b"content-type: %b\r\ncontent-length: " % media
    for status in (200, 422, 500, 503)
    for media in TYPES.values()
}
"""How the most usual answers begin."""


class Refusal(NamedTuple):
    """An answer that the front gives by itself."""

    status: int
    code: str
    message: str
    fix: str
    headers: bytes = b""
    """Further header lines, each ended by CR LF."""
    form: str = ""
    """That of the errors where it was asked, if no route says so; see `body`."""

    def body(self, form: str = "") -> bytes:
        """The JSON object every error of the platform has; in other forms what their clients read of it."""
        if form == OPENAI_FORM:
            told = openai_error(self.status, f"{self.message}. {self.fix}", self.code)
            return json.dumps({"error": told}).encode()
        told = {"code": self.code, "message": self.message, "fix": self.fix}
        if form == INFERENCE_FORM:
            told = {"error": f"{self.message}. {self.fix}", **told}
        return json.dumps(told).encode()


OPENAI_FORM, INFERENCE_FORM = "openai", "inference"
"""Of the OpenAI API, and of the Open Inference Protocol over REST."""
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def openai_error(status: int, message: str, code: str | None, param: str | None = None) -> dict[str, str | None]:
    """An error as the OpenAI API tells it."""
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": message, "type": kind, "param": param, "code": code}


BODILESS = frozenset((204, 304))
RETRY = b"retry-after: 1\r\n"
NOT_HTTP = Refusal(400, "invalid", "This is not a valid HTTP/1.1 request", "Send one that follows RFC 9112.")
NO_HOST = Refusal(400, "invalid", "The request needs exactly one Host header", "Send one.")
TWICE = Refusal(400, "invalid", "A header that may appear once appears twice", "Send it once.")
CODING = Refusal(400, "invalid", "Of transfer codings only `chunked` is known", "Send the body plain or chunked.")
OLD_CODING = Refusal(400, "invalid", "HTTP/1.0 has no transfer codings", "Use HTTP/1.1, or send Content-Length.")
BAD_HOST = Refusal(400, "invalid", "The Host header names no host", "Send a host, and perhaps a port.")
BAD_TARGET = Refusal(
    400, "invalid", "The request's target is none of this server's", "Send a path, or http://HOST/PATH."
)
MISFRAMED = (CODING, OLD_CODING, NOT_HTTP, NO_HOST, TWICE, BAD_HOST, BAD_TARGET)
"""After these nobody knows where the next request begins, or whose it is."""
LONG_CHUNK = Refusal(400, "invalid", "The extensions of chunks are too long", "Leave them out.")
TINY_CHUNKS = Refusal(400, "invalid", "The body comes in too many tiny chunks", "Send larger ones, or Content-Length.")
NO_UPGRADE = Refusal(400, "invalid", "A request with a body cannot become a WebSocket", "Ask by GET, without a body.")
BAD_EXPECT = Refusal(417, "invalid", "Only `Expect: 100-continue` can be met", "Leave out the Expect header.")
NO_TOKEN = Refusal(
    401,
    "unauthenticated",
    "This endpoint needs a token",
    "Send `Authorization: Bearer <token>`.",
    b"www-authenticate: Bearer\r\n",
)
BAD_TOKEN = Refusal(
    401,
    "unauthenticated",
    "The token is unknown, expired or revoked",
    "Ask an administrator of the workspace for a new one.",
    b'www-authenticate: Bearer error="invalid_token"\r\n',
)
JWT_FIX = "Get a new one: lepton tokens jwt."
JWT_REVOKED = BAD_TOKEN._replace(message="The JWT was revoked", fix=JWT_FIX)
NO_ACCESS = (401, 403)
"""Statuses of refusals that do not wait for the body."""
FORBIDDEN = Refusal(403, "forbidden", "The token may not use this endpoint", "Ask for a role in its workspace.")
HIDDEN = Refusal(404, "not_found", "There is no such endpoint, or the token may not see it", "Check the address.")
NO_PATH = Refusal(404, "not_found", "Nothing answers at this path", "GET / describes the endpoint.")
NO_ENDPOINT = Refusal(
    404,
    "not_found",
    "This front has no endpoint of that name",
    "Name one by the path (/NAME/...) or the host; over gRPC also by the metadata `lepton-endpoint`.",
)
NO_LENGTH = Refusal(411, "length_required", "The request has no body", "Send Content-Length, or a chunked body.")
LONG_URL = Refusal(414, "too_large", "The URL is too long", "Put the input into the body.")
MEDIA = Refusal(
    415,
    "media",
    "The body is of a kind that cannot be read here",
    "Send Content-Type application/json, or what GET /openapi.json names, without Content-Encoding.",
)
BIG_HEADERS = Refusal(431, "too_large", "The headers are too large", "Send fewer and shorter headers.")
SLOW = Refusal(408, "timeout", "The request did not arrive in time", "Send it faster, or in smaller parts.")
BUSY = Refusal(503, "busy", "Too many requests wait already", "Try again later, or serve more replicas.", RETRY)
CROWDED = Refusal(503, "busy", "Too many connections are open", "Try again later; keep connections open.", RETRY)
MANY_LARGE = Refusal(429, "busy", "Too many large messages arrive at a time", "Send fewer at once on a connection.")
NO_ROOM = Refusal(
    503, "busy", "The front keeps as much of requests as it may", "Try again later; see `max_held_bytes`.", RETRY
)
NO_WORKER = Refusal(503, "unavailable", "No worker has the model loaded", "Try again; the log says why.", RETRY)
NO_ENTRY = Refusal(403, "forbidden", "Your address may not use this endpoint", "Ask who runs it to allow it.")
OVERLOADED = Refusal(
    503,
    "busy",
    "What waits already would take longer than the deadline",
    "Try again later, or serve more replicas.",
    RETRY,
)
WORKER_LOST = Refusal(503, "unavailable", "The worker that computed this was lost", "Try again.", RETRY)
NO_ACCESS_CHECK = Refusal(503, "unavailable", "The token cannot be checked now", "Try again later.", RETRY)
NO_RPC = Refusal(
    501,
    "unimplemented",
    "This call is not answered here",
    "GET / says what is; of models without code the Open Inference Protocol.",
)
LATE = Refusal(
    504,
    "deadline",
    "No answer came within the deadline",
    "Try again, or raise --deadline of the endpoint (deadline_ms).",
)
OLD_HTTP = Refusal(505, "invalid", "Only HTTP/1.0 and HTTP/1.1 are spoken here", "Use HTTP/1.1.")


def bad_jwt(why: str, fix: str = JWT_FIX) -> Refusal:
    """For a signed token that is not in order, or not for this endpoint."""
    return BAD_TOKEN._replace(message=why, fix=fix)


def failed(name: str, why: str) -> Refusal:
    """For an endpoint whose workers do not start.

    Args:
        name: of the endpoint.
        why: what its owner is told; of that callers learn only which exception it was.
    """
    kind = why.partition(":")[0]
    told = f" ({kind})" if kind.replace(".", "_").isidentifier() else ""
    return NO_WORKER._replace(
        message=f"The endpoint has failed: its replicas do not start{told}",
        fix=f"Its owner is told why: lepton serve why {name}",
        headers=b"",
    )


def not_started(why: str) -> Refusal:
    """For an endpoint off the platform whose code does not start; who edits it is told why."""
    return NO_WORKER._replace(
        message=f"The code does not start: {clip(why)}",
        fix="Its log has the traceback; it is started anew when it changes.",
        headers=b"",
    )


def too_large(limit: int) -> Refusal:
    """For a body of more than `limit` bytes."""
    return Refusal(413, "too_large", f"The body is larger than {limit} bytes", "Send less in one request.")


def too_many(why: str, retry_s: float) -> Refusal:
    """For a caller that has used up its `rate` or `quota` until `retry_s` seconds from now."""
    what = "so many requests a second" if why == "rate" else "more requests today"
    header = b"retry-after: %d\r\n" % max(1, ceil(retry_s))
    return Refusal(429, why, f"Your token or address may not make {what}", "Try again after Retry-After.", header)


def wrong_method(allowed: bytes) -> Refusal:
    """For a path that exists, asked in a way it does not know."""
    allow = b"allow: " + allowed + b"\r\n"
    return Refusal(405, "method", f"This path knows only {allowed.decode()}", "Use one of these methods.", allow)


def render(status: int, body: bytes, request_id: bytes, *, media: bytes = JSON_TYPE, headers: bytes = b"") -> bytes:
    """A whole answer. `headers` are further lines, each ended by CR LF; `media` empty: they name the type."""
    if not headers and (begin := BEGINS.get((status, media))) is not None:
        return b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (begin, len(body), request_id, body)
    if status in BODILESS:
        return b"%b%bx-request-id: %b\r\n\r\n" % (line(status), headers, request_id)
    return b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (
        line(status),
        headers,
        b"content-type: %b\r\n" % media if media else b"",
        len(body),
        request_id,
        body,
    )


def render_head(status: int, request_id: bytes, *, media: bytes, headers: bytes) -> bytes:
    """The head of an answer whose length nobody knows yet."""
    type = b"content-type: %b\r\n" % media if media else b""
    return b"%b%b%bx-request-id: %b\r\n\r\n" % (line(status), headers, type, request_id)


def render_upgrade(headers: bytes, request_id: bytes) -> bytes:
    """The head of an answer after which the connection is no longer HTTP."""
    return b"%b%bx-request-id: %b\r\n\r\n" % (line(101), headers, request_id)


def line(status: int) -> bytes:
    """The status line."""
    return HEADS.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def headers_only(answer: bytes) -> bytes:
    """The answer to HEAD: what GET gets, without the body."""
    return answer[: answer.index(b"\r\n\r\n") + 4]
