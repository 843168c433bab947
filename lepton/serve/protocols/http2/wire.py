"""Frames of HTTP/2 (RFC 9113): their kinds, flags and errors, and the bytes of those that a server sends. Pure."""

import struct
from enum import IntEnum

HEAD = struct.Struct(">HBBBL")
"""Of a frame: upper 16 and lower 8 bits of its length, kind, flags, stream."""
HEAD_BYTES = 9
PAIR = struct.Struct(">HL")
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
STREAM_BITS = 0x7FFFFFFF
MAX_WINDOW = 0x7FFFFFFF
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384


class Kind(IntEnum):
    """What a frame is for."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """What one end tells of itself."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class WireError(Exception):
    """The client breaks the protocol: the connection ends."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(told: dict[Setting, int]) -> bytes:
    """What we tell of ourselves."""
    return frame(Kind.SETTINGS, 0, 0, b"".join([PAIR.pack(name, value) for name, value in told.items()]))


def window_update(stream: int, more: int) -> bytes:
    """The client may send so much more on a stream; 0: on the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def reset(stream: int, code: Code) -> bytes:
    """The end of a stream."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, why: str = "") -> bytes:
    """The end of the connection: no stream after `last` was or will be looked at."""
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + why.encode()[:200])


def content(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame carries, without padding and priority.

    Raises:
        WireError: it is shorter than these.
    """
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise WireError(Code.PROTOCOL_ERROR, "A frame is shorter than its padding")
        payload = payload[1 : len(payload) - payload[0]]
    return payload


def number(payload: bytes) -> int:
    """The only thing a frame says, of 32 bits.

    Raises:
        WireError: it is longer or shorter.
    """
    if len(payload) != 4:
        raise WireError(Code.FRAME_SIZE_ERROR, "A frame has not four bytes")
    return int.from_bytes(payload, "big")
