"""`/vault`: bytes under their hash, in and out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from lepton.api.door import Visit, WorkerReadingAnywhere, WorkerWritingIn, answer, check_known
from lepton.api.match import IfNoneMatch, is_known
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import Digest
from lepton.core.errors import IntegrityError, InvalidError, LeptonError, NotFoundError, TooLargeError
from lepton.store import holdings
from lepton.vault.objects import Held, check_stream

router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute)
DigestPath = Annotated[Digest, Path(description="SHA-256 of the bytes, hexadecimal")]
QUEUE_CHUNKS = 16
T = TypeVar("T")


class RangeError(LeptonError):
    """The range lies outside the object."""

    code, status = "range", 416

    def __init__(self, message: str, *, fix: str = "", size: int = 0) -> None:
        super().__init__(message, fix=fix)
        self.headers = {"content-range": f"bytes */{size}"}


@router.put(
    "/objects/{digest}",
    status_code=201,
    responses={200: {"description": "The object was stored before."}, 201: {"description": "Stored."}},
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
@raises(TooLargeError, IntegrityError)
async def put(visit: WorkerWritingIn, digest: DigestPath) -> JSONResponse:
    """Store bytes under their SHA-256 for a workspace; nothing is kept unless they match it."""
    place = visit.workspace
    await visit.peek(lambda tx: check_known(place, tx))
    limit = visit.platform.config.max_object_bytes
    length = visit.request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLargeError(f"The object is over {limit} bytes", fix="Split it, or raise max_object_bytes.")
    is_new = bool(await visit.peek(lambda tx: holdings.missing(tx, [digest], workspaces=[place])))
    if is_new:  # here: whether another workspace has the same bytes is nobody's business
        sealing = visit.platform.sealing
        stored = await _taken(visit, lambda pieces: sealing.put(place, pieces, digest, limit=limit))
        await visit.write(lambda tx: holdings.keep(tx, place, stored))
    else:  # whoever sends other bytes than it names must learn it even now
        await _taken(visit, lambda pieces: check_stream(pieces, digest, limit=limit))
    return answer({"digest": digest, "is_new": is_new}, status=201 if is_new else 200)


async def _taken(visit: Visit, work: Callable[[Iterator[bytes]], T]) -> T:
    """Hand the chunks of the request to `work` in a thread, never more than a few ahead of it."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_CHUNKS)

    def chunks() -> Iterator[bytes]:
        while (chunk := asyncio.run_coroutine_threadsafe(queue.get(), loop).result()) is not None:
            yield chunk

    writing = loop.run_in_executor(visit.platform.uploads, lambda: work(chunks()))
    try:
        async for chunk in visit.request.stream():
            if chunk and not await _offer(queue, chunk, writing):
                break
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


@router.head(
    "/objects/{digest}",
    response_class=Response,
    responses={
        200: {"description": "It is stored.", "content": {"application/octet-stream": {}}},
        304: {"description": "The copy that `If-None-Match` names is whole and true."},
    },
)
async def head(visit: WorkerReadingAnywhere, digest: DigestPath, if_none_match: IfNoneMatch = None) -> Response:
    """Whether an object is stored where the visitor may look, and how large it is."""
    _, size, headers = await _find(visit, digest)
    if is_known(if_none_match, headers["etag"]):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(size)
    return Response(headers=headers, media_type="application/octet-stream")


@router.get(
    "/objects/{digest}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        304: {"description": "The copy that `If-None-Match` names is whole and true."},
        206: {"description": "The part that `Range` asked for.", "content": {"application/octet-stream": {}}},
    },
)
@raises(RangeError, IntegrityError)
async def get(
    visit: WorkerReadingAnywhere,
    digest: DigestPath,
    range: Annotated[str | None, Header(max_length=100)] = None,
    if_range: Annotated[str | None, Header(max_length=100)] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The bytes of an object that a workspace of the visitor's holds, or the part that `Range` asks for."""
    held, size, headers = await _find(visit, digest)
    if is_known(if_none_match, headers["etag"]):
        return Response(status_code=304, headers=headers)
    objects = visit.platform.objects
    span = parse_range(range, size) if if_range in (None, headers["etag"]) else None
    if span is None:
        stream = await asyncio.to_thread(objects.open, held)
        headers["content-length"] = str(size)
        return StreamingResponse(_steps(stream), media_type="application/octet-stream", headers=headers)
    start, stop = span
    stream = await asyncio.to_thread(lambda: objects.open(held, start=start, stop=stop))
    headers |= {"content-length": str(stop - start), "content-range": f"bytes {start}-{stop - 1}/{size}"}
    return StreamingResponse(_steps(stream), status_code=206, media_type="application/octet-stream", headers=headers)


async def _find(visit: Visit, digest: str) -> tuple[Held, int, dict[str, str]]:
    """Where an object lies that a workspace of the visitor's holds, its bytes, and the answer's headers.

    Raises:
        NotFoundError: none does; whether others have it is not told.
    """
    held = (await visit.peek(lambda tx: holdings.find(tx, [digest], workspaces=visit.sees()))).get(digest)
    if held is None:
        raise NotFoundError(f"There is no object {digest}", fix="Store it, or ask for a version that holds it.")
    size = await asyncio.to_thread(visit.platform.objects.size, held)
    return held, size, {"accept-ranges": "bytes", "etag": f'"{digest}"'}


async def _steps(stream: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a blocking generator, each taken in a thread; it is closed also when nobody wants the rest."""
    try:
        while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
            yield chunk
    finally:
        with suppress(ValueError):  # a thread that is still in it ends it
            cast("Generator[bytes, None, None]", stream).close()


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """(start, stop) of a single byte range (RFC 9110, section 14); None if there is none.

    Raises:
        InvalidError: it is malformed, or asks for several ranges.
        RangeError: it lies outside the object.
    """
    if not text:
        return None
    unit, _, span = text.partition("=")
    first, dash, last = span.strip().partition("-")
    numbers = [part for part in (first, last) if part]
    if (
        unit.strip() != "bytes"
        or not dash
        or not numbers
        or not all(part.isascii() and part.isdigit() for part in numbers)
    ):
        raise InvalidError(f"Range {text!r} cannot be read", fix="Use bytes=FIRST-LAST.")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise RangeError(
            f"Range {text!r} lies outside the {size} bytes of the object", fix="Ask for a smaller offset.", size=size
        )
    return start, stop
