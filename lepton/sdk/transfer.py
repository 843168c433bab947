"""Files in bulk between a local folder and a workspace: only what differs, in batches that can be repeated.

Small files go together as tar archives, large ones alone and in ranges. What differs is told by size and time, as rsync
does. An upload of more than one batch is gathered on a draft, a branch named after what is copied where; when it is
whole, it becomes one version of the branch. A copy that was killed finds its draft again, and what a download has
written stays: both go on where they were.
"""

import asyncio
import hashlib
import os
import platform
import tarfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lepton.core.disk import writing_to
from lepton.core.errors import DamagedError, IntegrityError, InvalidError, NotFoundError
from lepton.sdk.arrived import below, draft_of, is_there_already, settle, told_by, unpacked
from lepton.sdk.http import CHUNK_BYTES, Http
from lepton.sdk.lacks import Lacks
from lepton.sdk.landing import is_outlet, landed, pour
from lepton.sdk.leaving import Local, local_files
from lepton.sdk.place import joined, url_of

BATCH_FILES = 1000
BATCH_BYTES = 64 << 20
"""A file that is larger goes alone."""
PLAIN_MODE = 0o644
Progress = Callable[[int, int], None]
"""Told how many bytes are done, of how many."""


def silent(done: int, total: int) -> None:
    """Tell nobody."""


class Transfer:
    """One copy.

    Args:
        again: copy also what is there with the same size and time.
    """

    def __init__(self, http: Http, workspace: str, progress: Progress, *, again: bool = False) -> None:
        self._http, self._workspace, self._progress, self._again_too = http, workspace, progress, again
        self._done = self._total = 0
        self._lacks = Lacks()

    async def upload(self, path: Path, to: str, *, branch: str, message: str) -> str:
        """Copy a file or folder; see `AsyncVault.upload`."""
        files = await asyncio.to_thread(local_files, path, to)
        self._total = sum(file.size_bytes for file in files)
        if path.is_dir():
            return await self._upload_folder(path, files, to, branch=branch, message=message)
        (file,) = files
        found = await self._put_file(file, to, branch=branch, message=message)
        return str(found["version"])

    async def _upload_folder(self, path: Path, files: Sequence[Local], to: str, *, branch: str, message: str) -> str:
        base = await self._standing(branch)
        mark = f"{platform.node()}\0{os.getuid()}\0{path.resolve()}\0{to}\0{branch}".encode()
        ours = f"draft.{hashlib.sha256(mark).hexdigest()[:16]}."
        draft = f"{ours}{base[:16] or 'first'}"
        names = {joined(to, file.name) for file in files}
        is_there = False
        for found in await self._drafts(ours):
            is_there = found == draft and await self._is_of(draft, base, names)
            if not is_there:
                await self._http.delete(f"/vault/branches/{found}", workspace=self._workspace)
        batches = list(_batches([file async for file in self._missing(files, to, draft if is_there else branch)]))
        into = draft if is_there or len(batches) > 1 else branch
        if into == draft and not is_there and base:
            await self._http.put(f"/vault/branches/{draft}", {"ref": branch}, workspace=self._workspace)
        version = ""
        for batch in batches:
            version = await self._put_batch(batch, to, branch=into, message=message)
        if into == draft:
            body = {"into": branch, "ref": draft, "draft": True, "message": message}
            version = (await self._http.post("/vault/merges", body, workspace=self._workspace))["version"]
        return version or base

    async def _standing(self, branch: str) -> str:
        """The version that a branch stands at: who finds it moved begins another draft."""
        try:
            return str((await self._list(branch, "", limit=1))["version"])
        except NotFoundError:
            return ""

    async def _drafts(self, ours: str) -> list[str]:
        """What earlier copies of the same have begun."""
        page = await self._http.get("/vault/branches", after=ours, workspace=self._workspace)
        return [item["name"] for item in page["items"] if item["name"].startswith(ours)]

    async def _is_of(self, draft: str, base: str, names: Collection[str]) -> bool:
        """Whether a draft has changed nothing but files that are still to be copied."""
        after: str | None = ""
        while after is not None:
            query = {"ref": draft, "base": base, "after": after, "workspace": self._workspace}
            page = await self._http.get("/vault/diff", **query)
            if any(item["name"] not in names for item in page["items"]):
                return False
            after = page["next"] if base else None
        return True

    async def _missing(self, files: Sequence[Local], to: str, ref: str) -> AsyncIterator[Local]:
        """Local files that are not there with the same size and time; both sides come by name."""
        theirs, under = self._listed(to, ref), len(to) + 1 if to else 0
        there = await anext(theirs, None)
        for file in files:
            while there is not None and there["name"][under:] < file.name:
                there = await anext(theirs, None)
            is_there = there is not None and there["name"][under:] == file.name
            if is_there and there is not None and _is_like(file, there) and not self._again_too:
                self._step(file.size_bytes)
            else:
                yield file

    async def _put_batch(self, batch: Sequence[Local], to: str, *, branch: str, message: str) -> str:
        if len(batch) == 1:
            name = joined(to, batch[0].name)
            return str((await self._put_file(batch[0], name, branch=branch, message=message))["version"])
        query: dict[str, Any] = {"workspace": self._workspace, "branch": branch, "message": message}
        done, end = self._done, self._done + sum(file.size_bytes for file in batch)
        url = url_of(to, "folders") if to else "/vault/folders/"
        found = await self._http.send(url, lambda: self._again(done, end, _archive(batch)), **query)
        return str(found["version"])

    async def _put_file(self, file: Local, name: str, *, branch: str, message: str) -> dict[str, Any]:
        query: dict[str, Any] = {"workspace": self._workspace, "branch": branch, "message": message}
        facts: dict[str, Any] = {"modified_at": file.modified_at, "mode": file.mode}
        done, end = self._done, self._done + file.size_bytes
        url = url_of(name)
        found: dict[str, Any] = await self._http.send(
            url, lambda: self._again(done, end, _pieces(file)), **query, **facts
        )
        return found

    async def _again(self, done: int, end: int, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces, read in a thread; the count of what is done begins where it was, for each try.

        Args:
            end: where the count is when all are sent; an archive has some bytes more than its files.
        """
        self._done = done
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece
            self._step(min(len(piece), end - self._done))
        self._step(end - self._done)

    async def download(self, name: str, path: Path, *, ref: str) -> int:
        """Copy a file or folder; see `AsyncVault.download`."""
        page = await self._list(ref, name, limit=1, recursive=True) if name else None
        if page is None or page["items"]:
            with writing_to(path):
                await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
            return await self._download_folder(name, path, ref)
        found = await self._http.head(url_of(name), workspace=self._workspace, ref=ref)
        file = told_by(name, found)
        self._total = file["size_bytes"]
        if path.is_dir():
            raise InvalidError(f"{path} is a folder", fix="Name a file.")
        if is_outlet(path):
            url = url_of(name)
            await pour(self._http.stream(url, workspace=self._workspace, ref=ref), path, file)
        else:
            await self._fetch(file, path, ref)
        return 1

    async def _download_folder(self, name: str, path: Path, ref: str) -> int:
        totals = (await self._list(ref, name, recursive=True, limit=1))["totals"]
        self._total, under = totals["size_bytes"], len(name) + 1 if name else 0
        wanted, size = list[dict[str, Any]](), 0
        with self._lacks.telling():
            async for file in self._listed(name, ref):
                target = below(path, file["name"][under:])
                if not self._again_too and await asyncio.to_thread(is_there_already, target, file):
                    self._step(file["size_bytes"])
                    continue
                if file["size_bytes"] > BATCH_BYTES:
                    await self._fetch_or_note(file, target, ref)
                    continue
                wanted.append(file)
                size += file["size_bytes"]
                if len(wanted) == BATCH_FILES or size > BATCH_BYTES:
                    await self._fetch_batch(wanted, path, under, ref)
                    wanted, size = [], 0
            if wanted:
                await self._fetch_batch(wanted, path, under, ref)
        return self._lacks.written

    async def _fetch_or_note(self, file: dict[str, Any], target: Path, ref: str) -> None:
        done = self._done
        with self._lacks.noting(file["name"], target):
            await self._fetch(file, target, ref)
        self._step(done + file["size_bytes"] - self._done)

    async def _fetch_batch(self, files: Sequence[dict[str, Any]], path: Path, under: int, ref: str) -> None:
        """Some files as one archive, which is looked through when it is whole."""
        spool, done = path / f".lepton-{os.getpid()}.part", self._done
        body = {"names": [file["name"] for file in files], "ref": ref, "skip_damaged": True}

        async def once() -> None:
            self._done = done
            with spool.open("wb") as out:
                async for piece in self._http.fetch("/vault/archives", body, workspace=self._workspace):
                    await asyncio.to_thread(out.write, piece)

        try:
            with writing_to(path):
                await self._http.patiently(once)
            for size in await asyncio.to_thread(lambda: list(unpacked(spool, files, path, under, self._lacks))):
                self._step(size)
        finally:
            spool.unlink(missing_ok=True)

    async def _fetch(self, file: dict[str, Any], path: Path, ref: str) -> None:
        """One file; what arrived before the line broke is not fetched again."""
        with writing_to(path):
            target = landed(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                await self._fetch_draft(file, target, ref)
            except (OSError, DamagedError):
                with suppress(OSError):
                    draft_of(target).unlink()
                raise

    async def _fetch_draft(self, file: dict[str, Any], target: Path, ref: str) -> None:
        draft, done = draft_of(target), self._done
        url = url_of(file["name"])

        async def once() -> None:
            size = draft.stat().st_size if draft.exists() else 0
            self._done = done
            self._step(size)
            if size == file["size_bytes"]:
                return
            headers = {"range": f"bytes={size}-", "if-range": f'"{file["sha256"]}"'} if size else {}
            with draft.open("ab") as out:
                async for piece in self._http.stream(url, headers=headers, workspace=self._workspace, ref=ref):
                    await asyncio.to_thread(out.write, piece)
                    self._step(len(piece))

        await self._http.patiently(once)
        with draft.open("rb") as whole:
            seen = await asyncio.to_thread(lambda: hashlib.file_digest(whole, "sha256").hexdigest())
        if seen != file["sha256"]:
            draft.unlink()
            raise IntegrityError(f"{file['name']} arrived damaged", fix="Fetch it again.")
        settle(draft, target, file)

    async def _listed(self, folder: str, ref: str) -> AsyncIterator[dict[str, Any]]:
        after: str | None = ""
        while after is not None:
            page = await self._list(ref, folder, after=after, recursive=True)
            for item in page["items"]:
                yield item
            ref, after = page["version"] or ref, page["next"]

    async def _list(self, ref: str, folder: str, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self._http.get(
            "/vault/files", workspace=self._workspace, ref=ref, folder=folder, **query
        )
        return found

    def _step(self, size: int) -> None:
        self._done += size
        self._progress(self._done, self._total)


def _is_like(file: Local, there: dict[str, Any]) -> bool:
    return (file.size_bytes, file.modified_at) == (there["size_bytes"], there["modified_at"])


def _batches(files: Iterable[Local]) -> Iterator[Sequence[Local]]:
    batch, size = list[Local](), 0
    for file in files:
        if batch and (len(batch) == BATCH_FILES or size + file.size_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size_bytes
    if batch:
        yield batch


def _archive(files: Sequence[Local]) -> Iterator[bytes]:
    """The tar archive of some files, in pieces of about a megabyte."""
    held, size = list[bytes](), 0
    for file in files:
        member = tarfile.TarInfo(file.name)
        member.size, member.mode, member.mtime = file.size_bytes, file.mode, file.modified_at / 1e6
        for piece in (member.tobuf(tarfile.PAX_FORMAT), *_pieces(file), bytes(-file.size_bytes % tarfile.BLOCKSIZE)):
            held.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    yield b"".join([*held, bytes(2 * tarfile.BLOCKSIZE)])


def _pieces(file: Local) -> Iterator[bytes]:
    """Its bytes, as many as it had when it was found.

    Raises:
        InvalidError: it cannot be read, or has become shorter.
    """
    left = file.size_bytes
    try:
        with file.path.open("rb") as source:
            while left and (piece := source.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
                yield piece
    except OSError as fault:
        fix = "Copy again." if isinstance(fault, FileNotFoundError) else "Look at its permissions."
        raise InvalidError(f"{file.path} cannot be read: {fault.strerror}", fix=fix) from fault
    if left:
        raise InvalidError(f"{file.path} became shorter while it was read", fix="Copy again when nobody writes it.")
