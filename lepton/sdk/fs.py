"""The vault as a file system of fsspec: pandas, pyarrow, Dask, Ray and others use `lepton://WORKSPACE/PATH`.

    pandas.read_parquet("lepton://lab/set/part-1.parquet")

`lepton://WORKSPACE@REF/PATH` reads another branch, a tag or a version. A file is written when it is closed: a new
version of its branch. What is appended is put behind what the file holds then; nothing of what others write is lost.
Options: `address` (of the server) and `token`, else as `lepton.connect` finds them; `message`
for the log.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from lepton.core.clock import from_micros
from lepton.core.errors import NotFoundError, StaleError
from lepton.sdk.client import connect
from lepton.sdk.http import CHUNK_BYTES
from lepton.sdk.place import SCHEME, VaultPath, parse
from lepton.sdk.vault import FileInfo, Vault

APPENDS = 100
"""How often what others wrote meanwhile is taken up, before an appending is given up."""


class LeptonFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files of all workspaces that the token may see; raises FileNotFoundError where there is nothing."""

    protocol = "lepton"
    root_marker = ""

    def __init__(self, *, address: str = "", token: str = "", message: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._address, self._token, self.message = address, token, message
        self._vaults: dict[str, Vault] = {}

    def vault(self, path: str) -> tuple[Vault, VaultPath]:
        """The files of the workspace that a path names, and the place in it."""
        place = parse(f"{SCHEME}{self._strip_protocol(path)}")
        if place.workspace not in self._vaults:
            self._vaults[place.workspace] = connect(self._address, token=self._token, workspace=place.workspace).vault
        return self._vaults[place.workspace], place

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What lies in a folder, or the file itself; of no path at all, the workspaces."""
        if not self._strip_protocol(path):
            return self._workspaces(detail)
        vault, place = self.vault(path)
        try:
            found = [self._info(place, file) for file in vault.files(place.name, ref=place.ref)]
            if not found and place.name:
                found = [self._info(place, vault.find(place.name, ref=place.ref))]
        except NotFoundError as fault:
            raise FileNotFoundError(str(fault)) from fault
        return found if detail else sorted(info["name"] for info in found)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """What is known of a file or folder."""
        if not self._strip_protocol(path):
            return _folder("")
        vault, place = self.vault(path)
        try:
            if place.name:
                return self._info(place, vault.find(place.name, ref=place.ref))
        except NotFoundError as fault:
            if next(vault.files(place.name, ref=place.ref), None) is None:
                raise FileNotFoundError(str(fault)) from fault
        return _folder(_path(place, place.name))

    def modified(self, path: str) -> datetime:
        """When a file was changed, as its owner said."""
        at: datetime = self.info(path)["modified"]
        return at

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """The bytes of a file, or some of them; negative ones count from its end."""
        vault, place = self.vault(path)
        try:
            if (start or 0) < 0 or (end or 0) < 0:
                size = vault.find(place.name, ref=place.ref).size_bytes
                start = start if start is None or start >= 0 else max(0, size + start)
                end = end if end is None or end >= 0 else size + end
            return vault.read(place.name, ref=place.ref, start=start or 0, stop=end)
        except NotFoundError as fault:
            raise FileNotFoundError(str(fault)) from fault

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Store a file; with mode `create` only if it is not there, else FileExistsError."""
        vault, place = self.vault(path)
        if_sha256 = "" if mode == "create" else None
        with _creating(path, mode == "create"):
            vault.write(place.name, bytes(value), branch=place.ref, message=self.message, if_sha256=if_sha256)

    def put_file(self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **options: Any) -> None:
        """Copy a local file; with mode `create` only if it is not there, else FileExistsError."""
        vault, place = self.vault(rpath)
        if mode == "create":
            with open(lpath, "rb") as source, self.open(rpath, "xb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
            return
        vault.upload(lpath, place.name, branch=place.ref, message=self.message)

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Copy a file on the server."""
        _, source = self.vault(path1)
        vault, target = self.vault(path2)
        vault.copy(source.name, target.name, ref=source.ref, branch=target.ref, source=source.workspace)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Take files or folders out of a new version."""
        for each in path if isinstance(path, list) else [path]:
            vault, place = self.vault(each)
            try:
                vault.remove(place.name, branch=place.ref, recursive=recursive, message=self.message)
            except NotFoundError as fault:
                raise FileNotFoundError(str(fault)) from fault

    def _rm(self, path: str) -> None:
        self.rm(path)

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Nothing: a folder is there when a file is in it."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: a folder is there when a file is in it."""

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, autocommit: bool = True, **options: Any
    ) -> "LeptonFile":
        found = self._standing(path, mode)
        size = found["size"] if found else None
        if mode == "xb" and found:
            raise FileExistsError(f"{path} is there")
        if mode == "ab" and found and found["type"] == "directory":
            raise IsADirectoryError(f"{path} is a folder")
        file = LeptonFile(self, path, mode, block_size or "default", autocommit, size=size, **options)
        if mode == "ab":
            file.loc = size or 0
        return file

    def _standing(self, path: str, mode: str) -> dict[str, Any] | None:
        """What is there, for a mode that asks for it."""
        if mode not in ("rb", "ab", "xb"):
            return None
        try:
            return self.info(path)
        except FileNotFoundError:
            if mode == "rb":
                raise
            return None

    def _workspaces(self, detail: bool) -> list[Any]:
        with connect(self._address, token=self._token) as client:
            names = sorted(str(row["name"]) for row in client.security.workspaces())
        return [_folder(name) for name in names] if detail else names

    def _info(self, place: VaultPath, file: FileInfo) -> dict[str, Any]:
        name = _path(place, file.name.rstrip("/"))
        if file.is_folder:
            return _folder(name)
        at = from_micros(file.modified_at)
        return {"name": name, "size": file.size_bytes, "type": "file", "modified": at, "sha256": file.sha256}


class LeptonFile(AbstractBufferedFile):  # type: ignore[misc]
    """One open file. What is written is gathered beside, and stored when it is closed."""

    fs: LeptonFileSystem
    _spool: IO[bytes]

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)

    def _initiate_upload(self) -> None:
        self._spool = TemporaryFile()  # noqa: SIM115  closed with the upload

    def _upload_chunk(self, final: bool = False) -> bool:
        self._spool.write(self.buffer.getvalue())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Store what was written.

        Raises:
            FileExistsError: it was to be created, and is there.
            StaleError: others change it so often that nothing could be appended.
        """
        with self._spool:
            if self.mode == "ab":
                self._append()
            else:
                with _creating(self.path, self.mode == "xb"):
                    self._store(self._written(), if_sha256="" if self.mode == "xb" else None)

    def discard(self) -> None:
        """Forget what was written."""
        self._spool.close()

    def _append(self) -> None:
        is_empty = not self._spool.tell()
        for last in range(APPENDS, 0, -1):
            sha256, before = self._before()
            if sha256 and is_empty:
                return
            try:
                self._store(chain(before, self._written()), if_sha256=sha256)
                return
            except StaleError:
                if last == 1:
                    raise

    def _before(self) -> tuple[str, Iterator[bytes]]:
        """What the file has now: SHA-256 and bytes; of none nothing."""
        vault, place = self.fs.vault(self.path)
        try:
            sha256 = vault.find(place.name, ref=place.ref).sha256
        except NotFoundError:
            return "", iter(())

        def pieces() -> Iterator[bytes]:
            seen = hashlib.sha256()
            for piece in vault.stream(place.name, ref=place.ref):
                seen.update(piece)
                yield piece
            if seen.hexdigest() != sha256:
                raise StaleError(f"{place.name!r} has changed meanwhile", fix="Append to it again.")

        return sha256, pieces()

    def _store(self, pieces: Iterator[bytes], *, if_sha256: str | None) -> None:
        vault, place = self.fs.vault(self.path)
        vault.write_stream(place.name, pieces, branch=place.ref, message=self.fs.message, if_sha256=if_sha256)

    def _written(self) -> Iterator[bytes]:
        self._spool.seek(0)
        while piece := self._spool.read(CHUNK_BYTES):
            yield piece


@contextmanager
def _creating(path: str, is_new: bool) -> Iterator[None]:
    """Say in the words of Python that what was to be new is there."""
    try:
        yield
    except StaleError as fault:
        raise (FileExistsError(f"{path} is there") if is_new else fault) from fault


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _path(place: VaultPath, name: str) -> str:
    return str(VaultPath(place.workspace, name, place.ref)).removeprefix(SCHEME).rstrip("/")
