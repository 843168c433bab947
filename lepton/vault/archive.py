"""Many files as one stream: tar archives into entries of a tree, and back, with flat memory.

Tar because every machine has it: `tar c . | curl -T - ...` stores a folder, `tar x` takes what comes out. Times are
kept to the microsecond, permissions as they are; owners, links and devices are not.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import BinaryIO, Self, cast

from lepton.core.errors import DamagedError, IntegrityError, InvalidError, TooLargeError
from lepton.core.filename import DRAFT
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read_all, write
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.codecs import Octets
from lepton.vault.store.cutting import Cutter
from lepton.vault.store.folders import facts_of, mode_of
from lepton.vault.store.pages import Entry, check_name

MOST_MEMBERS = 100_000
"""Of one archive: its entries are held in memory until they are committed."""
BLOCK = tarfile.BLOCKSIZE
BUFFER_BYTES = 32 << 10
"""`tarfile` copies what is left of its buffer with each header that it reads."""
MOST_HEADER_BYTES = 1 << 20
NAME_BYTES = 100
"""Of the name in a header, padded with NULs."""
HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""Kinds of members that say something of others, and are read whole."""
LATEST_S = 1e11
"""Seconds from 1970, either way."""
END = bytes(2 * BLOCK)
DAMAGED = f"{DRAFT}/damaged"
"""A member, called as no file can be, that names what is not there because it is damaged: `{name: why}` in JSON."""
HELD_BYTES = 4 << 20
"""Up to this size a file is read once and held, so that it is whole before its header goes; else it is read twice."""


def read_archive(batch: Batch, cutter: Cutter, pieces: Iterable[bytes]) -> Iterator[tuple[str, Entry]]:
    """Keep the files of an archive; give each name with its entry. Durable once the batch has finished.

    Folders leave no trace; `./` before a name is left out.

    Raises:
        InvalidError: it is no whole tar archive, or has something that is neither a file nor a folder.
        TooLargeError: it has more than `MOST_MEMBERS` files.
    """
    source = _Source(pieces)
    try:
        with tarfile.open(
            fileobj=cast("BinaryIO", source), mode="r|", bufsize=BUFFER_BYTES, tarinfo=_Guarded
        ) as archive:
            for number, member in enumerate(iter(archive.next, None)):
                if member.isdir():
                    continue
                yield _name(member), _stored(batch, cutter, archive, member)
                vars(archive)["members"].clear()  # it would remember all of them
                if number >= MOST_MEMBERS:
                    raise TooLargeError(f"An archive has at most {MOST_MEMBERS} files", fix="Send several.")
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as fault:
        raise InvalidError(f"This is no whole tar archive: {fault}", fix="Send what `tar c` makes.") from fault
    source.drain()


def write_archive(chunks: Chunks, entries: Iterable[tuple[str, Entry]], *, skips: bool = False) -> Iterator[Octets]:
    """The bytes of an archive of entries.

    Args:
        skips: leave files out that are damaged, and name them in a last member, `DAMAGED`.

    Raises:
        DamagedError: the next file cannot be read, unless such are left out; nothing of it was given.
    """
    damaged = dict[str, str]()
    for name, entry in entries:
        try:
            content = _whole(chunks, entry)
        except IntegrityError as fault:
            if not skips:
                raise DamagedError(f"{name!r} cannot be read whole: {fault.message}", fix=fault.fix) from fault
            damaged[name] = fault.message
            continue
        yield _header(name, entry)
        yield from read_all(chunks, [entry.blob]) if content is None else content
        yield bytes(-entry.blob.size_bytes % BLOCK)
    if damaged:
        yield _plain(DAMAGED, json.dumps(damaged).encode())
    yield END


def _whole(chunks: Chunks, entry: Entry) -> list[Octets] | None:
    """The content of a file that can be read to its end; None: so it can, and is too large to be held."""
    content = read_all(chunks, [entry.blob])
    if entry.blob.size_bytes <= HELD_BYTES:
        return list(content)
    for _ in content:
        pass
    return None


def _plain(name: str, body: bytes) -> bytes:
    """A small file as it lies in an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(body)
    return member.tobuf(tarfile.PAX_FORMAT) + body + bytes(-len(body) % BLOCK)


def _header(name: str, entry: Entry) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = entry.blob.size_bytes, mode_of(entry)
    member.mtime = entry.modified_at / 1e6
    return member.tobuf(tarfile.PAX_FORMAT)


def _name(member: tarfile.TarInfo) -> str:
    if not member.isreg() or member.issparse():
        raise InvalidError(
            f"{member.name[:80]!r} is neither a plain file nor a folder",
            fix="Use tar ch, without --sparse.",
        )
    return check_name(member.name.removeprefix("./"))


def _stored(batch: Batch, cutter: Cutter, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    file = cast("BufferedReader", archive.extractfile(member))
    blob = write(batch, cutter, file.readinto)
    if blob.size_bytes != member.size:
        raise tarfile.ReadError(f"{member.name!r} breaks off after {blob.size_bytes} of {member.size} bytes")
    if not abs(member.mtime) < LATEST_S:
        raise tarfile.ReadError(f"{member.name!r} was changed at {member.mtime} s, which cannot be")
    return Entry(blob, round(member.mtime * 1e6), facts_of(member.mode))


class _Guarded(tarfile.TarInfo):
    """Refuses what `tarfile` lets pass: an archive that breaks off between files, names cut short, vast headers."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header.

        Raises:
            ReadError: it is none; only blocks of zeros end an archive.
        """
        if len(buf) != BLOCK:
            raise tarfile.ReadError("it breaks off")
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as fault:
            if any(buf):
                raise tarfile.ReadError(f"{fault}") from fault
            raise
        if any(bytes(buf[:NAME_BYTES]).partition(b"\0")[2]):
            raise tarfile.ReadError(f"the name {found.name!r} goes on behind a NUL")
        return found

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in HEADERS and self.size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {self.size} bytes")
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if self.type == tarfile.GNUTYPE_LONGNAME and _length(found) < self.size - 1:
            raise tarfile.ReadError(f"the name {found.name[:80]!r} goes on behind a NUL")
        return found


def _length(member: tarfile.TarInfo) -> int:
    """Bytes of a name as it was written: of a folder one more, for the slash that was taken off."""
    return len(member.name.encode("utf-8", "surrogateescape")) + member.isdir()


class _Source:
    """Pieces of bytes as what `tarfile` reads from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._rest, self._piece, self._at = iter(pieces), b"", 0

    def read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        parts, missing = list[bytes](), size
        while missing and self._fill():
            part = self._piece[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fill(self) -> bool:
        """Whether there is more."""
        while self._at == len(self._piece):
            piece = next(self._rest, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True

    def drain(self) -> None:
        """Read to the end: whoever sends has then sent all."""
        for _ in self._rest:
            pass
