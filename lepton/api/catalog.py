"""`/catalog`: versions of artifacts, what they were made from, and the datasets and models they belong to."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from lepton.api.door import (
    IdempotencyKey,
    Reading,
    Visit,
    WorkerReading,
    WorkerReadingIn,
    WorkerWritingIn,
    answer,
    check_known,
)
from lepton.api.jobs import Cursor, Limit, NameFilter, list_resources
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import NAME, Id, LineageOut, Ref, ResourceOut, ResourcePage, VersionIn, VersionOut, VersionPage
from lepton.catalog.lineage import chain
from lepton.catalog.reference import parse
from lepton.core.artifact import ArtifactKind, File, Version, check_path
from lepton.core.errors import (
    ForbiddenError,
    InvalidError,
    NotFoundError,
    StorageRefusedError,
    StorageUnreachableError,
    clip,
)
from lepton.core.ids import NAME as NAME_FORM
from lepton.core.ids import check_name, is_id
from lepton.server.allowance import StorageQuotaError
from lepton.server.intake import publish
from lepton.server.people import DEFAULT_WORKSPACE
from lepton.store import catalog, holdings, resources
from lepton.store.database import Tx
from lepton.vault.objects import Held, Objects

router = APIRouter(prefix="/catalog", tags=["catalog"], route_class=DoorRoute)
PREFERRED = (["model"], ["dataset"], ["raw"])
"""Of which kind a bare name is meant to be, first to last; any other kind comes after these."""
RefPath = Annotated[Ref, Path()]
EPOCH = datetime.fromtimestamp(0, UTC)


@router.post("/versions", status_code=201, response_model=VersionOut)
@raises(ForbiddenError, NotFoundError, StorageUnreachableError, StorageRefusedError, StorageQuotaError)
async def create_version(
    visit: WorkerWritingIn,
    body: VersionIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Make a version of objects that are in the vault."""
    place = visit.workspace
    if visit.principal.job and body.job != visit.principal.job:
        raise ForbiddenError("A job may only publish for itself", fix="Send your own job's id.")
    draft = _draft(body, place)
    await visit.peek(lambda tx: check_known(place, tx))
    held = await visit.read(lambda tx: _held(tx, visit, draft.files))
    await asyncio.to_thread(_check_sizes, visit.platform.objects, draft.files, held)
    absent = await visit.read(lambda tx: holdings.missing(tx, held, workspaces=[place]))
    await asyncio.to_thread(
        visit.platform.sealing.adopt, place, [held[digest] for digest in absent], visit.platform.allowance
    )

    def work(tx: Tx) -> dict[str, Any]:
        check_known(place, tx)
        if body.job:
            visit.find(tx, body.job, "job")
        return VersionOut.of(publish(tx, draft, visit.author(place)))

    return answer(await visit.create(idempotency_key, body, work), status=201)


def _draft(body: VersionIn, workspace: str) -> Version:
    if body.kind != "checkpoint":
        check_name(body.name)
    files = tuple(
        sorted(File(path=check_path(file.path), digest=file.digest, size_bytes=file.size_bytes) for file in body.files)
    )
    if len({file.path for file in files}) != len(files):
        raise InvalidError("Two files have the same path", fix="Give every file a path of its own.")
    return Version(
        id="",
        workspace=workspace,
        kind=body.kind,
        name=body.name,
        number=0,
        digest="",
        size_bytes=0,
        files=files,
        meta=body.meta,
        parents=body.parents,
        job=body.job,
        created_at=EPOCH,
    )


def _held(tx: Tx, visit: Visit, files: Sequence[File]) -> Mapping[str, Held]:
    """Where the objects lie. Those that are not there for the visitor are refused: what others have stored is no
    different from nothing."""
    found = holdings.find(tx, (file.digest for file in files), workspaces=visit.sees())
    for file in files:
        if file.digest not in found:
            raise InvalidError(
                f"{clip(file.path)}: object {file.digest} is not in the vault",
                fix="Store its bytes in the vault first.",
            )
    return found


def _check_sizes(objects: Objects, files: Sequence[File], held: Mapping[str, Held]) -> None:
    for file in files:
        size = objects.size(held[file.digest])
        if size != file.size_bytes:
            raise InvalidError(
                f"{clip(file.path)}: the object has {size} bytes, not {file.size_bytes}", fix="Send the true size."
            )


@router.get("/versions", response_model=VersionPage)
async def list_versions(
    visit: WorkerReadingIn,
    kind: ArtifactKind | None = None,
    name: NameFilter = "",
    job: Id | None = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> JSONResponse:
    """List versions, newest first."""
    where = {"kind": kind or "", "name": name, "job": job or ""}
    found = await visit.read(
        lambda tx: catalog.list_page(tx, visit.workspace, where=where, before=cursor, limit=limit + 1)
    )
    page = found[:limit]
    return answer({"items": [VersionOut.of(row) for row in page], "next": page[-1].id if len(found) > limit else None})


@router.get("/versions/{ref}", response_model=VersionOut)
async def get_version(
    visit: WorkerReading,
    ref: RefPath,
    workspace: Annotated[str, Query(max_length=63, pattern=NAME)] = DEFAULT_WORKSPACE,
    kind: ArtifactKind | None = None,
) -> JSONResponse:
    """One version, by id, `name` (the newest) or `name@number`."""
    place = next(iter(visit.principal.roles)) if visit.principal.job else workspace
    return answer(VersionOut.of(await visit.read(lambda tx: find_version(tx, visit, ref, place, kind or ""))))


def find_version(tx: Tx, visit: Visit, ref: str, workspace: str, kind: str = "") -> Version:
    """A version that the visitor may see.

    Raises:
        NotFoundError: there is none.
    """
    reference = parse(ref)
    place = catalog.get(tx, reference.id).workspace if reference.id else workspace
    if not visit.may_see(place):
        raise NotFoundError(f"There is no version {ref[:80]!r}", fix="List versions with `lepton catalog list`.")
    if kind or reference.id:
        return catalog.find(tx, place, reference, kinds=[kind] if kind else [])
    for preferred in PREFERRED:
        with suppress(NotFoundError):
            return catalog.find(tx, place, reference, kinds=preferred)
    return catalog.find(tx, place, reference)


@router.get("/lineage/{ref}", response_model=LineageOut)
async def lineage(visit: Reading, ref: RefPath) -> JSONResponse:
    """Everything a version or an endpoint was made from, back to the raw files and their hashes."""

    def work(tx: Tx) -> dict[str, Any]:
        subject, start = _subject(tx, visit, ref)
        links = [
            {"role": link.role, "depth": link.depth, "version": VersionOut.of(link.version)}
            for link in chain(start, lambda ids: catalog.many(tx, ids))
        ]
        return {"subject": subject, "links": links}

    return answer(await visit.read(work))


def _subject(tx: Tx, visit: Visit, ref: str) -> tuple[dict[str, Any], Version]:
    """What the lineage is asked of: an endpoint (by name or id) or a version."""
    endpoint = None
    if ref.startswith("ep_") and is_id(ref):
        endpoint = visit.find(tx, ref, "endpoint")
    elif NAME_FORM.fullmatch(ref) and not is_id(ref):
        endpoint = resources.by_name(tx, "endpoint", visit.workspace, ref)
    if endpoint is not None:
        subject = {name: ResourceOut.of(endpoint)[name] for name in ("id", "kind", "name", "state")}
        served = endpoint.spec["endpoint"]
        return subject, catalog.get(tx, served["model"] or served["code"])
    version = find_version(tx, visit, ref, visit.workspace)
    return {"id": version.id, "kind": version.kind, "name": version.name, "state": "ready"}, version


@router.get("/datasets", response_model=ResourcePage)
async def list_datasets(visit: Reading, name: NameFilter = "", limit: Limit = 100, cursor: Cursor = "") -> Response:
    """List datasets, newest first."""
    return await list_resources(visit, "dataset", {"name": name}, limit=limit, cursor=cursor)


@router.get("/models", response_model=ResourcePage)
async def list_models(visit: Reading, name: NameFilter = "", limit: Limit = 100, cursor: Cursor = "") -> Response:
    """List models, newest first."""
    return await list_resources(visit, "model", {"name": name}, limit=limit, cursor=cursor)


@router.get("/runs", response_model=ResourcePage)
async def list_runs(visit: Reading, name: NameFilter = "", limit: Limit = 100, cursor: Cursor = "") -> Response:
    """List runs, newest first: what jobs measured."""
    return await list_resources(visit, "run", {"name": name}, limit=limit, cursor=cursor)
