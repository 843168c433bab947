"""`lepton vault mount`: one version of a workspace's files as a folder, read-only, by FUSE.

The version is the one that the address names when it is mounted: whoever reads for hours reads what was there then.
Listings and parts of files are kept for a while, for they cannot change.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from mfusepy import FUSE, FuseOSError, Operations

from lepton.core.errors import LeptonError, UnreachableError
from lepton.sdk.vault import FileInfo, Vault

P = ParamSpec("P")
R = TypeVar("R")
FOLDERS_KEPT = 1024
BLOCK_BYTES = 4 << 20
BLOCKS_KEPT = 16
FOLDER = FileInfo(name="/", size_bytes=0, sha256="", modified_at=0, mode=0o555, files=0)


def _told(call: Callable[P, R]) -> Callable[P, R]:
    """What the server refuses is an error of input and output here."""

    @wraps(call)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except LeptonError as fault:
            raise FuseOSError(errno.EIO) from fault

    return told


class Mounted(Operations):  # type: ignore[misc]  # mfusepy has no types
    """The answers to the kernel. Any thread may ask."""

    use_ns = True

    def __init__(self, vault: Vault, version: str, folder: str) -> None:
        self._vault, self._version, self._under = vault, version, folder
        self._folder = lru_cache(FOLDERS_KEPT)(self._list)
        self._block = lru_cache(BLOCKS_KEPT)(self._read)

    @_told
    def getattr(self, path: str, fh: int | None = None) -> Mapping[str, int]:
        """What is known of a file or folder."""
        file = self._find(path)
        kind = stat.S_IFDIR | 0o555 if file.is_folder else stat.S_IFREG | file.mode & 0o555
        at = file.modified_at * 1000
        owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        times = {"st_mtime": at, "st_ctime": at, "st_atime": at}
        return {"st_mode": kind, "st_nlink": 1, "st_size": file.size_bytes, **owner, **times}

    @_told
    def readdir(self, path: str, fh: int) -> list[str]:
        """Names in a folder."""
        return [".", "..", *self._folder(self._name(path))]

    def open(self, path: str, flags: int) -> int:
        """Refuse to write."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise FuseOSError(errno.EROFS)
        return 0

    @_told
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes of a file."""
        name, parts = self._name(path), []
        end = min(offset + size, self._find(path).size_bytes)
        while offset < end:
            number, start = divmod(offset, BLOCK_BYTES)
            part = self._block(name, number)[start : start + end - offset]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _find(self, path: str) -> FileInfo:
        if path == "/":
            return FOLDER
        above, _, name = path.rpartition("/")
        found = self._folder(self._name(above)).get(name)
        if found is None:
            raise FuseOSError(errno.ENOENT)
        return found

    def _name(self, path: str) -> str:
        return "/".join(filter(None, (self._under, path.strip("/"))))

    def _list(self, folder: str) -> Mapping[str, FileInfo]:
        files = self._vault.files(folder, ref=self._version)
        return {file.name.rstrip("/").rpartition("/")[2]: file for file in files}

    def _read(self, name: str, number: int) -> bytes:
        where = {"start": number * BLOCK_BYTES, "stop": (number + 1) * BLOCK_BYTES}
        try:
            return self._vault.read(name, ref=self._version, **where)
        except UnreachableError:
            self._vault.find(name, ref=self._version)  # waits for the server
            return self._vault.read(name, ref=self._version, **where)


def mount(vault: Vault, version: str, folder: str, target: str) -> None:
    """Mount and serve until it is unmounted.

    Args:
        folder: what of the version is the top; empty: all.

    Raises:
        RuntimeError: the kernel refuses.
    """
    FUSE(Mounted(vault, version, folder), target, foreground=True, ro=True, fsname="lepton", nothreads=False)
