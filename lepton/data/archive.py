"""Read a zip or tar archive member by member. Nothing is written to disk, and what it unpacks to is limited."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from lepton.core.artifact import check_path
from lepton.core.errors import InvalidError, TooLargeError

OPENERS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)
UNREADABLE_MEMBER = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)
MAX_MEMBER_BYTES = 256 << 20
"""A larger file is not read into memory; it becomes a faulty row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive."""

    name: str
    body: bytes
    fault: str = ""
    """Why the body is not to be used; empty if it is."""


def read_archive(path: Path, *, max_files: int, max_unpacked_bytes: int) -> Iterator[Member]:
    """Every file in the archive, in its order. Folders, links and devices are passed over, as are hidden files.

    Raises:
        InvalidError: it is neither zip nor tar (plain, gzip, bzip2 or xz), or it is damaged.
        TooLargeError: it unpacks to more files or bytes than allowed.
    """
    try:
        members = _zip(path, max_unpacked_bytes) if zipfile.is_zipfile(path) else _tar(path, max_unpacked_bytes)
        for number, member in enumerate(members):
            if number >= max_files:
                raise TooLargeError(
                    f"{path.name} holds more than {max_files} files", fix="Split it, or raise max_files."
                )
            if not _is_hidden(member.name):
                yield _named_safely(member)
    except BROKEN as fault:
        raise InvalidError(
            f"{path.name} cannot be read as a zip or tar archive: {fault}",
            fix="Check that the upload is whole, or pack it again as .zip, .tar, .tar.gz or .tar.xz.",
        ) from fault


def _is_hidden(name: str) -> bool:
    """Whether a file manager left it there, e.g. `__MACOSX/._1.png` or `.DS_Store`."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".")


def _named_safely(member: Member) -> Member:
    """The member under a name that is a relative path; one that is none becomes a fault."""
    try:
        return Member(name=check_path(member.name.removeprefix("./")), body=member.body, fault=member.fault)
    except InvalidError:
        return Member(name=ascii(member.name)[:200], body=b"", fault="its name is not a path inside the archive")


def _zip(path: Path, limit: int) -> Iterator[Member]:
    """Members of a zip; what the directory says of their sizes is not believed."""
    left = limit
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            try:
                with archive.open(info) as file:
                    body, fault = file.read(min(left, MAX_MEMBER_BYTES) + 1), ""
            except UNREADABLE_MEMBER as problem:
                body, fault = b"", f"cannot be unpacked: {problem}"
            left -= len(body)
            if left < 0:
                raise _too_large(path.name, limit)
            yield _sized(Member(name=info.filename, body=body, fault=fault), len(body))


def _tar(path: Path, limit: int) -> Iterator[Member]:
    """Members of a tar, read as one stream that ends at the limit."""
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        opener = next((opener for start, opener in OPENERS.items() if magic.startswith(start)), None)
        unpacked = opener(raw) if opener else raw
        counted = cast(BinaryIO, _Limited(unpacked, limit, path.name))
        with tarfile.open(fileobj=counted, mode="r|", bufsize=1 << 18) as archive:
            for info in archive:
                if info.isreg():
                    file = archive.extractfile(info) if info.size <= MAX_MEMBER_BYTES else None
                    yield _sized(Member(name=info.name, body=file.read() if file else b""), info.size)


def _sized(member: Member, size_bytes: int) -> Member:
    """The member, or a faulty one without its bytes when they are too many."""
    if size_bytes <= MAX_MEMBER_BYTES:
        return member
    return Member(name=member.name, body=b"", fault=f"is larger than {MAX_MEMBER_BYTES} bytes")


class _Limited(io.RawIOBase):
    """A stream that fails once more than `limit` bytes were read from it."""

    def __init__(self, inner: BinaryIO, limit: int, name: str) -> None:
        self._inner, self._limit, self._left, self._name = inner, limit, limit, name

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the inner stream."""
        chunk = self._inner.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(chunk)
        if self._left < 0:
            raise _too_large(self._name, self._limit)
        return chunk


def _too_large(name: str, limit: int) -> TooLargeError:
    return TooLargeError(f"{name} unpacks to more than {limit} bytes", fix="Split it, or raise max_unpacked_bytes.")
