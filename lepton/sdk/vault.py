"""The files of a workspace, from Python: read, written, copied in bulk, and every version of them.

A *ref* names a version: a branch (`main`), a tag, or the first digits of a version's id. `at` is a time, in
microseconds since 1970: where the branch stood then.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton.core.errors import DamagedError, LeptonError, NotFoundError, UnreachableError
from lepton.sdk.arrived import told_by
from lepton.sdk.http import Http, part
from lepton.sdk.place import MAIN, branch_url, url_of
from lepton.sdk.portal import Blocking, blocking, iterating, paging
from lepton.sdk.transfer import Progress, Transfer, silent

LOOK_S = 0.5
"""How often is asked how far a copy on the server has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A file of a workspace; or a folder, whose name ends in `/`."""

    name: str
    size_bytes: int
    """Of a folder only where totals were asked for."""
    sha256: str
    """Of its bytes; empty: a folder."""
    modified_at: int
    """Microseconds since 1970, as its owner said."""
    mode: int
    files: int
    """In a folder, where totals were asked for."""

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return self.name.endswith("/")


class AsyncVault:
    """The files of a workspace."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def files(
        self, folder: str = "", *, ref: str = MAIN, at: int | None = None, recursive: bool = False, totals: bool = False
    ) -> AsyncIterator[FileInfo]:
        """What lies in a folder, by name; all files below it where `recursive`, and no folders.

        Raises:
            NotFoundError: there is no such version.
        """
        async for page in self._file_pages(folder, ref=ref, at=at, recursive=recursive, totals=totals):
            for file in page:
                yield file

    async def _file_pages(
        self, folder: str = "", *, ref: str = MAIN, at: int | None = None, recursive: bool = False, totals: bool = False
    ) -> AsyncIterator[Sequence[FileInfo]]:
        query = {"folder": folder, "recursive": recursive or None, "totals": totals or None}
        after: str | None = ""
        while after is not None:
            page = await self._get("/vault/files", ref=ref, at=at, after=after, **query)
            yield [FileInfo(**item) for item in page["items"]]
            ref, at, after = page["version"] or ref, None, page["next"]  # all pages are of one version

    async def find(self, name: str, *, ref: str = MAIN, at: int | None = None) -> FileInfo:
        """One file.

        Raises:
            NotFoundError: there is none; the message says if it is a folder.
        """
        head = await self._http.head(url_of(name), workspace=self._workspace, ref=ref, at=at)
        return FileInfo(**told_by(name, head))

    async def read(
        self, name: str, *, ref: str = MAIN, at: int | None = None, start: int = 0, stop: int | None = None
    ) -> bytes:
        """The bytes of a file, or those from `start` to `stop` (exclusive)."""
        return b"".join([piece async for piece in self.stream(name, ref=ref, at=at, start=start, stop=stop)])

    async def stream(
        self, name: str, *, ref: str = MAIN, at: int | None = None, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """The same in pieces, as they come. `packed` gives them packed.

        Raises:
            UnreachableError: the line broke.
            DamagedError: what follows is damaged in the vault.
        """
        if stop is not None and stop <= start:
            return
        headers = {"range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        where: dict[str, Any] = {"workspace": self._workspace, "ref": ref, "at": at}
        seen = 0
        try:
            async for piece in self._http.stream(url_of(name), headers=headers, **where):
                seen += len(piece)
                yield piece
        except UnreachableError as fault:
            raise await self._damage(name, start + seen, where) or fault from fault

    async def packed(self, name: str, kind: str, *, ref: str = MAIN) -> AsyncIterator[bytes]:
        """A whole file in pieces of a stream that is packed: `gzip`, `zstd` or `snappy`.

        Raises:
            UnreachableError: the line broke, or the rest is damaged in the vault.
        """
        async for piece in self._http.stream(url_of(name), workspace=self._workspace, ref=ref, pack=kind):
            yield piece

    async def _damage(self, name: str, at: int, where: dict[str, Any]) -> DamagedError | None:
        """Whether a stream broke as what follows cannot be read."""
        try:
            async for _ in self._http.stream(url_of(name), headers={"range": f"bytes={at}-{at}"}, **where):
                pass
        except DamagedError as fault:
            return fault
        except LeptonError:
            return None
        return None

    async def write(
        self, name: str, data: bytes, *, branch: str = MAIN, message: str = "", if_sha256: str | None = None
    ) -> str:
        """Store a file; return the new version's id.

        Args:
            if_sha256: what it must have now; empty: it must not be there.
        Raises:
            StaleError: it is something else.
        """
        query: dict[str, Any] = {"workspace": self._workspace, "branch": branch, "message": message}
        return str((await self._http.send(url_of(name), data, headers=_matching(if_sha256), **query))["version"])

    async def write_stream(
        self,
        name: str,
        pieces: Iterable[bytes],
        *,
        branch: str = MAIN,
        message: str = "",
        unpack: str = "",
        if_sha256: str | None = None,
    ) -> str:
        """Store a file whose bytes come once, of any size; return the new version's id.

        Args:
            unpack: they are packed so: `gzip`, `zstd`, `snappy` or `lzo`; what they hold is stored.
            if_sha256: as of `write`.

        Raises:
            StaleError: it is something else.
            UnreachableError: the line broke; nothing is stored.
        """
        rest = iter(pieces)

        async def sent() -> AsyncIterator[bytes]:
            while piece := await asyncio.to_thread(next, rest, b""):
                yield piece

        query: dict[str, Any] = {"workspace": self._workspace, "branch": branch, "message": message}
        query |= {"unpack": unpack} if unpack else {}
        headers = _matching(if_sha256)
        return str((await self._http.send(url_of(name), sent, headers=headers, is_once=True, **query))["version"])

    async def upload(
        self,
        path: str | os.PathLike[str],
        to: str,
        *,
        branch: str = MAIN,
        message: str = "",
        again: bool = False,
        progress: Progress = silent,
    ) -> str:
        """Copy a local file, or all that lies in a local folder, to a name; return the version that holds all of it.

        What is there already with the same size and time is not sent again, and a copy that broke off goes on when it
        is begun again. A large one is seen on the branch whole or not at all.

        Args:
            again: send also what is there with the same size and time: where it was damaged it is whole then.

        Raises:
            InvalidError: the path is nothing that can be read; a name that cannot be.
        """
        transfer = Transfer(self._http, self._workspace, progress, again=again)
        return await transfer.upload(Path(path), to.strip("/"), branch=branch, message=message)

    async def download(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        ref: str = MAIN,
        at: int | None = None,
        again: bool = False,
        progress: Progress = silent,
    ) -> int:
        """Copy a file, or all that lies in a folder, to a local path; return how many files were written.

        A file takes its name when it is whole and has its SHA-256; what is there already with the same size and time is
        left alone, so that a copy that broke off goes on when it is begun again.

        Args:
            again: fetch also what is there with the same size and time.

        Raises:
            NotFoundError: there is nothing of that name.
            IntegrityError: bytes arrived that do not match.
            DamagedError: some files are damaged in the vault; all others are there. `details` names them.
        """
        page = await self._get("/vault/files", ref=ref, at=at, limit=1)
        transfer = Transfer(self._http, self._workspace, progress, again=again)
        return await transfer.download(name.strip("/"), Path(path), ref=page["version"] or ref)

    async def remove(
        self, name: str, *, branch: str = MAIN, recursive: bool = False, message: str = ""
    ) -> dict[str, Any]:
        """Take a file (or all in a folder) out of a new version: `{version, files}`; older versions keep it."""
        query = {"branch": branch, "recursive": recursive or None, "message": message}
        found: dict[str, Any] = await self._http.delete(url_of(name), workspace=self._workspace, **query)
        return found

    async def copy(
        self, name: str, to: str, *, ref: str = MAIN, branch: str = MAIN, source: str = "", is_move: bool = False
    ) -> dict[str, Any]:
        """Copy or move a file or folder on the server: `{version, files}`.

        Args:
            source: the workspace that it is in, if not this one.
        """
        body = {"name": name, "to": to, "ref": ref, "branch": branch, "source": source, "is_move": is_move}
        return await self._post("/vault/copies", body)

    async def copy_from(
        self, source: str, name: str, to: str, *, ref: str = MAIN, branch: str = MAIN, progress: Progress = silent
    ) -> dict[str, Any]:
        """As `copy`, from the workspace `source`, whose content is sealed once more; `progress` hears of it."""
        watch = secrets.token_hex(16)
        body = {"name": name, "to": to, "ref": ref, "branch": branch, "source": source, "watch": watch}
        copying = asyncio.ensure_future(self._post("/vault/copies", body))
        try:
            while not (await asyncio.wait([copying], timeout=LOOK_S))[0]:
                with suppress(NotFoundError):  # another server is at it
                    come = await self._get(f"/vault/copies/{watch}")
                    progress(come["done_bytes"], come["size_bytes"])
            return await copying
        finally:
            copying.cancel()

    async def log(self, *, ref: str = MAIN, name: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Versions, newest first: `[{version, parents, at, by, message, files, size_bytes, let_go}]`.

        Args:
            name: only those that changed this file or folder.
        """
        found: list[dict[str, Any]] = (await self._get("/vault/log", ref=ref, name=name, limit=limit))["items"]
        return found

    async def diff(self, base: str = "", *, ref: str = MAIN, folder: str = "") -> AsyncIterator[dict[str, Any]]:
        """Where a version differs from another, by name: `{name, old, new}`, each as of a list, or None.

        Args:
            base: what it is compared with; empty: what it was made from.
        """
        async for page in self._diff_pages(base, ref=ref, folder=folder):
            for item in page:
                yield item

    async def _diff_pages(
        self, base: str = "", *, ref: str = MAIN, folder: str = ""
    ) -> AsyncIterator[Sequence[dict[str, Any]]]:
        after: str | None = ""
        while after is not None:
            page = await self._get("/vault/diff", ref=ref, base=base, folder=folder, after=after)
            yield page["items"]
            ref, base, after = page["new"] or ref, page["old"], page["next"]

    async def branches(self) -> list[dict[str, Any]]:
        """Branches, and tags as `tags/NAME`: `[{name, version, at, files, size_bytes}]`."""
        found = list[dict[str, Any]]()
        after: str | None = ""
        while after is not None:
            page = await self._get("/vault/branches", after=after)
            found += page["items"]
            after = page["next"]
        return found

    async def branch(self, name: str, *, ref: str = MAIN) -> dict[str, Any]:
        """Begin a branch, or with `tags/NAME` set a tag, at a version."""
        found: dict[str, Any] = await self._http.put(branch_url(name), {"ref": ref}, workspace=self._workspace)
        return found

    async def delete_branch(self, name: str) -> None:
        """Delete a branch or tag; `undelete_branch` brings it back."""
        await self._http.delete(branch_url(name), workspace=self._workspace)

    async def undelete_branch(self, name: str) -> dict[str, Any]:
        """Bring a deleted branch or tag back to where it stood."""
        return await self._post(f"{branch_url(name)}/undelete", {})

    async def merge(self, ref: str, *, into: str = MAIN, take: str = "", message: str = "") -> dict[str, Any]:
        """Bring what another version changed into a branch: `{version, files}`.

        Args:
            take: `ours` or `theirs` where both changed a file; empty: that is refused.
        Raises:
            MergeConflictError: both changed a file. Its `details["conflicts"]` has of each `path`, `kind` and the
                SHA-256 of `base`, `ours` and `theirs`.
        """
        return await self._post("/vault/merges", {"ref": ref, "into": into, "take": take, "message": message})

    async def roll_back(self, ref: str, *, branch: str = MAIN, message: str = "") -> dict[str, Any]:
        """Make a new version of a branch with what an older one held; nothing is lost."""
        return await self._post(f"/vault/branches/{part(branch)}/rollback", {"ref": ref, "message": message})

    async def undelete(self, name: str, *, branch: str = MAIN) -> dict[str, Any]:
        """Give a file's name what it last stood for on a branch."""
        return await self._post("/vault/undelete", {"name": name, "branch": branch})

    async def retention(self) -> dict[str, Any]:
        """Which versions are kept, and which are let go of next: `{keep, kept, let_go, versions}`."""
        return await self._get("/vault/retention")

    async def set_retention(self, keep: Mapping[str, int], *, dry_run: bool = False) -> dict[str, Any]:
        """Keep of each branch so many versions, for administrators of the workspace; answers as `retention`.

        Args:
            keep: how many of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`; none: all versions are kept.
            dry_run: change nothing, only say what the rule would let go of.
        """
        body = {**keep, "dry_run": dry_run}
        found: dict[str, Any] = await self._http.put("/vault/retention", body, workspace=self._workspace)
        return found

    async def quota(self) -> dict[str, Any]:
        """What the workspace keeps and may keep: `{stored_bytes, limit_bytes}`; None: no limit."""
        return await self._get("/vault/quota")

    async def set_quota(self, limit_bytes: int | None) -> dict[str, Any]:
        """Limit what the workspace may keep, or (None) no more; for administrators of the platform."""
        body = {"workspace": self._workspace, "limit_bytes": limit_bytes}
        found: dict[str, Any] = await self._http.put("/vault/quota", body)
        return found

    async def _get(self, path: str, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self._http.get(path, workspace=self._workspace, **query)
        return found

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = await self._http.post(path, body, workspace=self._workspace)
        return found


class Vault(Blocking[AsyncVault]):
    """The files of a workspace."""

    files = paging(AsyncVault.files, AsyncVault._file_pages)
    find = blocking(AsyncVault.find)
    read = blocking(AsyncVault.read)
    stream = iterating(AsyncVault.stream)
    packed = iterating(AsyncVault.packed)
    write = blocking(AsyncVault.write)
    write_stream = blocking(AsyncVault.write_stream)
    upload = blocking(AsyncVault.upload)
    download = blocking(AsyncVault.download)
    remove = blocking(AsyncVault.remove)
    copy = blocking(AsyncVault.copy)
    copy_from = blocking(AsyncVault.copy_from)
    log = blocking(AsyncVault.log)
    diff = paging(AsyncVault.diff, AsyncVault._diff_pages)
    branches = blocking(AsyncVault.branches)
    branch = blocking(AsyncVault.branch)
    delete_branch = blocking(AsyncVault.delete_branch)
    undelete_branch = blocking(AsyncVault.undelete_branch)
    merge = blocking(AsyncVault.merge)
    roll_back = blocking(AsyncVault.roll_back)
    undelete = blocking(AsyncVault.undelete)
    retention = blocking(AsyncVault.retention)
    set_retention = blocking(AsyncVault.set_retention)
    quota = blocking(AsyncVault.quota)
    set_quota = blocking(AsyncVault.set_quota)


def _matching(if_sha256: str | None) -> dict[str, str]:
    match = {"if-match": f'"{if_sha256}"'} if if_sha256 else {"if-none-match": "*"}
    return {} if if_sha256 is None else match
