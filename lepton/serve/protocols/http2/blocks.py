"""The header blocks of one HTTP/2 connection: put together from their frames, read in the order in which they come."""

from typing import NamedTuple

from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.http2.hpack import HeaderError, Reader
from lepton.serve.protocols.http2.stream import Opened
from lepton.serve.protocols.http2.wire import Code, WireError

MAX_CONTINUATIONS = 32
PRIORITY_BYTES = 5


class Block(NamedTuple):
    """One that is whole."""

    stream: int
    opened: Opened
    is_last: bool
    """The client sends nothing after it."""


class Blocks:
    """What the client sends of them.

    Args:
        max_bytes: most that the fields of a block may have.
    """

    def __init__(self, max_bytes: int) -> None:
        self._reader = Reader(Opened.read, max_bytes)
        self._max_bytes = max_bytes
        self._open: tuple[int, int, list[bytes]] | None = None
        """Of a block that goes on: its stream, the flags, its parts."""

    @property
    def is_open(self) -> bool:
        """Whether one goes on, so that no other frame may come."""
        return self._open is not None

    def begin(self, flags: int, stream: int, payload: bytes) -> Block | None:
        """A frame HEADERS; None: its block goes on.

        Raises:
            WireError: it cannot be.
        """
        part = wire.content(flags, payload)
        if flags & wire.PRIORITY:
            if len(part) < PRIORITY_BYTES:
                raise WireError(Code.FRAME_SIZE_ERROR, "A frame is shorter than its priority")
            part = part[PRIORITY_BYTES:]
        if not stream % 2:
            raise WireError(Code.PROTOCOL_ERROR, f"A client cannot begin stream {stream}")
        if flags & wire.END_HEADERS:
            return self._read(stream, flags, part)
        self._open = (stream, flags, [part])
        return None

    def go_on(self, flags: int, stream: int, payload: bytes) -> Block | None:
        """A frame CONTINUATION; None: its block goes on.

        Raises:
            WireError: it cannot be.
        """
        if self._open is None or self._open[0] != stream:
            raise WireError(Code.PROTOCOL_ERROR, "A header block goes on that has not begun")
        _, first, parts = self._open
        parts.append(payload)
        if len(parts) > MAX_CONTINUATIONS or sum(map(len, parts)) > self._max_bytes:
            raise WireError(Code.ENHANCE_YOUR_CALM, "A header block is too large")
        if not flags & wire.END_HEADERS:
            return None
        self._open = None
        return self._read(stream, first, b"".join(parts))

    def _read(self, stream: int, flags: int, block: bytes) -> Block:
        try:
            return Block(stream, self._reader.read(block), bool(flags & wire.END_STREAM))
        except HeaderError as fault:
            raise WireError(Code.COMPRESSION_ERROR, str(fault)) from None
