"""Files of this machine, or of any mounted file system, as a driver.

A write goes to a hidden temporary file, is flushed to the disk, and takes its name in one step: `rename`, or `link`
where the name must be new, which any POSIX file system and NFS and SMB servers do at once. Writers of one key take
turns through a lock file (`flock`), so the compare-and-swap holds between processes of one machine. On a mount it holds
between machines only if the mount passes locks on: NFS does (not with `nolock` or `local_lock=flock`), CIFS does (not
with `nobrl`); otherwise each machine has turns of its own, and the commit pointer belongs into Lepton's database.

What a killed writer left in `.new/` is removed when the server starts, or by the first write of a later driver once
it is a day old.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from time import time_ns
from typing import NamedTuple
from uuid import uuid4

from lepton.core.errors import (
    LeptonError,
    NotFoundError,
    StaleError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
)
from lepton.vault.driver import CHUNK_BYTES, AppendOnly, Capabilities, Head, check_key, check_range
from lepton.vault.drivers.files import DRAFT_KEPT_S, missing, taken
from lepton.vault.drivers.walking import Entry, walk

AT_ONCE_BYTES = 8 << 20
"""A range up to that is one piece."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
PLAINLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Open for reading, but not through a link."""
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class _Pin(NamedTuple):
    """What a folder is known by."""

    place: tuple[int, int]
    mark: str
    body: bytes


class LocalDriver:
    """Keeps each key as one file under `root`, which the first write makes if it is missing.

    Args:
        root: the folder; nothing outside is ever read or written, not even through a symbolic link.
        now_ns: nanoseconds since 1970; tells two writes of a key apart.
    """

    capabilities = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)

    def __init__(self, root: Path, *, now_ns: Callable[[], int] = time_ns) -> None:
        self.root = root.resolve()
        self._now_ns = now_ns
        self._has_swept = False
        self._pin: _Pin | None = None

    def __repr__(self) -> str:
        return f"LocalDriver({self.root})"

    def pin(self, mark: str) -> None:
        """From now on read and write only while the folder is the one that it is now, or has the same bytes in `mark`.

        Raises:
            NotFoundError: it has no such file.
        """
        body = b"".join(self.get(mark))
        self._pin = _Pin(_place(self.root), mark, body)

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there."""
        path = self._path(key)
        with self._written(chunks) as new, self._locked(key):
            self._sweep(new)
            return self._take_name(new, path, key)

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start` .. `stop` in chunks."""
        check_range(start, stop)
        with self._told(key):
            handle = self._open(key)
            if stop is not None and stop - start <= AT_ONCE_BYTES:
                return _range(handle, start, stop)
            file = FileIO(key, opener=lambda *_: handle)  # closes it if this is a folder
        chunks = self._chunks(file, key, start, stop)
        next(chunks)  # now it is inside its `with`: also if nobody takes a piece, the file is closed
        return chunks

    def head(self, key: str) -> Head:
        """Size and etag of the key."""
        with self._told(key):
            return head_of(key, self._path(key).lstat())

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`; looks only at the files that it returns."""
        for found in walk(self._entries, prefix):
            with suppress(NotFoundError):
                yield self.head(found.key)

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        path = self._path(key)
        with suppress(NotFoundError), self._told(key), self._locked(key):
            path.unlink()
            flush_folder(path.parent)

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist."""
        path = self._path(key)
        with self._written([body]) as new, self._locked(key):
            return self._take_new_name(new, path, key)

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read."""
        path = self._path(key)
        with self._written([body]) as new, self._locked(key):
            try:
                found = self.head(key).etag
            except NotFoundError:
                found = ""
            if found != etag:
                raise StaleError(f"{key!r} has changed since it was read", fix="Read it again and repeat the change.")
            return self._take_name(new, path, key)

    def drop_folder(self, folder: str) -> None:
        """Remove a folder in which nothing lies but folders."""
        with suppress(OSError, LeptonError):
            for path, _, _ in os.walk(self._path(folder), topdown=False):
                os.rmdir(path)

    def append_only(self) -> AppendOnly:
        """Never: who may write to a folder may also delete in it."""
        return AppendOnly(holds=False, reason="Whoever may write to a folder may also replace and delete there")

    def close(self) -> None:
        """Nothing is held between calls."""

    def clear_drafts(self, *, before_ns: int | None = None) -> None:
        """Remove what killed writers left half written.

        Args:
            before_ns: only what nobody has written to since; None is for a caller who knows that nobody writes now.
        """
        drafts = self.root / ".new"
        for draft in drafts.iterdir() if drafts.is_dir() else ():
            with suppress(FileNotFoundError):
                if before_ns is None or draft.stat().st_mtime_ns < before_ns:
                    draft.unlink()

    def _sweep(self, new: Path) -> None:
        """Clear drafts much older than a new one, once in the life of this driver; it never hinders a write."""
        if not self._has_swept:
            self._has_swept = True
            with suppress(OSError):
                self.clear_drafts(before_ns=new.stat().st_mtime_ns - round(DRAFT_KEPT_S * 1e9))

    def _path(self, key: str) -> Path:
        return Path(self._spot(key))

    def _open(self, key: str) -> int:
        """Open the key for reading; where the system tells that no link was on the way, nothing has to be looked at."""
        self._check_place()
        path = f"{self.root}/{self._checked(key)}"
        handle = os.open(path, PLAINLY)
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{handle}") == path:
                return handle
        os.close(handle)
        return os.open(self._spot(key), PLAINLY)

    def _checked(self, key: str) -> str:
        return check_key(key)

    def _spot(self, key: str) -> str:
        """Where the key lies; a link on the way must not lead out of the root."""
        self._check_place()
        path = f"{self.root}/{self._checked(key)}"
        at = path.find("/", len(str(self.root)) + 1)
        while at > 0 and not os.path.islink(path[:at]):
            at = path.find("/", at + 1)
        if at < 0 or Path(path).parent.resolve().is_relative_to(self.root):
            return path
        raise NotFoundError(f"{key!r} leads out of the vault", fix="Remove the symbolic link.")

    def _check_place(self) -> None:
        """Refuse what has come in the folder's place: a mount point without its mount looks like an empty folder."""
        if self._pin is None or self._pin.place == _place(self.root):
            return
        try:
            is_it = (self.root / self._pin.mark).read_bytes() == self._pin.body
        except OSError:
            is_it = False
        if not is_it:
            raise StorageUnreachableError(
                f"{self.root} is not the folder that it was", fix="Look whether it is mounted."
            )
        self._pin = self._pin._replace(place=_place(self.root))

    def _hidden(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            folder.mkdir(parents=self._pin is None, exist_ok=True)
        return folder

    def _entries(self, folder: str) -> Iterable[Entry]:
        self._check_place()
        try:
            with self._told(folder), os.scandir(self.root / folder) as scan:
                return [
                    Entry(name=entry.name, is_folder=entry.is_dir(follow_symlinks=False))
                    for entry in scan
                    if not entry.is_symlink()
                ]
        except NotFoundError:
            return ()

    @contextmanager
    def _written(self, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A temporary file with the bytes, flushed to the disk; gone afterwards unless it was renamed."""
        new = self.root / ".new" / uuid4().hex
        try:
            self._hidden(".new")
            with new.open("xb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            yield new
        except OSError as fault:
            raise self._failed(fault) from fault
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Nobody else writes this key meanwhile (nor the few others that share its lock file)."""
        with (self._hidden(".locks") / sha256(key.encode()).hexdigest()[:2]).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _take_name(self, new: Path, path: Path, key: str) -> Head:
        """Rename durably. The time stamp grows with every write, so that no two writes of a key share an etag."""
        self._make_folders(path.parent)
        stamp = self._now_ns()
        with suppress(FileNotFoundError):
            stamp = max(stamp, path.stat().st_mtime_ns + 1)
        os.utime(new, ns=(stamp, stamp))
        head = head_of(key, new.stat())
        try:
            new.rename(path)
        except IsADirectoryError as fault:
            raise StorageRefusedError(f"A folder lies at {path}", fix="Look whose it is, and remove it.") from fault
        flush_folder(path.parent)
        return head

    def _take_new_name(self, new: Path, path: Path, key: str) -> Head:
        """As `_take_name` if nothing has that name; by `link`, which says so even where locks do not reach."""
        self._make_folders(path.parent)
        stamp = self._now_ns()
        os.utime(new, ns=(stamp, stamp))
        try:
            os.link(new, path)
        except FileExistsError:
            raise taken(key) from None
        except OSError as fault:
            if fault.errno not in NO_LINKS:
                raise
            if path.exists():
                raise taken(key) from None
            new.rename(path)
        flush_folder(path.parent)
        return head_of(key, path.stat())

    def _make_folders(self, folder: Path) -> None:
        """Make what is missing down to the folder, durably."""
        made = []
        while not folder.is_dir():
            made.append(folder)
            folder = folder.parent
        for new in reversed(made):
            new.mkdir(exist_ok=True)
            flush_folder(new.parent)

    def _chunks(self, file: FileIO, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Read the range piece by piece, then close the file. The first piece is empty."""
        with file:
            yield b""
            file.seek(start)
            left = stop - start if stop is not None else None
            most = CHUNK_BYTES if left is None or left > AT_ONCE_BYTES else AT_ONCE_BYTES
            while left != 0 and (chunk := self._read(file, key, most if left is None else min(most, left))):
                left = None if left is None else left - len(chunk)
                yield chunk

    def _read(self, file: FileIO, key: str, length: int) -> bytes:
        with self._told(key):
            return file.read(length)

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Say the system's errors in our words."""
        try:
            yield
        except ABSENT:
            raise missing(key) from None
        except OSError as fault:
            if fault.errno == errno.ELOOP:
                raise missing(key) from None
            raise self._failed(fault) from fault

    def _failed(self, fault: OSError) -> Exception:
        """What a failure of the system means; one that came with the bytes of a write stays as it is."""
        if fault.errno in FULL:
            return StorageFullError(f"No room under {self.root}", fix="Free some space and try again.")
        if fault.errno in REFUSED and self._is_mine(fault):
            return StorageRefusedError(
                f"{self.root} refuses: {os.strerror(fault.errno or 0)}",
                fix="Look at its owner, and whether it is read-only.",
            )
        if fault.errno in (errno.EIO, errno.ESTALE, errno.EHOSTDOWN, errno.ENOTCONN) and self._is_mine(fault):
            return StorageUnreachableError(f"{self.root}: {os.strerror(fault.errno or 0)}", fix="Look at the mount.")
        return fault

    def _is_mine(self, fault: OSError) -> bool:
        """Whether the failure names a file of this driver, or none."""
        return fault.filename is None or str(fault.filename).startswith(str(self.root))


def _place(folder: Path) -> tuple[int, int]:
    """Device and number of a folder; (0, 0): there is none."""
    try:
        told = folder.stat()
    except OSError:
        return 0, 0
    return told.st_dev, told.st_ino


def open_storage(path: Path) -> LocalDriver:
    """The driver of a folder.

    Raises:
        StorageRefusedError: it is no folder, or not there and cannot be made, or closed to us.
    """
    there = path
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        needed = os.R_OK | os.X_OK if there == path else os.W_OK | os.X_OK
        is_usable = there.is_dir() and os.access(there, needed)
    except OSError:  # a folder above it is closed
        is_usable = False
    if not is_usable:
        raise StorageRefusedError(f"Cannot use {path}: look at {there}", fix="Look at the folder's owner.")
    return LocalDriver(path)


def head_of(key: str, found: os.stat_result) -> Head:
    """What is known of a file; NotFoundError where it is none."""
    if not S_ISREG(found.st_mode):
        raise missing(key)
    return Head(key=key, size_bytes=found.st_size, etag=f"{found.st_mtime_ns:x}-{found.st_size:x}")


def _range(handle: int, start: int, stop: int) -> Iterator[bytes]:
    """A range in one piece, or none where the file ends before it; then the file is closed."""
    try:
        piece = os.pread(handle, stop - start, start)
    finally:
        os.close(handle)
    return iter((piece,) if piece else ())


def flush_folder(folder: Path) -> None:
    """Make a rename or a removal in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
