"""Bytes in and out of the door: bodies that are worked on while they come, answers that are made while they go."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import Header, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from lepton.api.bodies import Turns
from lepton.api.door import Visit
from lepton.api.match import IfNoneMatch, is_known
from lepton.core.errors import InvalidError, LeptonError

QUEUE_CHUNKS = 16
RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
T = TypeVar("T")
RangeHeader = Annotated[str | None, Header(max_length=100)]


class RangeError(LeptonError):
    """The range lies outside the object."""

    code, status = "range", 416

    def __init__(self, message: str, *, fix: str = "", size: int = 0) -> None:
        super().__init__(message, fix=fix)
        self.headers = {"content-range": f"bytes */{size}"}


def said(visit: Visit) -> int:
    """How many bytes the request says that it brings; 0: it does not say."""
    length = visit.request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


async def taken(visit: Visit, work: Callable[[Iterator[bytes]], T]) -> T:
    """Hand the chunks of the request to `work` in a thread, a few ahead of it at most; once it is its turn."""
    turns: Turns = visit.request.app.state.uploads
    async with turns.of(visit.principal.name):
        return await _taken(visit, work)


async def _taken(visit: Visit, work: Callable[[Iterator[bytes]], T]) -> T:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_CHUNKS)
    is_whole = False

    def chunks() -> Iterator[bytes]:
        while (chunk := asyncio.run_coroutine_threadsafe(queue.get(), loop).result()) is not None:
            yield chunk
        if not is_whole:
            raise InvalidError("The upload broke off", fix="Send it again, whole.")

    writing = loop.run_in_executor(visit.platform.uploads, lambda: work(chunks()))
    try:
        async for chunk in visit.request.stream():
            if chunk and not await _offer(queue, chunk, writing):
                break
        is_whole = True
    except ClientDisconnect as fault:
        raise InvalidError("The upload broke off", fix="Send it again, whole.") from fault
    finally:
        await _offer(queue, None, writing)
        await asyncio.wait([writing])
        writing.exception()  # heard of, also where nobody is left to be told
    return writing.result()


async def _offer(queue: "asyncio.Queue[bytes | None]", chunk: bytes | None, writing: "asyncio.Future[T]") -> bool:
    """Put a chunk, unless the writer has ended; whether it was put."""
    putting = asyncio.ensure_future(queue.put(chunk))
    either: set[asyncio.Future[Any]] = {putting, writing}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if putting.done():
        return True
    putting.cancel()
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request says of the bytes that it wants, in its headers."""

    range: str | None
    if_range: str | None
    if_none_match: str | None


def wanting(range: RangeHeader = None, if_range: RangeHeader = None, if_none_match: IfNoneMatch = None) -> Wanted:
    """What a request says of the bytes that it wants."""
    return Wanted(range=range, if_range=if_range, if_none_match=if_none_match)


def told_only(size: int, if_none_match: str | None, headers: Mapping[str, str]) -> Response:
    """The answer that has a content's length and no bytes of it."""
    if is_known(if_none_match, headers["etag"]):
        return Response(status_code=304, headers=dict(headers))
    told = {**headers, "content-length": str(size)}
    return Response(headers=told, media_type="application/octet-stream")


async def sent(
    open: Callable[[int, int], Iterator[bytes]], size: int, wanted: Wanted, headers: Mapping[str, str]
) -> Response:
    """The answer with a content, or the part of it that is wanted.

    Args:
        open: gives the bytes from one offset to another; it is called in a thread.
        headers: with its `etag`.

    Raises:
        RangeError: as `parse_range`.
        DamagedError: already the first chunk cannot be read.
    """
    if is_known(wanted.if_none_match, headers["etag"]):
        return Response(status_code=304, headers=dict(headers))
    span = parse_range(wanted.range, size) if wanted.if_range in (None, headers["etag"]) else None
    start, stop = span or (0, size)
    chunks = await begun(lambda: open(start, stop))
    told = dict(headers) | {"content-length": str(stop - start)}
    told |= {"content-range": f"bytes {start}-{stop - 1}/{size}"} if span else {}
    status = 206 if span else 200
    return StreamingResponse(chunks, status_code=status, media_type="application/octet-stream", headers=told)


async def begun(open: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """The chunks of a blocking generator, once the first is there: what is wrong with that can still be answered."""

    def work() -> tuple[bytes | None, Iterator[bytes]]:
        stream = open()
        return next(stream, None), stream

    return _steps(*await asyncio.to_thread(work))


async def _steps(first: bytes | None, stream: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each taken in a thread; the generator is closed also when nobody wants the rest."""
    try:
        if first is not None:
            yield first
        while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
            yield chunk
    finally:
        with suppress(ValueError):  # a thread that is still in it ends it
            cast("Generator[bytes, None, None]", stream).close()


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """(start, stop) of a single byte range (RFC 9110, section 14); None: there is none, and all is meant.

    What is malformed, of another unit, ends before it begins or asks for several ranges counts as none.

    Raises:
        RangeError: it lies outside the object.
    """
    found = RANGE.fullmatch(text or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise RangeError(
            f"Range {text!r} lies outside the {size} bytes of the object", fix="Ask for a smaller offset.", size=size
        )
    return start, stop
