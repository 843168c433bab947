"""`/vault/files` and what goes with it: the files of a workspace, in and out, on the branches of its tree."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from lepton.api.copies import Copies
from lepton.api.door import Visit, WorkerReadingIn, WorkerWritingIn, answer, check_known
from lepton.api.match import IfMatch, IfNoneMatch, tags_of
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.streams import RangeError, Wanted, begun, said, sent, taken, told_only, wanting
from lepton.api.wire import ANYTHING, WATCH, Wish
from lepton.core.clock import to_micros
from lepton.core.errors import (
    ConflictError,
    DamagedError,
    LetGoError,
    NotFoundError,
    StaleError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from lepton.server.allowance import StorageQuotaError
from lepton.server.damage import finding
from lepton.server.files import At, Content, Files, How, below
from lepton.server.matching import Match
from lepton.vault.edges import packed, unpacked
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.folders import PLAIN_MODE, mode_of
from lepton.vault.store.pages import Entry
from lepton.vault.store.tree import Tree


@raises(DamagedError, LetGoError)
def kept() -> None:
    """What a request is about lies in the vault: it may be damaged there, or retention may have let go of it."""


router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute, dependencies=[Depends(kept)])
T = TypeVar("T")
MOST_LISTED = 1000
MOST_FETCHED = 1000
MAY_BE = Field(max_length=64, description="a branch, a tag, or at least 8 digits of a version's id")
FilePath = Annotated[str, Path(max_length=1024, description="the file's name, a relative path")]
Folder = Annotated[str, Query(max_length=1024, description="only what lies in this folder")]
Branch = Annotated[str, Query(max_length=64, description="the branch that moves on")]
Message = Annotated[str, Query(max_length=500, description="why, for the log")]
BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
TAR: dict[str, Any] = {
    "requestBody": {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}
}
BYTES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
COPY_IS_TRUE: dict[str, Any] = {"description": "The copy that `If-None-Match` names is whole and true."}


class FileOut(BaseModel):
    """A file, or a folder, whose name ends in `/`."""

    name: str
    size_bytes: int = Field(description="of a folder only where `totals` were asked for")
    sha256: str = Field(description="of its bytes; empty: a folder")
    modified_at: int = Field(description="microseconds since 1970, as its owner said")
    mode: int
    files: int = Field(description="in a folder, where `totals` were asked for")


class TotalsOut(BaseModel):
    """Of all that lies below a folder."""

    files: int
    size_bytes: int


class FilePage(BaseModel):
    """Part of a list of files, by name."""

    version: str = Field(description="whose files they are; empty: there has never been one")
    totals: TotalsOut
    items: list[FileOut]
    next: str | None = Field(description="give it as `after` for the following page; null at the end")


class StoredOut(BaseModel):
    """What a change of files has made."""

    version: str = Field(description="that the branch stands at now")
    files: int = Field(description="how many it was about")


class ListIn(BaseModel):
    """What to list."""

    folder: str = Field("", max_length=1024, description="only what lies in this folder")
    after: str = Field("", max_length=1025, description="begin behind this name")
    limit: int = Field(MOST_LISTED, ge=1, le=MOST_LISTED)
    recursive: bool = Field(False, description="all files below, and no folders")
    totals: bool = Field(False, description="files and bytes of each folder too")


class PutIn(BaseModel):
    """How to store a file."""

    branch: str = Field(MAIN, max_length=64, description="the branch that moves on")
    modified_at: int = Field(0, ge=0, lt=2**62, description="when it was changed, microseconds since 1970; 0: now")
    mode: int = Field(PLAIN_MODE, ge=0, le=0o777, description="its permissions, as a number")
    message: str = Field("", max_length=500, description="why, for the log")
    unpack: Literal["", "gzip", "zstd", "snappy", "lzo"] = Field("", description="how the body is packed")


class NamesIn(Wish):
    """Files to fetch."""

    names: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(min_length=1, max_length=MOST_FETCHED)]
    ref: Annotated[str, MAY_BE] = MAIN
    skip_damaged: bool = Field(False, description="leave out what is damaged; see vault.md")


class CopyIn(Wish):
    """A file or folder to copy or move."""

    name: Annotated[str, Field(max_length=1024)]
    to: Annotated[str, Field(max_length=1024, description="its new name")]
    ref: Annotated[str, MAY_BE] = MAIN
    branch: Annotated[str, Field(max_length=64, description="the branch that moves on")] = MAIN
    source: Annotated[str, Field(max_length=63, description="workspace that it is in; empty: the same")] = ""
    is_move: bool = False
    message: Annotated[str, Field(max_length=500)] = ""
    watch: Annotated[str, Field(pattern=WATCH)] | None = Field(None, description="for `GET /vault/copies/{watch}`")


class ComeOut(BaseModel):
    """How far a copy has come."""

    done_bytes: int
    size_bytes: int = Field(description="0: within a workspace no content moves")


def reading(
    visit: WorkerReadingIn,
    ref: Annotated[str, Query(max_length=64, description="a branch, a tag, or a version's first digits")] = MAIN,
    at: Annotated[int | None, Query(ge=0, lt=2**62, description="where it stood then, microseconds since 1970")] = None,
) -> At:
    """The version that a request is about."""
    return At(workspace=visit.workspace, ref=ref, at=at)


ReadAt = Annotated[At, Depends(reading)]


@router.get("/files", response_model=FilePage)
async def list_files(
    visit: WorkerReadingIn,
    at: ReadAt,
    wanted: Annotated[ListIn, Query()],
) -> JSONResponse:
    """What lies in a folder, by name."""

    def work(files: Files) -> dict[str, Any]:
        version = files.version(at)
        tree = files.domain(at.workspace).branches.tree(version)
        found = list(islice(_listed(tree, wanted), wanted.limit + 1))
        shown = found[: wanted.limit]
        items = [file_out(name, entry, tree if wanted.totals else None) for name, entry in shown]
        files_below, size = tree.totals(below(wanted.folder))
        totals = {"files": files_below, "size_bytes": size}
        following = shown[-1][0] if len(found) > len(shown) else None
        return {"version": version.hex(), "totals": totals, "items": items, "next": following}

    return answer(await in_thread(visit, work))


def _listed(tree: Tree, wanted: ListIn) -> Iterator[tuple[str, Entry | None]]:
    prefix = below(wanted.folder)
    if wanted.recursive:
        return iter(tree.scan(prefix=prefix, start=f"{wanted.after}\0" if wanted.after else ""))
    return tree.folder(prefix, after=wanted.after)


def file_out(name: str, entry: Entry | None, tree: Tree | None = None) -> dict[str, Any]:
    """The JSON of a file or folder; with a tree a folder's totals too."""
    if entry is None:
        files, size = tree.totals(name) if tree else (0, 0)
        return {"name": name, "size_bytes": size, "sha256": "", "modified_at": 0, "mode": 0, "files": files}
    blob = entry.blob
    told = {"name": name, "size_bytes": blob.size_bytes, "sha256": blob.sha256.hex()}
    return {**told, "modified_at": entry.modified_at, "mode": mode_of(entry), "files": 0}


@router.head(
    "/files/{path:path}",
    response_class=Response,
    responses={200: {"description": "It is there.", **BYTES[200]}, 304: COPY_IS_TRUE},
)
async def head_file(visit: WorkerReadingIn, at: ReadAt, path: FilePath, if_none_match: IfNoneMatch = None) -> Response:
    """Whether a file is there, how large it is, and its SHA-256 as its ETag."""
    entry, headers = await _find(visit, at, path)
    return told_only(entry.blob.size_bytes, if_none_match, headers)


@router.get(
    "/files/{path:path}",
    response_class=StreamingResponse,
    responses={
        **BYTES,
        304: COPY_IS_TRUE,
        206: {"description": "The part that `Range` asked for.", "content": {"application/octet-stream": {}}},
    },
)
@raises(RangeError, UnsupportedError)
async def get_file(
    visit: WorkerReadingIn,
    at: ReadAt,
    path: FilePath,
    wanted: Annotated[Wanted, Depends(wanting)],
    pack: Annotated[Literal["gzip", "zstd", "snappy"] | None, Query(description="all of it, packed so")] = None,
) -> Response:
    """The bytes of a file, or the part that `Range` asks for."""
    entry, headers = await _find(visit, at, path)
    if pack:
        whole = visit.platform.files.content(at, path, entry)
        return StreamingResponse(await begun(lambda: packed(pack, whole)), media_type="application/octet-stream")
    files, size = visit.platform.files, entry.blob.size_bytes
    return await sent(lambda a, b: files.content(at, path, entry, start=a, stop=b), size, wanted, headers)


@router.put("/files/{path:path}", status_code=201, response_model=StoredOut, openapi_extra=BODY)
@raises(TooLargeError, ConflictError, StorageQuotaError, UnsupportedError)
async def put_file(
    visit: WorkerWritingIn,
    path: FilePath,
    how: Annotated[PutIn, Query()],
    if_match: IfMatch = None,
    if_none_match: Annotated[str | None, Header(pattern=ANYTHING, description="*: only if it is not there")] = None,
) -> JSONResponse:
    """Store a file: a new version of the branch. Nothing is kept unless all of it arrives."""
    await _known(visit)
    limit = visit.platform.config.max_object_bytes
    match = replace(_match(if_match), is_absent=if_none_match is not None)
    at, author = At(workspace=visit.workspace, ref=how.branch), author_of(visit, how.message)

    def work(pieces: Iterator[bytes]) -> tuple[bytes, Entry]:
        changed = how.modified_at or to_micros(visit.platform.clock.now())
        pieces = unpacked(how.unpack, pieces) if how.unpack else pieces
        size = 0 if how.unpack else said(visit)
        content = Content(pieces=pieces, limit=limit, modified_at=changed, mode=how.mode, size_bytes=size)
        return visit.platform.files.put(at, path, content, author, match=match)

    with moved_is_busy(visit):
        version, entry = await taken(visit, work)
    told = {"version": version.hex(), "files": 1}
    return answer(told, status=201, headers={"etag": f'"{entry.blob.sha256.hex()}"'})


@router.delete("/files/{path:path}", response_model=StoredOut)
@raises(ConflictError)
async def remove_file(
    visit: WorkerWritingIn,
    path: FilePath,
    branch: Branch = MAIN,
    recursive: Annotated[bool, Query(description="also a folder, with all that lies in it")] = False,
    message: Message = "",
    if_match: IfMatch = None,
) -> JSONResponse:
    """Take a file out of a new version of the branch; older versions keep it."""
    match = _match(if_match)
    at, author = At(workspace=visit.workspace, ref=branch), author_of(visit, message)

    def work(files: Files) -> dict[str, Any]:
        gone = files.remove(at, path.strip("/"), author, is_recursive=recursive, match=match)
        return {"version": files.version(at).hex(), "files": gone}

    return answer(await in_thread(visit, work))


@router.put("/folders/{path:path}", status_code=201, response_model=StoredOut, openapi_extra=TAR)
@raises(TooLargeError, ConflictError, StorageQuotaError)
async def put_folder(
    visit: WorkerWritingIn, path: FilePath, branch: Branch = MAIN, message: Message = ""
) -> JSONResponse:
    """Store the files of a tar archive below a folder: one new version of the branch, or nothing."""
    await _known(visit)
    limit = visit.platform.config.max_object_bytes
    at, author = At(workspace=visit.workspace, ref=branch), author_of(visit, message)

    def work(pieces: Iterator[bytes]) -> tuple[bytes, int]:
        content = Content(pieces=pieces, limit=limit, modified_at=0, size_bytes=said(visit))
        return visit.platform.files.put_archive(at, path.strip("/"), content, author)

    with moved_is_busy(visit):
        version, count = await taken(visit, work)
    return answer({"version": version.hex(), "files": count}, status=201)


@router.post(
    "/archives",
    response_class=StreamingResponse,
    responses={200: {"description": "A tar archive of the files.", "content": {"application/x-tar": {}}}},
)
@raises(NotFoundError)
async def fetch_files(visit: WorkerReadingIn, body: NamesIn) -> StreamingResponse:
    """The tar archive of some files, in the order of their names in the request."""
    at = At(workspace=visit.workspace, ref=body.ref)
    stream = await in_thread(visit, lambda files: files.archive(at, body.names, skips=body.skip_damaged))
    return StreamingResponse(await begun(lambda: stream), media_type="application/x-tar")


@router.post("/copies", status_code=201, response_model=StoredOut)
@raises(NotFoundError, ConflictError, StorageQuotaError)
async def copy_files(visit: WorkerWritingIn, body: CopyIn) -> JSONResponse:
    """Copy or move a file or folder on the server, also from another workspace: a new version of the branch."""
    source = body.source or visit.workspace
    if (sees := visit.sees()) is not None and source not in sees:
        raise NotFoundError(f"There is no workspace {source!r}", fix="Ask for the workspaces you are a member of.")
    await visit.peek(lambda tx: check_known(source, tx))
    target = At(workspace=visit.workspace, ref=body.branch)
    author = author_of(visit, body.message)

    def work(files: Files) -> dict[str, Any]:
        place = At(workspace=source, ref=body.ref)
        name, to = body.name.strip("/"), body.to.strip("/")
        done = files.copy(place, name, target, to, author, how=How(is_move=body.is_move, progress=tell))
        return {"version": files.version(target).hex(), "files": done}

    copies: Copies = visit.request.app.state.copies
    with copies.watched(visit.principal.name, body.watch or "") as tell:
        return answer(await in_thread(visit, work), status=201)


@router.get("/copies/{watch}", response_model=ComeOut)
async def watch_copy(visit: WorkerReadingIn, watch: Annotated[str, Path(pattern=WATCH)]) -> JSONResponse:
    """How far a copy of the visitor's own has come that goes on now."""
    copies: Copies = visit.request.app.state.copies
    done, total = copies.come(visit.principal.name, watch)
    return answer({"done_bytes": done, "size_bytes": total})


def _match(if_match: str | None) -> Match:
    if if_match is None or if_match.strip() == "*":
        return Match(is_present=if_match is not None)
    return Match(sha256=tags_of(if_match))


async def _find(visit: Visit, at: At, path: str) -> tuple[Entry, dict[str, str]]:
    entry = await in_thread(visit, lambda files: files.find(at, path))
    tag = entry.blob.sha256.hex()
    told = {"accept-ranges": "bytes", "etag": f'"{tag}"', "x-lepton-modified-at": str(entry.modified_at)}
    told["x-lepton-mode"] = f"{mode_of(entry):o}"
    return entry, told


async def _known(visit: Visit) -> None:
    await visit.peek(lambda tx: check_known(visit.workspace, tx))


async def in_thread(visit: Visit, work: Callable[[Files], T]) -> T:
    """Run `work` in a thread, for a workspace that is there."""
    await _known(visit)
    with moved_is_busy(visit):
        return await asyncio.to_thread(work, visit.platform.files)


@contextmanager
def moved_is_busy(visit: Visit) -> Iterator[None]:
    """To a request that states nothing about what is there, a branch that moved too often is a server that is busy.

    Damage of the tree is told as such.
    """
    try:
        with finding(f"The tree of {visit.workspace}"):
            yield
    except StaleError as fault:
        if {"if-match", "if-none-match"} & set(visit.request.headers):
            raise
        raise UnavailableError(f"{fault}", fix="Try again.") from fault


def author_of(visit: Visit, message: str = "") -> Author:
    """Who makes a version, for its log."""
    return Author(by=visit.principal.name, message=message)
