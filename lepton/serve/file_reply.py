"""A file as the answer to a request: whole, a part of it (RFC 9110, 14), or that it is as the client has it (13)."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate, parsedate_to_datetime
from os import stat_result
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from lepton.serve.asgi import HOP
from lepton.serve.calls import Call
from lepton.serve.faults import is_line
from lepton.serve.frames import Media
from lepton.serve.program import Reply
from lepton.serve.service import FileResponse, HTTPError

AT_ONCE_BYTES = 256 << 10
"""A file, or a part of one, up to this size is no stream."""
PIECE_BYTES = 256 << 10
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE | re.ASCII)
TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a header may be called."""
ATTRIBUTE = "!#$&+-.^_`|~"
"""What a file's name may hold unescaped, beside letters and digits (RFC 8187)."""


class Span(NamedTuple):
    """Bytes of a file: those from `start` on, before `end`."""

    start: int
    end: int


def file_reply(answer: FileResponse, call: Call) -> Reply:
    """The answer of a handler that returned a file.

    Raises:
        HTTPError: the file is gone, the part is none of it, or it has changed although the client wants it as it was.
    """
    try:
        found = answer.path.stat()
    except OSError:
        raise HTTPError(404, f"There is no file {answer.path.name!r}", code="not_found") from None
    head = call.head
    asked: Mapping[str, str] = head.merged() if head is not None else {}
    changed = formatdate(int(found.st_mtime), usegmt=True)
    told = {"accept-ranges": "bytes", "etag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"', "last-modified": changed}
    told |= {name.lower(): value for name, value in answer.headers.items() if is_free(name)}
    tag = told["etag"]
    is_plain = answer.status == 200 and (head is None or head.method in ("GET", "HEAD"))
    if is_plain and not _is_due(asked, tag, found):
        return _reply(304, told)
    told["content-type"] = answer.media_type
    told.setdefault("content-disposition", disposition(answer.filename, is_inline=answer.is_inline))
    is_same = "if-range" not in asked or asked["if-range"] == changed or names(asked["if-range"], tag, is_weak=False)
    is_whole = not is_plain or "range" not in asked or not is_same
    span = None if is_whole else span_of(asked["range"], found.st_size)
    if span is not None:
        told["content-range"] = f"bytes {span.start}-{span.end - 1}/{found.st_size}"
    reply = _reply(answer.status if span is None else 206, told)
    return _filled(reply, answer.path, span or Span(0, found.st_size), is_asked=head is None or head.method != "HEAD")


def is_free(name: str) -> bool:
    """Whether a handler may set that header."""
    return TOKEN.fullmatch(name) is not None and name.lower().encode() not in HOP


def _reply(status: int, headers: Mapping[str, str]) -> Reply:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if is_line(name) and is_line(value)]
    return Reply(status=status, media=Media.OTHER, headers="".join(lines).encode("latin-1", "replace"))


def _filled(reply: Reply, path: Path, span: Span, *, is_asked: bool) -> Reply:
    size = span.end - span.start
    if is_asked and size <= AT_ONCE_BYTES:
        with path.open("rb") as file:
            file.seek(span.start)
            reply.body = file.read(size)
        return reply
    reply.headers += b"content-length: %d\r\n" % size
    reply.stream = pieces(path, span if is_asked else Span(0, 0))
    return reply


async def pieces(path: Path, span: Span) -> AsyncIterator[bytes]:
    """The bytes of a span, each read when the one before is on its way; of an empty one an empty piece.

    Raises:
        EOFError: the file has become shorter meanwhile.
    """
    left = span.end - span.start
    if not left:
        yield b""
        return
    with await asyncio.to_thread(path.open, "rb") as file:
        file.seek(span.start)
        while left:
            piece = await asyncio.to_thread(file.read, min(left, PIECE_BYTES))
            if not piece:
                raise EOFError(f"{path.name} has become shorter while it was sent")
            left -= len(piece)
            yield piece


def span_of(text: str, size: int) -> Span | None:
    """What a `Range` asks for; None: more than one part, or other units, which need not be understood.

    Raises:
        HTTPError: nothing of it is in the file.
    """
    found = RANGE.fullmatch(text.replace(" ", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        span = Span(max(0, size - int(found[2])), size)
    else:
        span = Span(int(found[1]), min(size, int(found[2]) + 1) if found[2] else size)
        if found[2] and int(found[2]) < int(found[1]):
            return None
    if span.start >= span.end:
        raise HTTPError(
            416,
            f"The file has {size} bytes",
            fix="Ask for bytes that it has.",
            code="range",
            headers={"content-range": f"bytes */{size}"},
        )
    return span


def _is_due(asked: Mapping[str, str], tag: str, found: stat_result) -> bool:
    """Whether the file is to be sent; False: the client has it as it is (RFC 9110, 13.2.2).

    Raises:
        HTTPError: it is not what the client wants it to be.
    """
    at = int(found.st_mtime)
    is_other = "if-match" in asked and not names(asked["if-match"], tag, is_weak=False)
    since = None if "if-match" in asked else moment(asked.get("if-unmodified-since", ""))
    if is_other or (since is not None and at > since):
        raise HTTPError(412, "The file is another one by now", fix="Ask without a condition.", code="changed")
    if "if-none-match" in asked:
        return not names(asked["if-none-match"], tag, is_weak=True)
    since = moment(asked.get("if-modified-since", ""))
    return since is None or at > since


def names(tags: str, tag: str, *, is_weak: bool) -> bool:
    """Whether a list of entity tags names this one, or any (RFC 9110, 8.8.3.2).

    Args:
        is_weak: tags for one meaning are enough; else both must be for the very bytes, which a `W/` denies.
    """
    if tags.strip() == "*":
        return True
    weak, own = TAG.fullmatch(tag.strip()), TAG.findall(tags)
    if weak is None or (weak[1] and not is_weak):
        return False
    return any(opaque == weak[2] and (is_weak or not mark) for mark, opaque in own)


def moment(text: str) -> int | None:
    """A date of HTTP in Unix seconds; None: it is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) if text else None
    except (ValueError, OverflowError):
        return None


def disposition(name: str, *, is_inline: bool) -> str:
    """What a file is called (RFC 6266): as it is where it is plain ASCII, else also escaped in UTF-8."""
    kind = "inline" if is_inline else "attachment"
    shown = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    plain = f'{kind}; filename="{shown}"'
    return plain if shown == name else f"{plain}; filename*=UTF-8''{quote(name, safe=ATTRIBUTE)}"
