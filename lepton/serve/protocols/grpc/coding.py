"""Compressed messages of gRPC: unpacked up to a bound, whatever they claim to hold; answers are packed alike. Pure."""

import zlib
from collections.abc import Mapping

CODINGS: Mapping[bytes, int] = {b"gzip": 31, b"deflate": 15}
"""Name of a coding -> how zlib is told of it."""
ACCEPTED = b"identity, deflate, gzip"
LEVEL = 1
"""Of packing: most of the gain for a fraction of the time."""


class PackedError(ValueError):
    """The bytes are not what their coding says."""


class Unpacking:
    """A packed message, unpacked in steps, so that a large one can go on elsewhere."""

    def __init__(self, packed: bytes, coding: bytes) -> None:
        self._engine = zlib.decompressobj(CODINGS[coding])
        self._left = packed
        self._parts: list[bytes] = []
        self._size = 0

    def go(self, limit: int) -> bytes | None:
        """The message; None: it has more than `limit` bytes, which may be asked again with a larger one.

        Raises:
            PackedError: it cannot be unpacked.
        """
        if self._size <= limit:
            try:
                part = self._engine.decompress(self._left, limit + 1 - self._size)
            except zlib.error as fault:
                raise PackedError(str(fault)) from None
            self._parts.append(part)
            self._size += len(part)
            self._left = self._engine.unconsumed_tail
        if self._size > limit:
            return None
        if not self._engine.eof or self._engine.unused_data:
            raise PackedError("it ends too early, or too late")
        return b"".join(self._parts)


def pack(message: bytes, coding: bytes) -> bytes:
    """The message as the coding has it."""
    engine = zlib.compressobj(LEVEL, zlib.DEFLATED, CODINGS[coding])
    return engine.compress(message) + engine.flush()


def coding_for(asked: bytes, codings: bytes) -> bytes:
    """How answers may be packed: as the client packs, if it says that it reads that; empty: not at all.

    Args:
        asked: what it packs with.
        codings: what it reads.
    """
    return asked if asked in CODINGS and asked in [one.strip() for one in codings.split(b",")] else b""
