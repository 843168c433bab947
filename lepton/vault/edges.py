"""Packed streams at the edges of the vault: unpacked on the way in, for content is kept once; packed on the way out.

gzip (RFC 1952, several members too, filled up with zeros or not), zstd frames, snappy in its framing format, and the
files of lzop, in; gzip, zstd and snappy out. Memory is flat, whatever a stream claims to hold; what else is behind the
end of a stream is refused.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from struct import Struct
from types import ModuleType

import zstandard

from lepton.core.errors import InvalidError, UnsupportedError

PIECE_BYTES = 1 << 20
GZIP = 31
"""Of zlib: a gzip header, the largest window."""
MOST_WINDOW = 1 << 27
"""Of zstd: what `zstd --long` makes; a larger one would be held in memory."""
ZSTD_STEP = 1024
"""Bytes that are unpacked at once: a block of 128 KiB takes 4, so that they may be 32 MiB."""
SNAPPY_HEAD = b"\xff\x06\x00\x00sNaPpY"
MOST_FRAME = 76_500
"""Of snappy: 64 KiB that did not shrink."""
LZOP_HEAD = b"\x89LZO\x00\r\n\x1a\n"
MOST_BLOCK = 16 << 20
"""Of lzop, which makes blocks of 256 KiB."""
ADLER, ADLER_PACKED, CRC, CRC_PACKED, EXTRA, FILTER, HEAD_CRC = 0x1, 0x2, 0x100, 0x200, 0x40, 0x800, 0x1000
WORD = Struct(">I")


def unpacked(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a packed stream holds, in pieces of a few megabytes at most.

    Args:
        kind: one of `UNPACKERS`.

    Raises:
        InvalidError: it is no such stream, or damaged, or cut off.
        UnsupportedError: the package for it is not installed.
    """
    return UNPACKERS[kind](_Source(kind, pieces))


def packed(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A stream, packed.

    Args:
        kind: one of `PACKERS`.

    Raises:
        UnsupportedError: the package for it is not installed.
    """
    return PACKERS[kind](pieces)


class _Source:
    """A stream of which so many bytes can be asked for."""

    def __init__(self, kind: str, pieces: Iterable[bytes]) -> None:
        self._kind, self._rest, self._left = kind, iter(pieces), b""

    def piece(self) -> bytes:
        """What comes next; empty at the end."""
        found, self._left = self._left or next(self._rest, b""), b""
        return found

    def back(self, rest: bytes) -> None:
        """Give back what was too much."""
        self._left = rest + self._left

    def take(self, size: int, *, may_end: bool = False) -> bytes:
        """Exactly so many bytes; or none, at the end, where it may end."""
        parts, missing = list[bytes](), size
        while missing and (piece := self.piece()):
            parts.append(piece[:missing])
            self.back(piece[missing:])
            missing -= len(parts[-1])
        if missing and not (may_end and missing == size):
            raise self.fault("it is cut off")
        return b"".join(parts)

    def word(self) -> int:
        """Four bytes, as a number."""
        return int(WORD.unpack(self.take(WORD.size))[0])

    def fault(self, why: str) -> InvalidError:
        """What is wrong with it."""
        return InvalidError(f"This is no whole {self._kind} stream: {why}", fix="Look at how it was packed.")


def _gunzipped(source: _Source) -> Iterator[bytes]:
    piece = source.piece()
    if not piece:
        raise source.fault("it is empty")
    while piece:
        member = zlib.decompressobj(GZIP)
        while not member.eof:
            if not piece and not (piece := source.piece()):
                raise source.fault("it is cut off")
            try:
                found = member.decompress(piece, PIECE_BYTES)
            except zlib.error as fault:
                raise source.fault(str(fault)) from fault
            piece = member.unconsumed_tail
            if found:
                yield found
        piece = _unpadded(source, member.unused_data)


def _unpadded(source: _Source, piece: bytes) -> bytes:
    """What follows a member; nothing where only zeros do, which tapes and block devices fill up with."""
    piece = piece or source.piece()
    if piece[:1] != b"\0":
        return piece
    while piece:
        if piece.strip(b"\0"):
            raise source.fault("more than zeros lies behind its end")
        piece = source.piece()
    return b""


def _unzstd(source: _Source) -> Iterator[bytes]:
    piece = source.piece()
    if not piece:
        raise source.fault("it is empty")
    while piece:
        frame = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW).decompressobj(write_size=PIECE_BYTES)
        while not frame.eof:
            if not piece and not (piece := source.piece()):
                raise source.fault("it is cut off")
            head, piece = piece[:ZSTD_STEP], piece[ZSTD_STEP:]
            try:
                found = frame.decompress(head)
            except zstandard.ZstdError as fault:
                raise source.fault(str(fault)) from fault
            if found:
                yield found
        piece = frame.unused_data + piece or source.piece()


def _unsnapped(source: _Source) -> Iterator[bytes]:
    snappy = _library("cramjam", "snappy").snappy
    if source.take(len(SNAPPY_HEAD), may_end=True) != SNAPPY_HEAD:
        raise source.fault("it does not begin like one")
    while head := source.take(4, may_end=True):
        kind, size = head[0], int.from_bytes(head[1:], "little")
        if size > MOST_FRAME and kind < 0x80:
            raise source.fault(f"a part of it has {size} bytes")
        body = source.take(size)
        if kind in (0, 1):
            try:
                yield bytes(snappy.decompress(SNAPPY_HEAD + head + body))
            except Exception as fault:  # the library has no kind of its own
                raise source.fault(str(fault)) from fault
        elif 2 <= kind < 0x80 or (kind == 0xFF and head + body != SNAPPY_HEAD):
            raise source.fault(f"it has a part of the unknown kind {kind}")


def _unlzopped(source: _Source) -> Iterator[bytes]:
    lzo = _library("lzallright", "lzo")
    flags = _lzop_flags(source)
    while length := source.word():
        size = source.word()
        if max(length, size) > MOST_BLOCK:
            raise source.fault(f"a block of it has {max(length, size)} bytes")
        sums = [(check, source.word()) for flag, check in ((ADLER, zlib.adler32), (CRC, zlib.crc32)) if flags & flag]
        if size < length:
            for flag in (ADLER_PACKED, CRC_PACKED):
                source.take(WORD.size if flags & flag else 0)
        body = source.take(size)
        if size < length:
            try:
                body = bytes(lzo.LZOCompressor.decompress(body, length))
            except (lzo.LZOError, lzo.InputNotConsumed) as fault:
                raise source.fault(str(fault) or "a block cannot be read") from fault
        if len(body) != length or any(check(body) != wanted for check, wanted in sums):
            raise source.fault("a block is damaged")
        yield body
    if source.piece():
        raise source.fault("more lies behind its end")


def _lzop_flags(source: _Source) -> int:
    """The flags of a file of lzop; its head is checked."""
    if source.take(len(LZOP_HEAD), may_end=True) != LZOP_HEAD:
        raise source.fault("it does not begin like one")
    head = source.take(2 + 2 + 2 + 1 + 1)
    method = head[6]
    flags_text = source.take(4)
    flags = int(WORD.unpack(flags_text)[0])
    if flags & FILTER or method not in (1, 2, 3):
        raise source.fault("it was packed in a way that is not known")
    rest = source.take(4 + 4 + 4 + 1)
    name = source.take(rest[-1])
    check = zlib.crc32 if flags & HEAD_CRC else zlib.adler32
    if check(head + flags_text + rest + name) != source.word():
        raise source.fault("its head is damaged")
    if flags & EXTRA:
        source.take(min(source.word(), MOST_BLOCK) + WORD.size)
    return flags


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.compressobj(6, zlib.DEFLATED, GZIP)
    for piece in pieces:
        if found := member.compress(piece):
            yield found
    yield member.flush()


def _zstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    frame = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    for piece in pieces:
        if found := frame.compress(piece):
            yield found
    yield frame.flush()


def _snapped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    snappy = _library("cramjam", "snappy").snappy
    yield SNAPPY_HEAD
    for piece in pieces:
        for at in range(0, len(piece), PIECE_BYTES):
            yield bytes(snappy.compress(piece[at : at + PIECE_BYTES]))


def _library(name: str, kind: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as fault:
        raise UnsupportedError(
            f"{kind} needs the package {name}, which is not installed", fix="pip install 'lepton-platform[codecs]'"
        ) from fault


UNPACKERS: dict[str, Callable[[_Source], Iterator[bytes]]] = {
    "gzip": _gunzipped,
    "zstd": _unzstd,
    "snappy": _unsnapped,
    "lzo": _unlzopped,
}
PACKERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {"gzip": _gzipped, "zstd": _zstd, "snappy": _snapped}
