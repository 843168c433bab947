"""HTTP of the receiving door (`server.receiving`): what the driver `vault.drivers.door` asks it.

    GET    /v1/about                           who one is, for how long what is hidden is kept, how much room there is
    GET    /v1/list?prefix=&after=&limit=      keys in order of their text, at most 1,000 in one answer
    GET    /v1/files/KEY                       all of it or, with `Range: bytes=START-STOP`, a part; HEAD: only its size
    PUT    /v1/files/KEY                       201, once it is on the disk; `If-None-Match: *` and `If-Match` are kept
    DELETE /v1/files/KEY                       204; what was there is hidden

Every request needs `Authorization: Bearer TOKEN`. With `as_of=TIME` in the query (ISO 8601) a GET shows what was there
then, by the door's clock; nothing is written there. Errors have the form of all others.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from io import FileIO
from itertools import islice

from anyio import CapacityLimiter, from_thread, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lepton.api.bodies import IDLE_S, Patience
from lepton.core.clock import read_moment, to_micros
from lepton.core.errors import ConflictError, InvalidError, LeptonError, StaleError
from lepton.server.receiving import Receiver, Writer
from lepton.vault.driver import Head

log = logging.getLogger("lepton")
MOST_LISTED = 1000
PIECE_BYTES = 1 << 20
UPLOADS = 32
"""Bodies that are taken at once, each by a thread; others wait."""
TIDY_EVERY_S = 3600
SKEW_S = 60
"""The clock of who asks for the past may be so far ahead."""
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
Answering = Callable[[Request], Awaitable[Response]]


def make_receiving_app(receiver: Receiver, *, idle_s: float = IDLE_S) -> Starlette:
    """The door of a folder.

    Args:
        idle_s: a sender that is silent for so long is gone.
    """
    door = _Door(receiver, idle_s)
    return Starlette(
        routes=[
            Route("/v1/about", door.about),
            Route("/v1/list", door.list),
            Route("/v1/files/{key:path}", door.read, methods=["GET"]),
            Route("/v1/files/{key:path}", door.put, methods=["PUT"]),
            Route("/v1/files/{key:path}", door.delete, methods=["DELETE"]),
        ],
        exception_handlers={LeptonError: _told, HTTPException: _unknown, ClientDisconnect: _gone},
        lifespan=lambda _: _tidying(receiver),
    )


class _Door:
    def __init__(self, receiver: Receiver, idle_s: float) -> None:
        self._receiver = receiver
        self._idle_s = idle_s
        self._uploads: CapacityLimiter | None = None

    async def about(self, request: Request) -> Response:
        writer = self._writer(request)
        told = {"door": 1, "writer": writer.name, "keep_s": self._receiver.rules.keep_s}
        now = self._receiver.clock.now().isoformat()
        return JSONResponse({**told, "now": now, "free_bytes": self._receiver.free_bytes()})

    async def list(self, request: Request) -> Response:
        writer, asked = self._writer(request), request.query_params
        limit = asked.get("limit", str(MOST_LISTED))
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MOST_LISTED):
            raise InvalidError(f"limit is no number from 1 to {MOST_LISTED}", fix="Leave it out.")
        found = writer.folder.heads(asked.get("prefix", ""), after=asked.get("after", ""), at_ns=self._as_of(request))
        heads = await to_thread.run_sync(lambda: list(islice(found, int(limit) + 1)))
        items = [{"key": head.key, "size_bytes": head.size_bytes, "etag": head.etag} for head in heads[: int(limit)]]
        return JSONResponse({"items": items, "has_more": len(heads) > int(limit)})

    async def read(self, request: Request) -> Response:
        writer, key, at_ns = self._writer(request), request.path_params["key"], self._as_of(request)
        handle, head = await to_thread.run_sync(writer.folder.open_at, key, at_ns)
        file = FileIO(handle)
        try:
            if (wanted := request.headers.get("if-match")) is not None and wanted.strip('"') != head.etag:
                raise StaleError(f"{key!r} has changed since it was read", fix="Read it again.")
            start, stop, is_part = _range(request, head.size_bytes)
        except BaseException:
            file.close()
            raise
        length = max(0, stop - start)
        headers = {"etag": f'"{head.etag}"', "accept-ranges": "bytes", "content-length": str(length)}
        if is_part:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{head.size_bytes}"
        if is_part and start >= head.size_bytes:
            file.close()
            return Response(status_code=416, headers={"content-range": f"bytes */{head.size_bytes}"})
        if request.method == "HEAD":
            file.close()
            return Response(headers=headers)
        body = _pieces(file, start, stop)
        return StreamingResponse(body, 206 if is_part else 200, headers, media_type="application/octet-stream")

    async def put(self, request: Request) -> Response:
        writer, key = self._writer(request), request.path_params["key"]
        _check_present(request)
        length = request.headers.get("content-length", "0")
        self._receiver.check_size(int(length) if length.isdigit() else 0)
        is_new = request.headers.get("if-none-match") == "*"
        etag = request.headers.get("if-match")
        body = _Body(Patience(request.receive, idle_s=self._idle_s))

        def write() -> Head:
            chunks = self._receiver.counted(body)
            return writer.folder.receive(key, chunks, is_new=is_new, etag=None if etag is None else etag.strip('"'))

        self._uploads = self._uploads or CapacityLimiter(UPLOADS)
        head = await to_thread.run_sync(write, limiter=self._uploads)
        told = {"key": key, "size_bytes": head.size_bytes, "etag": head.etag}
        return JSONResponse(told, status_code=201, headers={"etag": f'"{head.etag}"'})

    async def delete(self, request: Request) -> Response:
        writer, key = self._writer(request), request.path_params["key"]
        _check_present(request)
        await to_thread.run_sync(writer.folder.delete, key)
        return Response(status_code=204)

    def _as_of(self, request: Request) -> int | None:
        text = request.query_params.get("as_of")
        if text is None:
            return None
        try:
            wanted = to_micros(read_moment(text))
        except (ValueError, OverflowError):
            raise InvalidError("as_of is no time", fix="Write 2026-01-31T09:30, in UTC; a zone's + as %2B.") from None
        now = self._receiver.clock.now()
        if wanted > to_micros(now) + SKEW_S * 1_000_000:
            raise InvalidError(
                f"as_of is yet to come: it is {now:%Y-%m-%dT%H:%M} UTC here",
                fix="Leave it out to read what is there now.",
            )
        return wanted * 1000

    def _writer(self, request: Request) -> Writer:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return self._receiver.writer_of(token.strip() if kind.lower() == "bearer" else "")


class _Body:
    """A request's body, taken by a thread while the loop waits for its pieces."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        while not self._is_whole:
            yield from_thread.run(self._piece)

    async def _piece(self) -> bytes:
        """About a MiB: each costs two changes of thread."""
        held: list[bytes] = []
        size = 0
        while not self._is_whole and size < PIECE_BYTES:
            message = await self._patience.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            held.append(message.get("body", b""))
            size += len(held[-1])
            self._is_whole = not message.get("more_body")
        return b"".join(held)


def _check_present(request: Request) -> None:
    if "as_of" in request.query_params:
        raise ConflictError("This is the past: nothing is written there", fix="Leave out as_of.")


def _range(request: Request, size_bytes: int) -> tuple[int, int, bool]:
    """Where it begins and ends, and whether a part was asked for."""
    text = request.headers.get("range")
    if text is None:
        return 0, size_bytes, False
    found = RANGE.fullmatch(text)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        raise InvalidError("A range that cannot be read", fix="Send Range: bytes=START-LAST.")
    return int(found[1]), min(size_bytes, int(found[2]) + 1 if found[2] else size_bytes), True


async def _pieces(file: FileIO, start: int, stop: int) -> AsyncIterator[bytes]:
    with file:
        while start < stop:
            piece = await to_thread.run_sync(os.pread, file.fileno(), min(PIECE_BYTES, stop - start), start)
            if not piece:
                return  # it is shorter than the file system said: the answer is cut, which the other side sees
            start += len(piece)
            yield piece


async def _told(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, LeptonError)
    return JSONResponse(fault.to_json(), status_code=fault.status)


async def _unknown(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    code = "method_not_allowed" if fault.status_code == 405 else "not_found"
    told = {"code": code, "message": "The door has no such request", "fix": "See docs/storage.md."}
    return JSONResponse(told, status_code=fault.status_code, headers=fault.headers)


async def _gone(_: Request, fault: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


@asynccontextmanager
async def _tidying(receiver: Receiver) -> AsyncIterator[None]:
    """While the door is open, remove now and then what is kept no longer."""
    task = asyncio.create_task(_tidy_forever(receiver))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tidy_forever(receiver: Receiver) -> None:
    never = asyncio.Event()
    while True:
        try:
            await to_thread.run_sync(receiver.tidy)
        except Exception:
            log.exception("what is kept no longer was not removed")
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), TIDY_EVERY_S)
