"""Content of any size as chunks: what names it, and how it is written and read with flat memory.

A *blob* of one chunk is that chunk. A longer one is a list of its chunks, cut into pages where the chunks' own ids say
so, and a list of those pages, and so on: an edit of a large blob changes a chunk or two and a page on each level.
`docs/vault-format.md` says every byte.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, tee
from struct import Struct
from typing import NamedTuple

from lepton.core.errors import IntegrityError
from lepton.vault.driver import check_range
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.codecs import Octets
from lepton.vault.store.cutting import Cutter, Fill

RECORD = Struct("<32sQ")
"""Of a page: id of a chunk or of a page one level below, where in the page's content its own ends."""
END = Struct("<32xQ")
BLOB = Struct("<QB32s32s")
MOST_RECORDS = 4096
CUT_MASK = 1023
"""A page ends behind an id of whose first two bytes these bits are 0: about every 1,024 records, 64 MiB of content."""
NONE = bytes(32)


@dataclass(frozen=True, slots=True)
class Blob:
    """What names content; 73 bytes."""

    size_bytes: int
    depth: int
    """0: `root` is its one chunk; else how many levels of pages lie above its chunks."""
    root: bytes
    sha256: bytes
    """(32,) of the content, known to other sites too."""

    def to_bytes(self) -> bytes:
        """As it is kept in pages of trees."""
        return BLOB.pack(self.size_bytes, self.depth, self.root, self.sha256)


def read_blob(body: bytes) -> Blob:
    """A blob from its 73 bytes.

    Raises:
        IntegrityError: they are none.
    """
    if len(body) != BLOB.size:
        raise IntegrityError(f"{len(body)} bytes cannot name content", fix="Restore the database from a backup.")
    return Blob(*BLOB.unpack(body))


EMPTY = Blob(0, 0, NONE, sha256().digest())


def write(batch: Batch, cutter: Cutter, content: Iterable[bytes] | Fill) -> Blob:
    """Keep content; it is durable once the batch has finished."""
    digest, pages = sha256(), _Pages(batch)
    for some in cutter.cut_together(content):
        for chunk, id in zip(some, batch.put_all(some), strict=True):
            digest.update(chunk)
            pages.add(0, id, len(chunk))
    size, depth, root = pages.finish()
    return Blob(size, depth, root, digest.digest())


def read(chunks: Chunks, blob: Blob, *, start: int = 0, stop: int | None = None) -> Iterator[Octets]:
    """The bytes `start` .. `stop` (exclusive; None: the end), each chunk checked against its id.

    Raises:
        InvalidError: no such range can be.
        IntegrityError: the content is damaged; what was given before is right.
    """
    check_range(start, stop)
    end = blob.size_bytes if stop is None else min(stop, blob.size_bytes)
    for offset, chunk in _read(chunks, _parts(chunks, blob, start, end)):
        first, last = max(start - offset, 0), min(end - offset, len(chunk))
        yield chunk if (first, last) == (0, len(chunk)) else memoryview(chunk)[first:last]


def read_all(chunks: Chunks, blobs: Iterable[Blob]) -> Iterator[Octets]:
    """The content of blobs one after the other: small ones that lie side by side are fetched at once.

    No chunk has bytes of two. Raises as `read`.
    """
    parts = (part for blob in blobs for part in _parts(chunks, blob, 0, blob.size_bytes))
    return (chunk for _, chunk in _read(chunks, parts))


def _read(chunks: Chunks, parts: Iterable[tuple[bytes, int, int]]) -> Iterator[tuple[int, Octets]]:
    """(offset, content) of each part."""
    parts, places = tee(parts)
    for (_, offset, size), chunk in zip(parts, chunks.read(id for id, _, _ in places), strict=True):
        if len(chunk) != size:
            raise IntegrityError(f"A chunk has {len(chunk)} bytes, not {size}", fix="Restore it from a backup.")
        yield offset, chunk


def places(chunks: Chunks, blob: Blob) -> Iterator[tuple[bytes, bool]]:
    """Every chunk that the blob needs, and whether it is a page; pages before what they list."""
    if blob.size_bytes == 0:
        return
    yield from _places(chunks, (blob.root, blob.size_bytes), blob.depth)


def _places(chunks: Chunks, part: tuple[bytes, int], depth: int) -> Iterator[tuple[bytes, bool]]:
    id, size = part
    yield id, depth > 0
    begin = 0
    for below, end in RECORD.iter_unpack(_page(chunks, id, size).body) if depth else ():
        yield from _places(chunks, (below, end - begin), depth - 1)
        begin = end


class _Pages:
    """The lists above the chunks of one blob, as it is written."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._levels: list[list[tuple[bytes, int]]] = [[]]

    def add(self, level: int, id: bytes, size: int) -> None:
        """Note a chunk (level 0) or a page."""
        if level == len(self._levels):
            self._levels.append([])
        records = self._levels[level]
        records.append((id, size))
        if not int.from_bytes(id[:2], "little") & CUT_MASK or len(records) == MOST_RECORDS:
            self._end(level)

    def finish(self) -> tuple[int, int, bytes]:
        """(bytes, levels, id of the top)."""
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._end(level)
            level += 1
        (id, size) = self._levels[level][0] if self._levels[level] else (NONE, 0)
        return size, level, id

    def _end(self, level: int) -> None:
        records = self._levels[level]
        self._levels[level] = []
        ends = accumulate(size for _, size in records)
        page = b"".join(RECORD.pack(id, end) for (id, _), end in zip(records, ends, strict=True))
        self.add(level + 1, self._batch.put(page), sum(size for _, size in records))


def _parts(chunks: Chunks, blob: Blob, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(id, offset in the blob, bytes) of the chunks that hold any of the range."""
    if start < stop:
        yield from _below(chunks, (blob.root, 0, blob.size_bytes), blob.depth, start, stop)


def _below(
    chunks: Chunks, part: tuple[bytes, int, int], depth: int, start: int, stop: int
) -> Iterator[tuple[bytes, int, int]]:
    if depth == 0:
        yield part
        return
    id, offset, size = part
    page = _page(chunks, id, size)
    first = bisect_right(page.ends, start - offset)
    begin = page.ends[first - 1] if first else 0
    for below, end in RECORD.iter_unpack(memoryview(page.body)[first * RECORD.size :]):
        if offset + begin >= stop:
            return
        part = below, offset + begin, end - begin
        if depth == 1:
            yield part
        else:
            yield from _below(chunks, part, depth - 1, start, stop)
        begin = end


class _List(NamedTuple):
    """A list of chunks or pages, and where each ends, to be searched; no ends: it is none."""

    body: bytes
    ends: Sequence[int]


def _formed(body: Octets) -> _List:
    is_one = len(body) % RECORD.size == 0
    return _List(bytes(body), tuple(end for (end,) in END.iter_unpack(body)) if is_one else ())


def _page(chunks: Chunks, id: bytes, size: int) -> _List:
    """A list of chunks or pages whose content has that size.

    Raises:
        IntegrityError: it is none.
    """
    page = chunks.page(id, _formed)
    if not page.ends or page.ends[-1] != size:
        raise IntegrityError("A list of chunks is damaged", fix="Restore it from a backup.")
    return page
