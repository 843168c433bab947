"""A folder that keeps what is replaced or deleted in it: what the receiving door (`server.receiving`) writes to.

Each key is a plain file below the root, as in any folder, so that a place in it is read there without a door. What is
written over or deleted takes a second name before: `.kept/KEY/.PUT-GONE`, a hard link. Both times are nanoseconds since
1970 in hexadecimal, by this machine's clock: when it was put, which is the file's own time too, and when something else
came in its place. So

- no writer destroys anything: only `forget` does, of what has been gone since before a time,
- the folder can be read as it was at any time from then on: at a time T a key had the version with PUT <= T < GONE,
- a process that is killed between the two steps leaves the key as it was, and one name too many for the same bytes.

Times of one key only grow, also where the clock was set back. What was a file stays one for as long as that can be
read, and a folder stays a folder: nobody can take a name that is needed to bring back what was there.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from time import time_ns
from typing import NamedTuple

from lepton.core.errors import ConfigError, ConflictError, InvalidError, NotFoundError, StaleError
from lepton.vault.driver import Head, check_key
from lepton.vault.drivers.files import missing, taken
from lepton.vault.drivers.local import PLAINLY, LocalDriver, flush_folder, head_of
from lepton.vault.drivers.walking import Entry, walk

log = logging.getLogger("lepton")
KEPT = ".kept"
MOST_KEY_BYTES = 2048


class Version(NamedTuple):
    """What a key was once; nanoseconds since 1970."""

    put: int
    gone: int
    path: Path


class KeptFolder(LocalDriver):
    """As `LocalDriver`, for one process; nothing is lost by writing or deleting.

    Args:
        root: the folder.
        now_ns: nanoseconds since 1970.
    """

    def __init__(self, root: Path, *, now_ns: Callable[[], int] = time_ns) -> None:
        super().__init__(root, now_ns=now_ns)
        self._tidying = Lock()

    def receive(self, key: str, chunks: Iterable[bytes], *, is_new: bool = False, etag: str | None = None) -> Head:
        """Write the key.

        Args:
            is_new: only where there is none.
            etag: only where it has this one.

        Raises:
            NameTakenError: it is there, and was to be new.
            StaleError: it has another etag, or is gone.
            ConflictError: it lies below what is or was a file, or files lie below it.
        """
        path = self._path(key)
        with self._written(chunks) as new, self._locked(key):
            found = self._etag(key)
            if is_new and found is not None:
                raise taken(key)
            if etag is not None and found != etag:
                raise StaleError(f"{key!r} has changed since it was read", fix="Read it again and repeat the change.")
            return self._take_name(new, path, key)

    def delete(self, key: str) -> None:
        """Remove the key from what is there now; nothing happens if there is none."""
        path = self._path(key)
        with suppress(NotFoundError), self._told(key), self._locked(key):
            head_of(key, path.lstat())
            self._keep(key, path, self._stamp(key, path))
            path.unlink()
            flush_folder(path.parent)

    def open_at(self, key: str, at_ns: int | None) -> tuple[int, Head]:
        """A descriptor of what the key is, or was then, and its size and etag.

        Raises:
            NotFoundError: nothing.
        """
        if at_ns is None:
            return self._opened(key)
        with suppress(NotFoundError):
            handle, head = self._opened(key)
            if os.fstat(handle).st_mtime_ns <= at_ns:
                return handle, head
            os.close(handle)
        for version in self._versions(key):
            if version.put <= at_ns < version.gone:
                with self._told(key):
                    handle = os.open(version.path, PLAINLY)
                    return handle, _dated(key, version, os.fstat(handle).st_size)
        raise missing(key)

    def heads(self, prefix: str = "", *, after: str = "", at_ns: int | None = None) -> Iterator[Head]:
        """All keys that begin with `prefix`, or did then, in order of their text, from the first beyond `after` on."""

        base = prefix[: prefix.rfind("/") + 1]
        if base:
            self._checked(base[:-1])

        def entries(folder: str) -> Iterable[Entry]:
            folder = base + folder
            found = self._entries(folder) if at_ns is None else self._entries_at(folder, at_ns)
            return (entry for entry in found if _may_hold(folder, entry, after))

        for found in walk(entries, prefix.removeprefix(base)):
            if at_ns is not None:
                yield replace(found, key=base + found.key)
                continue
            with suppress(NotFoundError):
                yield self.head(base + found.key)

    def forget(self, before_ns: int) -> int:
        """Remove what has been gone since before a time; how much that was."""
        count = 0
        for folder, _, names in os.walk(self.root / KEPT, topdown=False):
            for name in names:
                version = _read_version(Path(folder, name))
                if version is not None and version.gone < before_ns:
                    version.path.unlink()
                    count += 1
            with self._tidying, suppress(OSError):  # others lie in it
                os.rmdir(folder)
        return count

    def check_disk(self) -> None:
        """Refuse a file system that could not keep the promise.

        Raises:
            ConfigError: it has no hard links, or its times are too coarse.
        """
        stamp = self._now_ns() | 1
        with self._written([b"probe"]) as new:
            other = new.with_name(f"{new.name}-link")
            try:
                os.utime(new, ns=(stamp, stamp))
                os.link(new, other)
                is_kept = other.stat().st_mtime_ns == stamp
            except OSError:
                is_kept = False
            finally:
                other.unlink(missing_ok=True)
        if not is_kept:
            raise ConfigError(
                f"The file system of {self.root} has no hard links, or no times in nanoseconds",
                fix="Give the door a folder on ext4, XFS, Btrfs or ZFS of its own machine.",
            )

    def _take_name(self, new: Path, path: Path, key: str) -> Head:
        """As in any folder, once what is there has its second name."""
        self._check_kind(key, path)
        self._make_folders(path.parent)
        stamp = self._stamp(key, path)
        os.utime(new, ns=(stamp, stamp))
        head = head_of(key, new.stat())
        with suppress(FileNotFoundError):
            self._keep(key, path, stamp)
        new.rename(path)
        flush_folder(path.parent)
        return head

    def _take_new_name(self, new: Path, path: Path, key: str) -> Head:
        if self._etag(key) is not None:
            raise taken(key)
        return self._take_name(new, path, key)

    def _checked(self, key: str) -> str:
        """A key in a place below the root, which is as long as one may be itself."""
        for part in key.split("/"):
            check_key(part)
        if len(key.encode()) > MOST_KEY_BYTES:
            raise InvalidError(f"{key[:80]!r} is too long a name", fix="Use a shorter one.")
        return key

    def _opened(self, key: str) -> tuple[int, Head]:
        with self._told(key):
            handle = self._open(key)
            try:
                return handle, head_of(key, os.fstat(handle))
            except NotFoundError:  # a folder
                os.close(handle)
                raise

    def _etag(self, key: str) -> str | None:
        try:
            return self.head(key).etag
        except NotFoundError:
            return None

    def _check_kind(self, key: str, path: Path) -> None:
        """A file stays a file and a folder a folder, for as long as they can be read.

        What is one now has been no other, so that only of what is gone the past is looked at.
        """
        is_gone = not path.is_file()
        if path.is_dir() or (is_gone and any(name[0] != "." for name in _names(self.root / KEPT / key))):
            raise ConflictError(f"{key!r} is a folder, or was one not long ago", fix="Choose another name.")
        for above in _above(key):
            folder = self.root / above
            if not folder.is_dir() and (folder.is_file() or self._versions(above)):
                raise ConflictError(f"{above!r} is a file, or was one not long ago", fix="Choose another name.")

    def _stamp(self, key: str, path: Path) -> int:
        """A time for what comes now: later than all that the key has been."""
        try:
            latest = path.lstat().st_mtime_ns  # later than all that was before it
        except FileNotFoundError:
            latest = max((version.gone for version in self._versions(key)), default=0)
        return max(self._now_ns(), latest + 1)

    def _keep(self, key: str, path: Path, gone: int) -> None:
        """Give what is there a second name, durably."""
        told = path.lstat()
        if not S_ISREG(told.st_mode):
            raise FileNotFoundError(path)
        folder = self.root / KEPT / key
        with self._tidying:
            self._make_folders(folder)
            with suppress(FileExistsError):  # by one who was killed
                os.link(path, folder / f".{told.st_mtime_ns:x}-{gone:x}", follow_symlinks=False)
        flush_folder(folder)
        log.info("%s: hidden: %s", self.root.name, key)

    def _versions(self, key: str) -> list[Version]:
        folder = self.root / KEPT / key
        found = (_read_version(folder / name) for name in _names(folder) if name[0] == ".")
        return [version for version in found if version is not None]

    def _entries_at(self, folder: str, at_ns: int) -> Iterable[Entry]:
        found = dict[tuple[str, bool], Entry]()
        for entry in self._entries(folder):
            key = folder + entry.name
            if entry.is_folder:
                found[entry.name, True] = entry
                continue
            with suppress(FileNotFoundError):
                told = (self.root / key).lstat()
                if S_ISREG(told.st_mode) and told.st_mtime_ns <= at_ns:
                    found[entry.name, False] = _entry(entry.name, head_of(key, told))
        for name in _names(self.root / KEPT / folder):
            if name[0] == ".":
                continue
            if any(below[0] != "." for below in _names(self.root / KEPT / folder / name)):
                found[name, True] = Entry(name=name, is_folder=True)
            for version in self._versions(folder + name):
                if version.put <= at_ns < version.gone:
                    with suppress(FileNotFoundError):  # forgotten meanwhile
                        size = version.path.stat().st_size
                        found[name, False] = _entry(name, _dated(folder + name, version, size))
        return found.values()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _above(key: str) -> Iterator[str]:
    """The folders that a key lies in."""
    parts = key.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _may_hold(folder: str, entry: Entry, after: str) -> bool:
    """Whether an entry is, or may hold, a key beyond `after`."""
    key = folder + entry.name + "/" * entry.is_folder
    return key > after or (entry.is_folder and after.startswith(key))


def _read_version(path: Path) -> Version | None:
    put, mark, gone = path.name.removeprefix(".").partition("-")
    try:
        return Version(int(put, 16), int(gone, 16), path) if mark else None
    except ValueError:
        return None


def _dated(key: str, version: Version, size_bytes: int) -> Head:
    return Head(key=key, size_bytes=size_bytes, etag=f"{version.put:x}-{size_bytes:x}")


def _entry(name: str, head: Head) -> Entry:
    return Entry(name=name, is_folder=False, size_bytes=head.size_bytes, etag=head.etag)
