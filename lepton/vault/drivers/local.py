"""Files of this machine, or of any mounted file system, as a driver.

A write goes to a hidden temporary file, is flushed to the disk, and takes its name in one rename. Writers of one
key take turns through a lock file, so the compare-and-swap also holds between processes.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import BinaryIO
from uuid import uuid4

from lepton.core.errors import NameTakenError, NotFoundError, StaleError, StorageFullError
from lepton.vault.driver import CHUNK_BYTES, Head, check_key, check_range

FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalDriver:
    """Keeps each key as one file under `root`, which is made if it is missing.

    Args:
        root: the folder; nothing outside is ever read or written, not even through a symbolic link.
        now_ns: nanoseconds since 1970; tells two writes of a key apart.
    """

    def __init__(self, root: Path, *, now_ns: Callable[[], int] = time_ns) -> None:
        self.root = root.resolve()
        self._now_ns = now_ns
        for hidden in (".new", ".locks"):
            (self.root / hidden).mkdir(parents=True, exist_ok=True)

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        """Write the key, replacing what was there."""
        path = self._path(key)
        with self._written(chunks) as new, self._locked(key):
            return self._take_name(new, path, key)

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start` .. `stop` in chunks."""
        check_range(start, stop)
        try:
            file = _open_plain(self._path(key))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise _missing(key) from None
        chunks = _chunks(file, start, stop)
        next(chunks)  # now it is inside its `with`: also if nobody takes a piece, the file is closed
        return chunks

    def head(self, key: str) -> Head:
        """Size and etag of the key."""
        path = self._path(key)
        if not path.is_file() or path.is_symlink():
            raise _missing(key)
        try:
            return _head(key, path.stat())
        except FileNotFoundError:
            raise _missing(key) from None

    def list(self, prefix: str = "") -> Iterator[Head]:
        """All keys that begin with `prefix`."""
        above = prefix.rpartition("/")[0]
        keys = []
        for folder, folders, names in os.walk(self.root / (above and check_key(above))):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(folder).relative_to(self.root).as_posix()
            keys += [name if inside == "." else f"{inside}/{name}" for name in names]
        for key in sorted(key for key in keys if key.startswith(prefix)):
            with suppress(NotFoundError):
                yield self.head(key)

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if there is none."""
        path = self._path(key)
        with self._locked(key), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
            _flush_folder(path.parent)

    def create_if_absent(self, key: str, body: bytes) -> Head:
        """Write a key that does not exist."""
        path = self._path(key)
        with self._written([body]) as new, self._locked(key):
            if path.exists():
                raise NameTakenError(f"{key!r} exists", fix="Read it, or choose another name.")
            return self._take_name(new, path, key)

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        """Write a key that has not changed since its `etag` was read."""
        path = self._path(key)
        with self._written([body]) as new, self._locked(key):
            if not path.is_file() or self.head(key).etag != etag:
                raise StaleError(f"{key!r} has changed since it was read", fix="Read it again and repeat the change.")
            return self._take_name(new, path, key)

    def clear_drafts(self) -> None:
        """Remove what killed writers left half written. Only for a caller who knows that nobody writes now."""
        for draft in (self.root / ".new").iterdir():
            draft.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        """Where the key lies; a link on the way must not lead out of the root."""
        path = self.root / check_key(key)
        if path.parent.resolve().is_relative_to(self.root):
            return path
        raise NotFoundError(f"{key!r} leads out of the vault", fix="Remove the symbolic link.")

    @contextmanager
    def _written(self, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A temporary file with the bytes, flushed to the disk; gone afterwards unless it was renamed."""
        new = self.root / ".new" / uuid4().hex
        try:
            with new.open("xb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            yield new
        except OSError as fault:
            if fault.errno in FULL:
                raise StorageFullError(f"No room under {self.root}", fix="Free some space and try again.") from fault
            raise
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Nobody else writes this key meanwhile (nor the few others that share its lock file)."""
        with (self.root / ".locks" / sha256(key.encode()).hexdigest()[:2]).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _take_name(self, new: Path, path: Path, key: str) -> Head:
        """Rename durably. The time stamp grows with every write, so that no two writes of a key share an etag."""
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = self._now_ns()
        with suppress(FileNotFoundError):
            stamp = max(stamp, path.stat().st_mtime_ns + 1)
        os.utime(new, ns=(stamp, stamp))
        head = _head(key, new.stat())
        new.rename(path)
        _flush_folder(path.parent)
        return head


def _head(key: str, found: os.stat_result) -> Head:
    return Head(key=key, size_bytes=found.st_size, etag=f"{found.st_mtime_ns:x}-{found.st_size:x}")


def _missing(key: str) -> NotFoundError:
    return NotFoundError(f"The vault has no {key!r}", fix="Check the name.")


def _open_plain(path: Path) -> BinaryIO:
    """Open for reading, but not through a link."""
    if path.is_symlink():
        raise FileNotFoundError(path)
    return path.open("rb")


def _chunks(file: BinaryIO, start: int, stop: int | None) -> Iterator[bytes]:
    """Read the range piece by piece, then close the file. The first piece is empty."""
    with file:
        yield b""
        file.seek(start)
        left = stop - start if stop is not None else None
        while chunk := file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)):
            left = None if left is None else left - len(chunk)
            yield chunk


def _flush_folder(folder: Path) -> None:
    """Make a rename or a removal in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
