"""`/vault/branches`, `/vault/tags`, `/vault/log`, `/vault/diff`: the versions of a workspace's files."""

from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api.door import Visit, WorkerReadingIn, WorkerWritingIn, answer
from lepton.api.files import MAY_BE, FileOut, Folder, ReadAt, StoredOut, author_of, file_out, in_thread, kept
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import BRANCH, Wish
from lepton.core.errors import ConflictError, MergeConflictError, NameTakenError, NotFoundError
from lepton.server.files import At, Files, below
from lepton.vault.store.branches import MAIN, TAGS
from lepton.vault.store.versions import Version, history

router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute, dependencies=[Depends(kept)])
MOST_LISTED = 1000
MOST_WALKED = 10_000
"""Versions that one request looks at for those that changed a file."""
NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}
BranchPath = Annotated[str, Path(min_length=1, max_length=63, pattern=BRANCH)]
Body = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=500)]


class BranchOut(BaseModel):
    """A branch, or a tag, whose name begins with `tags/`."""

    name: str
    version: str
    at: int = Field(description="when that version was made, microseconds since 1970")
    files: int
    size_bytes: int


class BranchPage(BaseModel):
    """Branches and tags by name."""

    items: list[BranchOut]
    next: str | None = Field(description="give it as `after` for the following page; null at the end")


class StandIn(Wish):
    """Where a new branch or tag stands."""

    ref: Annotated[str, MAY_BE] = MAIN


class MergeIn(Wish):
    """What to bring into a branch."""

    into: Body = MAIN
    ref: Annotated[str, MAY_BE]
    take: Literal["", "ours", "theirs"] = Field("", description="whose, where both changed a file; empty: refuse")
    draft: bool = Field(False, description="`ref` is a draft: one version of all it has, and it is deleted")
    message: Text = ""


class RollBackIn(Wish):
    """To which version."""

    ref: Annotated[str, MAY_BE]
    message: Text = ""


class UndeleteIn(Wish):
    """A file to bring back."""

    name: Annotated[str, Field(max_length=1024)]
    branch: Body = MAIN
    message: Text = ""


class VersionLine(BaseModel):
    """A version in a log."""

    version: str
    parents: list[str]
    at: int = Field(description="when it was made, microseconds since 1970")
    by: str
    message: str
    files: int
    size_bytes: int
    let_go: int = Field(description="when retention let go of its files, microseconds since 1970; 0: they are kept")


class LogPage(BaseModel):
    """Versions, newest first."""

    items: list[VersionLine]
    next: str | None = Field(description="give it as `ref` for the following page; null at the end")


class ChangeOut(BaseModel):
    """A file that two versions do not agree on; null: it is not there."""

    name: str
    old: FileOut | None
    new: FileOut | None


class DiffPage(BaseModel):
    """Part of a comparison, by name."""

    old: str
    new: str
    items: list[ChangeOut]
    next: str | None = Field(description="give it as `after` for the following page; null at the end")


@router.get("/branches", response_model=BranchPage)
async def list_branches(
    visit: WorkerReadingIn,
    after: Annotated[str, Query(max_length=70)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> JSONResponse:
    """Branches and tags, with the versions that they stand at."""

    def work(files: Files) -> dict[str, Any]:
        branches = files.domain(visit.workspace).branches
        found = branches.names(after=after, limit=limit + 1)
        items = [_branch_out(name, id, branches.version(id)) for name, id in found[:limit]]
        return {"items": items, "next": found[limit - 1][0] if len(found) > limit else None}

    return answer(await in_thread(visit, work))


@router.put("/branches/{name}", status_code=201, response_model=BranchOut)
@router.put("/tags/{name}", status_code=201, response_model=BranchOut)
@raises(NameTakenError, NotFoundError)
async def make_branch(visit: WorkerWritingIn, name: BranchPath, body: StandIn) -> JSONResponse:
    """Begin a branch, or set a tag, at a version."""

    def work(files: Files) -> dict[str, Any]:
        id = files.version(At(workspace=visit.workspace, ref=body.ref))
        if not id:
            raise NotFoundError(f"There is nothing yet in {body.ref!r}", fix="Store a file first: lepton vault cp")
        branches = files.domain(visit.workspace).branches
        branches.create(_named(visit, name), id, author_of(visit))
        return _branch_out(_named(visit, name), id, branches.version(id))

    return answer(await in_thread(visit, work), status=201)


@router.delete("/branches/{name}", status_code=204, responses=NO_CONTENT)
@router.delete("/tags/{name}", status_code=204, responses=NO_CONTENT)
@raises(ConflictError)
async def delete_branch(visit: WorkerWritingIn, name: BranchPath) -> Response:
    """Delete a branch or tag; it can be brought back."""
    if _named(visit, name) == MAIN:
        raise ConflictError("`main` cannot be deleted", fix="Remove its files: lepton vault rm -r")
    await in_thread(
        visit, lambda files: files.domain(visit.workspace).branches.delete(_named(visit, name), author_of(visit))
    )
    return Response(status_code=204)


@router.post("/branches/{name}/undelete", response_model=StoredOut)
@router.post("/tags/{name}/undelete", response_model=StoredOut)
@raises(ConflictError)
async def undelete_branch(visit: WorkerWritingIn, name: BranchPath) -> JSONResponse:
    """Bring a deleted branch or tag back to where it stood."""

    def work(files: Files) -> dict[str, Any]:
        branches = files.domain(visit.workspace).branches
        return _stored(files, visit, branches.undelete(_named(visit, name), author_of(visit)))

    return answer(await in_thread(visit, work))


@router.post("/branches/{name}/rollback", response_model=StoredOut)
@raises(ConflictError)
async def roll_back(visit: WorkerWritingIn, name: BranchPath, body: RollBackIn) -> JSONResponse:
    """Make a new version of a branch with what an older one held; nothing is lost."""

    def work(files: Files) -> dict[str, Any]:
        branches = files.domain(visit.workspace).branches
        branches.head(name)
        older = files.version(At(workspace=visit.workspace, ref=body.ref))
        return _stored(files, visit, branches.roll_back(name, older, author_of(visit, body.message)))

    return answer(await in_thread(visit, work))


@router.post("/merges", response_model=StoredOut)
@raises(NotFoundError, MergeConflictError, ConflictError)
async def merge(visit: WorkerWritingIn, body: MergeIn) -> JSONResponse:
    """Bring what another version changed, since both were one, into a branch."""

    def work(files: Files) -> dict[str, Any]:
        into, author = At(workspace=visit.workspace, ref=body.into), author_of(visit, body.message)
        if body.draft:
            return _stored(files, visit, files.bring(into, body.ref, author))
        theirs = files.version(At(workspace=visit.workspace, ref=body.ref))
        branches = files.domain(visit.workspace).branches
        return _stored(files, visit, branches.merge(body.into, theirs, author, take=body.take or None))

    return answer(await in_thread(visit, work))


@router.post("/undelete", response_model=StoredOut)
@raises(NotFoundError, ConflictError)
async def undelete_file(visit: WorkerWritingIn, body: UndeleteIn) -> JSONResponse:
    """Give a file's name what it last stood for on a branch."""

    def work(files: Files) -> dict[str, Any]:
        branches = files.domain(visit.workspace).branches
        branches.restore(body.branch, body.name, author_of(visit, body.message))
        return _stored(files, visit, branches.head(body.branch))

    return answer(await in_thread(visit, work))


@router.get("/log", response_model=LogPage)
async def log(
    visit: WorkerReadingIn,
    at: ReadAt,
    name: Annotated[str, Query(max_length=1024, description="only versions that changed this file or folder")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> JSONResponse:
    """A version and all that it was made from, newest first."""

    def work(files: Files) -> dict[str, Any]:
        id = files.version(at)
        if not id:
            return {"items": [], "next": None}
        domain = files.domain(at.workspace)
        found = history(domain.chunks, id)
        if not name:
            lines = list(islice(found, limit + 1))
            gone = domain.branches.let_go([id for id, _ in lines])
            return _log_page([_line(id, version, gone.get(id, 0)) for id, version in lines[:limit]], lines[limit:])
        return _changing(files, at, name.strip("/"), list(islice(found, MOST_WALKED)), limit)

    return answer(await in_thread(visit, work))


def _changing(files: Files, at: At, path: str, walked: list[tuple[bytes, Version]], limit: int) -> dict[str, Any]:
    """Of some versions, as far as they are kept, those that changed a file or folder."""
    lines, gone = [], files.domain(at.workspace).branches.let_go([id for id, _ in walked])
    for number, (id, version) in enumerate(walked):
        if id not in gone and files.has_changed(at.workspace, path, version):
            lines.append(_line(id, version))
        if len(lines) == limit:
            return _log_page(lines, walked[number + 1 : number + 2])
    is_cut = len(walked) == MOST_WALKED and walked[-1][1].parents
    return {"items": lines, "next": walked[-1][1].parents[0].hex() if is_cut else None}


def _log_page(lines: list[dict[str, Any]], rest: list[tuple[bytes, Version]]) -> dict[str, Any]:
    return {"items": lines, "next": rest[0][0].hex() if rest else None}


@router.get("/diff", response_model=DiffPage)
async def diff(
    visit: WorkerReadingIn,
    at: ReadAt,
    base: Annotated[
        str,
        Query(max_length=64, description="what it is compared with; empty: the kept one before"),
    ] = "",
    folder: Folder = "",
    after: Annotated[str, Query(max_length=1025, description="begin behind this name")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
) -> JSONResponse:
    """Where a version differs from another, by name."""

    def work(files: Files) -> dict[str, Any]:
        new = files.version(at)
        old = files.version(At(workspace=visit.workspace, ref=base)) if base else _parent(files, at, new)
        found = list(islice(files.changes(at.workspace, old, new, prefix=below(folder), after=after), limit + 1))
        items = [
            {"name": change.name, "old": _maybe(change.name, change.old), "new": _maybe(change.name, change.new)}
            for change in found[:limit]
        ]
        following = found[limit - 1].name if len(found) > limit else None
        return {"old": old.hex(), "new": new.hex(), "items": items, "next": following}

    return answer(await in_thread(visit, work))


def _named(visit: Visit, name: str) -> str:
    """A branch's name, or a tag's with `tags/` before it, as the route says."""
    return f"{TAGS}{name}" if visit.request.scope["route"].path.startswith("/vault/tags/") else name


def _parent(files: Files, at: At, id: bytes) -> bytes:
    branches = files.domain(at.workspace).branches
    return branches.kept_parent(branches.version(id)) if id else b""


def _maybe(name: str, entry: Any) -> dict[str, Any] | None:
    return file_out(name, entry) if entry else None


def _branch_out(name: str, id: bytes, version: Version) -> dict[str, Any]:
    line = {"name": name, **_line(id, version)}
    return {key: line[key] for key in BranchOut.model_fields}


def _line(id: bytes, version: Version, let_go: int = 0) -> dict[str, Any]:
    return {
        "version": id.hex(),
        "parents": [parent.hex() for parent in version.parents],
        "at": version.at,
        "by": version.by,
        "message": version.message,
        "files": version.entries,
        "size_bytes": version.size_bytes,
        "let_go": let_go,
    }


def _stored(files: Files, visit: Visit, id: bytes) -> dict[str, Any]:
    return {"version": id.hex(), "files": files.domain(visit.workspace).branches.version(id).entries if id else 0}
