"""`/vault`: bytes under their hash, in and out."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from lepton.api.door import Visit, WorkerReadingAnywhere, WorkerWritingIn, answer, check_known
from lepton.api.match import IfNoneMatch
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.streams import RangeError, Wanted, said, sent, taken, told_only, wanting
from lepton.api.wire import Digest
from lepton.core.errors import DamagedError, IntegrityError, NotFoundError, TooLargeError
from lepton.server.allowance import StorageQuotaError
from lepton.server.damage import named
from lepton.store import holdings
from lepton.vault.objects import Held, Stored

router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute)
DigestPath = Annotated[Digest, Path(description="SHA-256 of the bytes, hexadecimal")]


@router.put(
    "/objects/{digest}",
    status_code=201,
    responses={200: {"description": "The object was stored before."}, 201: {"description": "Stored."}},
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
@raises(TooLargeError, IntegrityError, StorageQuotaError)
async def put(visit: WorkerWritingIn, digest: DigestPath) -> JSONResponse:
    """Store bytes under their SHA-256 for a workspace; nothing is kept unless they match it.

    An object that is stored already is read beside what comes in, and made whole where it is damaged.
    """
    place = visit.workspace
    await visit.peek(lambda tx: check_known(place, tx))
    limit = visit.platform.config.max_object_bytes
    if said(visit) > limit:
        raise TooLargeError(f"The object is over {limit} bytes", fix="Split it, or raise max_object_bytes.")
    known = (await visit.peek(lambda tx: holdings.find(tx, [digest], workspaces=[place]))).get(digest)
    # `known` here: whether another workspace has the same bytes is nobody's business. What is known is stored all the
    # same: whoever sends other bytes than it names must learn it, and what is damaged where it lies is whole again.
    sealing, allowance = visit.platform.sealing, visit.platform.allowance

    def work(pieces: Iterator[bytes]) -> Stored:
        if known is None:
            with allowance.bringing(place, sealing.domain(place).chunks, said(visit)) as coming:
                bounded = coming.bounded(pieces, limit=limit)
                return sealing.put(place, bounded, digest, limit=limit, begins=coming.begin)
        most = visit.platform.objects.size(known) if known.domain else limit
        return sealing.put(place, pieces, digest, limit=most, doubts=True)

    stored = await taken(visit, work)
    await visit.write(lambda tx: holdings.keep(tx, place, stored))
    return answer({"digest": digest, "is_new": known is None}, status=201 if known is None else 200)


@router.head(
    "/objects/{digest}",
    response_class=Response,
    responses={
        200: {"description": "It is stored.", "content": {"application/octet-stream": {}}},
        304: {"description": "The copy that `If-None-Match` names is whole and true."},
    },
)
@raises(DamagedError)
async def head(
    visit: WorkerReadingAnywhere,
    digest: DigestPath,
    prove: Annotated[bool, Query(description="read it whole: whether it can be")] = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Whether an object is stored where the visitor may look, and how large it is."""
    held, size, headers = await _find(visit, digest)
    if prove:
        pieces = named(f"Object {digest}", visit.platform.objects.open(held))
        await asyncio.to_thread(lambda: deque(pieces, maxlen=0))
    return told_only(size, if_none_match, headers)


@router.get(
    "/objects/{digest}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        304: {"description": "The copy that `If-None-Match` names is whole and true."},
        206: {"description": "The part that `Range` asked for.", "content": {"application/octet-stream": {}}},
    },
)
@raises(RangeError, DamagedError)
async def get(
    visit: WorkerReadingAnywhere,
    digest: DigestPath,
    wanted: Annotated[Wanted, Depends(wanting)],
) -> Response:
    """The bytes of an object that a workspace of the visitor's holds, or the part that `Range` asks for."""
    held, size, headers = await _find(visit, digest)
    what, objects = f"Object {digest}", visit.platform.objects
    return await sent(lambda a, b: named(what, objects.open(held, start=a, stop=b)), size, wanted, headers)


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
