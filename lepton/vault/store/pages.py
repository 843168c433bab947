"""Pages of trees: sorted names with what they stand for, in bytes. `docs/vault-format.md` says every byte.

A leaf (level 0) holds entries; a page above it holds, for each page below, the last name in it and what is under it.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar, overload

from lepton.core.errors import IntegrityError, InvalidError
from lepton.core.filename import name_fault
from lepton.vault.store.blobs import BLOB, EMPTY, Blob
from lepton.vault.store.codecs import Octets

HEAD = struct.Struct("<BI")
"""Level, number of records."""
LEAF = struct.Struct("<HHq")
"""Of an entry: bytes of its name, bytes of its facts, when it was changed. Then come blob, name, facts."""
ABOVE = struct.Struct("<H32sQQ")
"""Of a page below: bytes of the name, id, entries, bytes of content. Then comes the name."""
MOST_FACTS_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for."""

    blob: Blob = EMPTY
    modified_at: int = 0
    """Microseconds since 1970, as its owner says."""
    facts: bytes = b""
    """Small facts of the layers above, as JSON."""


@dataclass(frozen=True, slots=True)
class Below:
    """A page one level down."""

    id: bytes
    entries: int
    size_bytes: int


Value = Entry | Below
Record = tuple[str, Value]


@dataclass(frozen=True)
class Page:
    """One page, decoded."""

    level: int
    records: Sequence[Record] = field(repr=False)

    @cached_property
    def names(self) -> Sequence[str]:
        """Of its records, in order."""
        return self.records.names() if isinstance(self.records, Packed) else [name for name, _ in self.records]

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return b"".join([HEAD.pack(self.level, len(self.records)), *(_packed(record) for record in self.records)])

    def below(self, id: bytes) -> Below:
        """What the page above says of this one."""
        if self.level == 0:
            sizes = [value.blob.size_bytes for _, value in self.records if isinstance(value, Entry)]
            return Below(id, len(sizes), sum(sizes))
        under = [value for _, value in self.records if isinstance(value, Below)]
        return Below(id, sum(page.entries for page in under), sum(page.size_bytes for page in under))


def record_bytes(record: Record) -> int:
    """Bytes of a record in a page."""
    name, value = record
    fixed = ABOVE.size if isinstance(value, Below) else LEAF.size + BLOB.size + len(value.facts)
    return fixed + len(name.encode())


def read_page(body: Octets) -> Page:
    """A page from its bytes. Its records are decoded one by one, when they are asked for: most are only passed by.

    Raises:
        IntegrityError: it is none.
    """
    view = memoryview(bytes(body))
    try:
        level, count = HEAD.unpack_from(view)
        starts, at = list[int](), HEAD.size
        for _ in range(count):
            starts.append(at)
            if level:
                at += ABOVE.size + SHORT.unpack_from(view, at)[0]
            else:
                name_bytes, facts_bytes = SHORTS.unpack_from(view, at)
                at += LEAF.size + BLOB.size + name_bytes + facts_bytes
    except struct.error as fault:
        raise _damaged() from fault
    if at != len(view):
        raise _damaged()
    return Page(level, Packed(view, starts, _above if level else _leaf))


T = TypeVar("T")
SHORT, SHORTS = struct.Struct("<H"), struct.Struct("<HH")


class Packed(Sequence[T], Generic[T]):
    """What lies in a page, each decoded when it is asked for."""

    def __init__(self, view: memoryview, starts: Sequence[int], decode: Callable[[memoryview, int], T]) -> None:
        self._view, self._starts, self._decode = view, starts, decode

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[T]:
        decode, view = self._decode, self._view
        try:
            for start in self._starts:
                yield decode(view, start)
        except UnicodeDecodeError as fault:
            raise _damaged() from fault

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> "Packed[T]": ...

    def __getitem__(self, at: int | slice) -> "T | Packed[T]":
        if isinstance(at, slice):
            return Packed(self._view, self._starts[at], self._decode)
        try:
            return self._decode(self._view, self._starts[at])
        except UnicodeDecodeError as fault:
            raise _damaged() from fault

    def names(self) -> "Packed[str]":
        """Their names alone."""
        return Packed(self._view, self._starts, _above_name if self._decode is _above else _leaf_name)


def _damaged() -> IntegrityError:
    return IntegrityError("A page of a tree is damaged", fix="Restore it from a backup.")


def check_name(name: str) -> str:
    """Return `name` if a tree can hold it: parts with `/` between them, as a relative path.

    Raises:
        InvalidError: it is anything else; the message says what is wrong.
    """
    fault = name_fault(name)
    if fault:
        raise InvalidError(
            f"{name[:80]!r} cannot be a name: {fault}", fix="Use a relative path such as set/part-1.csv."
        )
    return name


def check_entry(name: str, entry: Entry) -> None:
    """Refuse an entry that no page can hold.

    Raises:
        InvalidError: its facts are too long.
    """
    if len(entry.facts) > MOST_FACTS_BYTES:
        raise InvalidError(f"{name[:80]!r} has {len(entry.facts)} bytes of facts", fix=f"At most {MOST_FACTS_BYTES}.")


def _packed(record: Record) -> bytes:
    name, value = record
    text = name.encode()
    if isinstance(value, Below):
        return ABOVE.pack(len(text), value.id, value.entries, value.size_bytes) + text
    head = LEAF.pack(len(text), len(value.facts), value.modified_at)
    return b"".join((head, value.blob.to_bytes(), text, value.facts))


def _leaf(view: memoryview, at: int) -> Record:
    name_bytes, facts_bytes, modified_at = LEAF.unpack_from(view, at)
    blob = Blob(*BLOB.unpack_from(view, at + LEAF.size))
    start = at + LEAF.size + BLOB.size
    middle, end = start + name_bytes, start + name_bytes + facts_bytes
    return str(view[start:middle], "utf-8"), Entry(blob, modified_at, bytes(view[middle:end]))


def _leaf_name(view: memoryview, at: int) -> str:
    start = at + LEAF.size + BLOB.size
    return str(view[start : start + SHORT.unpack_from(view, at)[0]], "utf-8")


def _above(view: memoryview, at: int) -> Record:
    name_bytes, id, entries, size_bytes = ABOVE.unpack_from(view, at)
    start = at + ABOVE.size
    return str(view[start : start + name_bytes], "utf-8"), Below(id, entries, size_bytes)


def _above_name(view: memoryview, at: int) -> str:
    start = at + ABOVE.size
    return str(view[start : start + SHORT.unpack_from(view, at)[0]], "utf-8")
