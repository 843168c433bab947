"""What the first bytes of a connection and of a request are: a protocol, and a head that was read before. Pure."""

from lepton.serve.access import token_digest
from lepton.serve.exchange import Exchange, Known
from lepton.serve.message import Message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every HTTP/2 connection begins with (RFC 9113, 3.4)."""
BLANK = b"\r\n\r\n"
MAX_KNOWN, MAX_KNOWN_BYTES = 4096, 4096
"""Heads that are remembered, and the size of the largest."""


def is_http2(first: bytes) -> bool | None:
    """Whether a connection that begins so speaks HTTP/2; None: it may."""
    if first.startswith(PREFACE):
        return True
    return None if PREFACE.startswith(first) else False


def end_of_lines(had: bytes, data: bytes) -> int:
    """How much of `data` may be read at once as one message: to its first empty line, with which each head and each
    body in chunks ends, or all; `had` is what came of the same head before."""
    beside = had[-3:]
    end = (beside + data).find(BLANK) + 4
    return end - len(beside) if end > 3 else len(data)


def remember(heads: dict[bytes, Known], key: bytes, message: Message, exchange: Exchange) -> None:
    """Keep what the head of a usual request was read as; `key` is of its bytes, empty if they did not come at once."""
    route = exchange.route
    if route is None or route.is_held or not route.operation:
        return
    is_usual = message.is_plain and bool(message.length) and not route.wants_head(exchange.media)
    if not (key and is_usual and exchange.keep_alive) or exchange.is_old:
        return
    if len(heads) >= MAX_KNOWN:
        del heads[next(iter(heads))]
    heads[key] = Known(
        desk=exchange.desk,
        route=route,
        body_bytes=message.length or 0,
        media=exchange.media,
        token=token_digest(message.fields.get(b"authorization")) if exchange.desk.judges(route) else b"",
        request_id=message.request_id,
        origin=exchange.origin,
    )
