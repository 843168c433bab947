"""How a front and a worker talk: length-prefixed frames over a stream. Pure.

A frame is a head of 12 bytes, one head of 26 bytes for each entry, then the bodies in the same order; all numbers
little-endian. A deadline is told as the time that is left, so both ends need no common clock.

    magic "Lp" | version u8 | kind u8 | slot u16 | entries u16 | bytes that follow u32
    id u64 | body bytes u32 | deadline ms u32 | rows u32 | operation u16 | status u16 | media u8 | flags u8

Requests travel one frame a batch. Answers travel as they come: whole ones together, those that stream in parts, the
first of which carries the status and each last one the flag LAST. A body may begin with a head of its own (flag HEAD):
its length as u32, then for a request its line and headers as HTTP writes them, for an answer further header lines.
A large body may lie in memory that both ends share (`shared.py`): then the kind has the bit BESIDE.
"""

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

from lepton.core.errors import InvalidError

MAGIC = b"Lp"
PROTOCOL = 5
HEAD = struct.Struct("<2sBBHHI")
ENTRY = struct.Struct("<QIIIHHBB")
LONE = struct.Struct(HEAD.format + ENTRY.format[1:])
"""Of a frame with one entry, as most are while there is no crowd: its numbers in one go."""
LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 512 << 20
LONE_BYTES = 64 << 10
LAST = 1
"""Flag: nothing more follows for this id."""
HEADED = 2
"""Flag: the body begins with a head, see `with_head`."""
FAILED = 4
"""Flag, of the last part of a stream: it broke off; an HTTP answer that has begun is cut short."""
SHARED = 8
"""Flag: the body is the place of the real one in shared memory."""
BESIDE = 0x80
"""In the kind of a frame: some of its entries have the flag SHARED."""


class FrameError(InvalidError):
    """The bytes are no frame of this protocol; the stream cannot be read any further."""

    code = "frame"


class ReleaseError(FrameError):
    """The other end is of another release, whose frames mean something else."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"The other end of this link speaks version {version} of its protocol, this end version {PROTOCOL}",
            fix="Run the same release at both ends: deploy the endpoint again with --replace.",
        )


class Kind(IntEnum):
    """What a frame is for."""

    HELLO = 1
    """Worker to front, first: one entry whose body is a JSON object that describes the loaded model."""
    BATCH = 2
    """Front to worker: requests."""
    ANSWERS = 3
    """Worker to front: answers, whole or in parts. `slot` is how many frames of requests it has room for again."""
    CANCEL = 4
    """Front to worker: nobody waits for these ids any more; each still gets its last answer."""
    FLOW = 5
    """Front to worker: of these ids, those with status 0 shall pause, as the client does not read; others go on. Worker
    to front: of what INPUT brought for these ids, `rows` further bytes are read."""
    INPUT = 6
    """Front to worker: further bytes from the client of an upgraded connection; with LAST it has closed its side."""
    METERS = 7
    """Worker to front: one entry whose body is a JSON object, name of a counter -> by how much it has grown."""
    OFFER = 8
    """Either way: one entry whose body is a JSON object that says where the sender's shared memory is found."""
    OPENED = 9
    """Either way: the peer's shared memory is open, it may be used."""
    FREED = 10
    """Either way: `slot` more bodies have been read from the peer's shared memory, the oldest first."""
    LEAVE = 11
    """Worker to front: it wants to end; the front closes the link once nobody needs it. `slot` is 1 if it is ill."""
    TELL = 12
    """Front to worker: one entry whose body is a JSON object, to be reported to the platform in its name."""
    VOID = 13
    """Front to worker, if its hello has `marks`: the void (`marks`) is in the mailbox. Back: it is read from now on."""
    BACK = 14
    """Worker to front: these were taken back before it had begun them; `rows` is the number of each on the link."""


class Media(IntEnum):
    """What the bytes of a body are."""

    OTHER = 0
    """Its type is in the head, if it has one."""
    JSON = 1
    OCTETS = 2
    """The array's own bytes, row after row."""
    NPY = 3
    MSGPACK = 4
    TEXT = 5
    HTML = 6
    SSE = 7
    FORM = 8
    """`multipart/form-data` or `application/x-www-form-urlencoded`; which, and the boundary, is in the head."""


PREDICT = 1
"""The operation of a model that is served without code."""


class Entry(NamedTuple):
    """One request or one answer."""

    id: int
    body: bytes = b""
    deadline_ms: int = 0
    """Time left when it was sent; 0: none."""
    rows: int = 0
    """In an answer: how many rows the model computed for it."""
    operation: int = PREDICT
    """What is asked: the number of a route, told in the hello."""
    status: int = 0
    """In an answer, or in its first part: the HTTP status."""
    media: int = Media.JSON
    """In a request together with what it wishes of the answer: see `wishes`."""
    flags: int = LAST


Item = tuple[int, bytes, int, int, int, int, int, int]
"""The fields of an entry in their order: what is made for every request and answer, for a quarter of its cost."""


class Frame(NamedTuple):
    """One message; all requests in it are for the same model version."""

    kind: Kind
    items: Sequence[Item]
    slot: int = 0
    """Which of the endpoint's model versions."""
    is_shared: bool = False
    """Some bodies are the places of the real ones."""

    @property
    def entries(self) -> list[Entry]:
        """Its items by the names of their fields."""
        return [Entry(*item) for item in self.items]


Share = Callable[[Sequence[Entry]], Sequence[Entry]]
"""Puts what it can of large bodies beside the frame, and leaves their places instead."""


def encode(frame: Frame, large_bytes: int = MAX_FRAME_BYTES, share: Share | None = None) -> bytes:
    """The bytes of a frame.

    Args:
        large_bytes: bodies that are together larger than this are shown to `share` first.

    Raises:
        FrameError: a number does not fit its field, or the frame is too large.
    """
    items, kind, pack = frame.items, int(frame.kind), ENTRY.pack
    if len(items) == 1 and len(items[0][1]) <= min(large_bytes, LONE_BYTES):
        return _encode_lone(kind, frame.slot, items[0])
    bodies = [item[1] for item in items]
    body_bytes = sum(map(len, bodies))
    if body_bytes > large_bytes and share is not None:
        items = entries = share(frame.entries)
        bodies = [entry.body for entry in entries]
        body_bytes = sum(map(len, bodies))
        kind |= BESIDE if any(entry.flags & SHARED for entry in entries) else 0
    try:
        heads = [
            pack(id, len(body), ms, rows, op, status, media, flags)
            for id, body, ms, rows, op, status, media, flags in items
        ]
        size = ENTRY.size * len(heads) + body_bytes
        head = HEAD.pack(MAGIC, PROTOCOL, kind, frame.slot, len(heads), size)
    except struct.error as fault:
        raise FrameError(f"An entry does not fit a frame: {fault}") from fault
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"A frame of {size} bytes is too large", fix=f"Stay under {MAX_FRAME_BYTES} bytes.")
    return b"".join([head, *heads, *bodies])


def _encode_lone(kind: int, slot: int, item: Item) -> bytes:
    id, body, ms, rows, operation, status, media, flags = item
    bytes_ = len(body)
    size = ENTRY.size + bytes_
    try:
        head = LONE.pack(MAGIC, PROTOCOL, kind, slot, 1, size, id, bytes_, ms, rows, operation, status, media, flags)
        return head + body
    except struct.error as fault:
        raise FrameError(f"An entry does not fit a frame: {fault}") from fault


class Decoder:
    """Turns a stream of bytes, however it is cut, into frames.

    Args:
        max_bytes: largest frame to accept, head not counted.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        """What has come of a frame that is not whole."""
        self._wanted = HEAD.size
        """Bytes of it that must be there before it is worth a look."""
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes.

        Raises:
            FrameError: the stream is not of this protocol; drop the connection.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        elif (lone := read_lone(data, self._max_bytes)) is not None:
            return [lone]
        frames = []
        done, length = 0, len(data)
        self._wanted = HEAD.size
        while length - done >= HEAD.size:
            kind, slot, count, size = self._read_head(data, done)
            end = done + HEAD.size + size
            if length < end:
                self._wanted = end - done
                break
            items = read_items(data, done + HEAD.size, end, count)
            frames.append(Frame(KINDS[kind & ~BESIDE], items, slot, kind >= BESIDE))
            done = end
        if done < length:
            self._buffer += data[done:]
        return frames

    def _read_head(self, data: bytes, at: int) -> tuple[int, int, int, int]:
        magic, version, kind, slot, count, size = HEAD.unpack_from(data, at)
        if magic != MAGIC:
            raise FrameError("The other end does not speak this protocol")
        if version != PROTOCOL:
            raise ReleaseError(version)
        if size > self._max_bytes or size < count * ENTRY.size:
            raise FrameError(f"A frame says it has {count} entries in {size} bytes, which cannot be")
        if kind & ~BESIDE not in KINDS:
            raise FrameError(f"A frame is of the unknown kind {kind}")
        return kind, slot, count, size


KINDS = {int(kind): kind for kind in Kind}


def read_lone(data: bytes, max_bytes: int) -> Frame | None:
    """The frame, if `data` is exactly one with one entry; None: it has to be looked at closely."""
    length = len(data) - HEAD.size
    if not ENTRY.size <= length <= max_bytes:
        return None
    head = LONE.unpack_from(data)
    magic, version, kind, slot, count, size, id, body_bytes, ms, rows, operation, status, media, flags = head
    if count != 1 or size != length or body_bytes != length - ENTRY.size or kind not in KINDS:
        return None
    if magic != MAGIC or version != PROTOCOL:
        return None
    return Frame(KINDS[kind], [(id, data[LONE.size :], ms, rows, operation, status, media, flags)], slot)


def read_items(data: bytes, start: int, end: int, count: int) -> list[Item]:
    """The items of one frame, from all that follows its head: `data[start:end]`.

    Raises:
        FrameError: the sizes contradict each other.
    """
    at = start + count * ENTRY.size
    items = []
    for id, size, ms, rows, operation, status, media, flags in ENTRY.iter_unpack(data[start:at]):
        items.append((id, data[at : at + size], ms, rows, operation, status, media, flags))
        at += size
    if at != end:
        raise FrameError(f"The bodies of a frame have {at - start} bytes, its head says {end - start}")
    return items


def with_head(head: bytes, body: bytes) -> bytes:
    """A body that begins with a head; its entry has the flag HEADED."""
    return LENGTH.pack(len(head)) + head + body


def split_head(body: bytes) -> tuple[bytes, bytes]:
    """Head and body of what `with_head` made.

    Raises:
        FrameError: it is too short.
    """
    if len(body) < LENGTH.size or len(body) < LENGTH.size + LENGTH.unpack_from(body)[0]:
        raise FrameError("A headed body is shorter than its head")
    end = LENGTH.size + LENGTH.unpack_from(body)[0]
    return body[LENGTH.size : end], body[end:]
