"""A driver over any file server: SMB, NFS, HDFS, SFTP and WebDAV differ only in their `RemoteFiles`.

A write goes to `.new/`, is flushed, and takes its name in one rename. What a killed writer left there is removed by
the first write of a later driver, once it is a day older than that write by the server's own clock.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Protocol, TypeVar
from uuid import uuid4

from lepton.core.errors import (
    LeptonError,
    NameTakenError,
    NotFoundError,
    StaleError,
    StorageUnreachableError,
    UnsupportedError,
)
from lepton.vault.driver import AppendOnly, Capabilities, Head, check_key, check_range
from lepton.vault.drivers.patience import Patience, retried
from lepton.vault.drivers.reading import Opened, open_chunks
from lepton.vault.drivers.walking import Entry, walk
from lepton.vault.drivers.writing import Source

T = TypeVar("T")
DRAFTS = ".new/"
DRAFT_KEPT_S = 86_400.0


class RemoteFiles(Protocol):
    """A file system somewhere else; paths are keys, or hidden, below a root of its own ("" is the root).

    Every method raises the errors of `core.errors` only: NotFoundError, NameTakenError, StorageFullError,
    StorageUnreachableError (after which it connects anew) and StorageRefusedError.
    """

    name: str
    """What to call it in an error: the address, without credentials."""
    capabilities: Capabilities
    patience: Patience

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Make a file that is not there, in a folder that is, and flush it. A failed one may lie there half."""
        ...

    def open(self, path: str, start: int, length: int) -> Opened:
        """Open a file; so many bytes from `start` are wanted first. NotFoundError also for a folder."""
        ...

    def look(self, path: str) -> Entry:
        """What is there, under its last part's name."""
        ...

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in a folder, whose path ends with "/" if it is not the root."""
        ...

    def make_folder(self, path: str) -> None:
        """Make the folder and those above it; nothing happens if it is there."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove a folder that is empty, and that nobody writes to."""
        ...

    def move(self, source: str, target: str, *, replace: bool, turn: object) -> None:
        """Rename in one step. Without `replace` NameTakenError where the target is; with it, it is replaced.

        Where `turn` is no longer held, nothing is moved.
        """
        ...

    def turn(self, path: str) -> AbstractContextManager[object]:
        """Wait until no other writer holds this path's turn."""
        ...

    def close(self) -> None:
        """Give back connections; may be called twice."""
        ...


class FileDriver:
    """A `Driver` over the files of a server."""

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._is_ready = False
        self._has_swept = False

    def __repr__(self) -> str:
        return f"FileDriver({self._files.name})"

    @property
    def capabilities(self) -> Capabilities:
        """What the file server's protocol allows."""
        return self._files.capabilities

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there."""
        with self._draft(key, chunks) as draft:
            self._sweep(draft.modified_s)
            with self._turn(key) as turn:
                return draft.take_name(replace=True, turn=turn)

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start` .. `stop` in chunks."""
        check_range(start, stop)
        check_key(key)
        return open_chunks(lambda at, length: self._files.open(key, at, length), start, stop, self._files.patience)

    def head(self, key: str) -> Head:
        """Size and etag of the key."""
        check_key(key)
        return self._retried(lambda: _head(self._files, key))

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`."""
        return walk(self._entries, prefix)

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        check_key(key)
        self._retried(lambda: self._remove(key))

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist."""
        _demand(self.capabilities.create_if_absent, self._files.name, "create a key only if it is absent")
        with self._draft(key, [body]) as draft, self._turn(key) as turn:
            return draft.take_name(replace=False, turn=turn)

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read."""
        _demand(self.capabilities.replace_if_match, self._files.name, "replace a key only if it is unchanged")
        with self._draft(key, [body]) as draft, self._turn(key) as turn:
            try:
                found = _head(self._files, key).etag
            except NotFoundError:
                found = ""
            if found != etag:
                raise StaleError(f"{key!r} has changed since it was read", fix="Read it again and repeat the change.")
            return draft.take_name(replace=True, turn=turn)

    def drop_folder(self, folder: str) -> None:
        """Remove a folder in which nothing lies but folders."""
        with suppress(LeptonError):
            for entry in list(self._files.entries(f"{check_key(folder)}/")):
                if entry.is_folder:
                    self.drop_folder(f"{folder}/{entry.name}")
            self._files.remove_folder(folder)

    def append_only(self) -> AppendOnly:
        """Never: a file server lets its writer delete."""
        return AppendOnly(holds=False, reason="A file server lets whoever may write also replace and delete")

    def close(self) -> None:
        """Give back connections."""
        self._files.close()

    def clear_drafts(self, *, before_s: float) -> None:
        """Remove what killed writers left half written before this second of the server's clock."""
        with suppress(NotFoundError):
            for entry in list(self._files.entries(DRAFTS)):
                if entry.modified_s < before_s:
                    with suppress(NotFoundError):
                        self._files.remove(DRAFTS + entry.name)

    def _draft(self, key: str, chunks: Iterable[bytes]) -> "_Draft":
        check_key(key)
        if not self._is_ready:
            self._retried(lambda: self._files.make_folder(DRAFTS.rstrip("/")))
            self._is_ready = True
        return _Draft(self._files, key, chunks)

    def _sweep(self, now_s: float) -> None:
        """Clear old drafts once in the life of this driver; it never hinders a write."""
        if self._has_swept:
            return
        self._has_swept = True
        with suppress(LeptonError):
            self.clear_drafts(before_s=now_s - DRAFT_KEPT_S)

    def _turn(self, key: str) -> AbstractContextManager[object]:
        """Only where turns make compare-and-swap true are they worth their time."""
        return self._files.turn(key) if self.capabilities.replace_if_match else nullcontext()

    def _entries(self, folder: str) -> Iterable[Entry]:
        try:
            return self._retried(lambda: list(self._files.entries(folder)))
        except NotFoundError:
            return ()

    def _remove(self, key: str) -> None:
        with suppress(NotFoundError), self._turn(key):
            if not self._files.look(key).is_folder:
                self._files.remove(key)

    def _retried(self, call: Callable[[], T]) -> T:
        return retried(call, self._files.patience)


class _Draft:
    """A hidden file with the bytes; gone at the end of the block unless it took its name."""

    def __init__(self, files: RemoteFiles, key: str, chunks: Iterable[bytes]) -> None:
        self._files = files
        self._key = key
        self._chunks = chunks
        self._path = f"{DRAFTS}{uuid4().hex}"

    def __enter__(self) -> "_Draft":
        try:
            self._write()
            entry = retried(lambda: self._files.look(self._path), self._files.patience)
        except BaseException:
            self.__exit__()
            raise
        self.modified_s = entry.modified_s
        self._head = Head(key=self._key, size_bytes=entry.size_bytes, etag=entry.etag)
        return self

    def __exit__(self, *fault: object) -> None:
        if self._path:
            with suppress(LeptonError):
                self._files.remove(self._path)

    def take_name(self, *, replace: bool, turn: object) -> Head:
        """Rename; the folder is made when it turns out to be missing."""
        try:
            self._files.move(self._path, self._key, replace=replace, turn=turn)
        except NotFoundError:
            self._files.make_folder(self._key.rpartition("/")[0])
            self._files.move(self._path, self._key, replace=replace, turn=turn)
        self._path = ""
        return self._head

    def _write(self) -> None:
        source = Source(self._chunks)
        try:
            self._files.write(self._path, source)
        except Exception:
            if source.fault is not None:
                raise source.fault from None
            raise


def _head(files: RemoteFiles, key: str) -> Head:
    entry = files.look(key)
    if entry.is_folder:
        raise missing(key)
    return Head(key=key, size_bytes=entry.size_bytes, etag=entry.etag)


def _demand(is_able: bool, name: str, what: str) -> None:
    if not is_able:
        raise UnsupportedError(f"{name} cannot {what}", fix="Keep what must not be lost in Lepton's database.")


def missing(key: str) -> NotFoundError:
    """No such key."""
    return NotFoundError(f"{key!r} is not there", fix="Check the name.")


def taken(key: str) -> NameTakenError:
    """The key is there already."""
    return NameTakenError(f"{key!r} exists", fix="Read it, or choose another name.")


def unreachable(name: str, what: object) -> StorageUnreachableError:
    """The storage does not answer."""
    return StorageUnreachableError(f"{name} does not answer: {what}", fix="Check the address and the network.")
