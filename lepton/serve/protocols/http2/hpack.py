"""Header blocks of HTTP/2 (HPACK, RFC 7541): read with the client's table; written without any. Pure."""

import re
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from lepton.serve.protocols.http2 import huffman

T = TypeVar("T")
Field = tuple[bytes, bytes]
STATIC: tuple[Field, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    *[(b":status", status) for status in (b"200", b"204", b"206", b"304", b"400", b"404", b"500")],
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *[
        (name, b"")
        for name in (
            *(b"accept-language", b"accept-ranges", b"accept", b"access-control-allow-origin", b"age", b"allow"),
            *(b"authorization", b"cache-control", b"content-disposition", b"content-encoding", b"content-language"),
            *(b"content-length", b"content-location", b"content-range", b"content-type", b"cookie", b"date", b"etag"),
            *(b"expect", b"expires", b"from", b"host", b"if-match", b"if-modified-since", b"if-none-match"),
            *(b"if-range", b"if-unmodified-since", b"last-modified", b"link", b"location", b"max-forwards"),
            *(b"proxy-authenticate", b"proxy-authorization", b"range", b"referer", b"refresh", b"retry-after"),
            *(b"server", b"set-cookie", b"strict-transport-security", b"transfer-encoding", b"user-agent", b"vary"),
            *(b"via", b"www-authenticate"),
        )
    ],
)
TABLE_BYTES = 4096
"""What a client's table may hold; the protocol's default, which we leave."""
ENTRY_BYTES = 32
"""Counted for each entry beside its name and value."""
NAME = re.compile(rb":?[a-z0-9!#$%&'*+.^_`|~-]+")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no value may hold: elsewhere a line break would begin another field."""
MAX_CACHED, MAX_CACHED_BYTES = 64, 1024
"""Blocks that are remembered, and the size of the largest."""


class HeaderError(ValueError):
    """A block that cannot be read: nothing of the connection can be any more."""


class Reader(Generic[T]):
    """Reads one connection's blocks, in the order in which they come.

    Args:
        make: what the fields of a block are to become.
        max_bytes: most that the fields of a block may have, each counted with ENTRY_BYTES.
    """

    def __init__(self, make: Callable[[list[Field]], T], max_bytes: int) -> None:
        self._make = make
        self._max_bytes = max_bytes
        self._table: deque[Field] = deque()
        self._table_bytes = 0
        self._limit = TABLE_BYTES
        self._known: dict[bytes, T] = {}
        """Blocks that change nothing -> what they became, as long as the table stays: what a client sends most."""
        self._changes = 0

    def read(self, block: bytes) -> T:
        """What the fields of a block become.

        Raises:
            HeaderError: it is none, or is too large.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        changes = self._changes
        try:
            found = self._make(self._fields(block))
        except (IndexError, ValueError) as fault:
            raise HeaderError(f"A header block cannot be read: {fault}") from None
        if changes == self._changes and len(block) <= MAX_CACHED_BYTES and len(self._known) < MAX_CACHED:
            self._known[block] = found
        return found

    def _fields(self, block: bytes) -> list[Field]:
        found: list[Field] = []
        at, size = 0, 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = read_int(block, at, 7)
                field = self._entry(index)
            elif first & 0xE0 == 0x20:
                limit, at = read_int(block, at, 5)
                if limit > TABLE_BYTES or found:
                    raise ValueError("the table is made larger, or too late")
                self._limit = limit
                self._shrink()
                continue
            else:
                field, at = self._literal(block, at, is_kept=bool(first & 0x40))
            size += len(field[0]) + len(field[1]) + ENTRY_BYTES
            if size > self._max_bytes:
                raise ValueError(f"its fields have more than {self._max_bytes} bytes")
            if not NAME.fullmatch(field[0]) or CONTROL.search(field[1]):
                raise ValueError("a field has a character that it must not have")
            found.append(field)
        return found

    def _literal(self, block: bytes, at: int, *, is_kept: bool) -> tuple[Field, int]:
        index, at = read_int(block, at, 6 if is_kept else 4)
        name = self._entry(index)[0] if index else b""
        if not index:
            name, at = read_string(block, at)
        value, at = read_string(block, at)
        if is_kept:
            self._table.appendleft((name, value))
            self._table_bytes += len(name) + len(value) + ENTRY_BYTES
            self._shrink()
        return (name, value), at

    def _entry(self, index: int) -> Field:
        if not index:
            raise ValueError("an index is 0")
        return STATIC[index - 1] if index <= len(STATIC) else self._table[index - len(STATIC) - 1]

    def _shrink(self) -> None:
        self._changes += 1
        self._known.clear()
        while self._table_bytes > self._limit:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + ENTRY_BYTES


def read_int(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number whose first byte gives it `bits` bits, and where it ends.

    Raises:
        ValueError: it is too large.
        IndexError: it does not end.
    """
    mask = (1 << bits) - 1
    value = data[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 28, 7):
        byte = data[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too large")


def read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string, and where it ends.

    Raises:
        ValueError: it does not end, or is wrongly encoded.
        IndexError: it does not begin.
    """
    is_packed = data[at] & 0x80
    size, at = read_int(data, at, 7)
    if at + size > len(data):
        raise ValueError("a string does not end")
    text = data[at : at + size]
    return huffman.decode(text) if is_packed else text, at + size


def write_int(value: int, bits: int, first: int = 0) -> bytes:
    """A number whose first byte gives it `bits` bits, beside the bits of `first`."""
    mask = (1 << bits) - 1
    if value < mask:
        return bytes((first | value,))
    found = bytearray((first | mask,))
    value -= mask
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def write_field(name: bytes, value: bytes) -> bytes:
    """A field as it is, which no table keeps."""
    return b"\x00" + write_int(len(name), 7) + name + write_int(len(value), 7) + value
