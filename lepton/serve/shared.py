"""Bodies that are too large for a socket: memory that one process writes and its peer reads.

Each end of a link owns one segment, made when its first large body comes: a memfd that it alone writes. It hands it
over (`mailbox.py`) and offers it; the peer opens it, and says so. Until then, and whenever it is full or there is no
mailbox (the peer is on another machine), bodies travel in their frames. Nothing lies in a file system, so nothing is
left when a process dies. A peer copies a body out as it reads its frame and tells how many it has: space is taken and
freed in one order. A segment is sealed (`sealed.py`).

    offered frame:  {"bytes": 67108864}
    shared body:    offset u64 | bytes u64, in place of the body, its entry flagged SHARED
"""

import json
import mmap
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence

from lepton.serve.frames import SHARED, Decoder, Entry, Frame, FrameError, Kind, encode
from lepton.serve.mailbox import Mailbox
from lepton.serve.sealed import make_sealed, open_sealed

LARGE_BYTES = 64 << 10
"""A body above this is shared: a copy through a socket costs more than a place in a segment from here on."""
SEGMENT_BYTES = 64 << 20
ALIGN_BYTES = 64
PLACE = struct.Struct("<QQ")
MAX_OFFER_BYTES = 1 << 40
OURS = frozenset((Kind.OFFER, Kind.OPENED, Kind.FREED))


class Ring:
    """Which part of a segment each body has; the oldest goes first. Pure."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: deque[tuple[int, int]] = deque()

    def take(self, size: int) -> int | None:
        """Where `size` bytes may lie; None: there is no room."""
        if not self._taken:
            at = 0
        else:
            oldest, head = self._taken[0][0], self._taken[-1][1]
            if head > oldest and head + size > self._size:
                head = 0
            at = head
            if at + size > (self._size if at > oldest else oldest):
                return None
        if at + size > self._size:
            return None
        self._taken.append((at, -(-(at + size) // ALIGN_BYTES) * ALIGN_BYTES))
        return at

    def free(self, count: int) -> None:
        """The oldest `count` are no longer needed.

        Raises:
            FrameError: there are not so many.
        """
        if count > len(self._taken):
            raise FrameError("A peer has read more shared bodies than there were")
        for _ in range(count):
            self._taken.popleft()


class Segment:
    """Memory that this process writes.

    Raises:
        OSError: this system has no memory to share.
    """

    def __init__(self, size: int = SEGMENT_BYTES) -> None:
        self.fd = make_sealed("lepton-bodies", size)
        self.size = size
        self._memory = mmap.mmap(self.fd, size)
        self._ring = Ring(size)

    def put(self, body: bytes) -> bytes | None:
        """Keep a body; returned is its place, None: there is no room."""
        at = self._ring.take(len(body))
        if at is None:
            return None
        self._memory[at : at + len(body)] = body
        return PLACE.pack(at, len(body))

    def free(self, count: int) -> None:
        """The peer has read `count` more bodies."""
        self._ring.free(count)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)


class Window:
    """The peer's segment, as this process reads it.

    Raises:
        FrameError: what was offered is no segment.
        OSError: it was not handed over.
    """

    def __init__(self, offer: bytes, mailbox: Mailbox) -> None:
        try:
            about = json.loads(offer)
            size = int(about["bytes"])
        except (ValueError, TypeError, KeyError) as fault:
            raise FrameError(f"An offer of shared memory cannot be read: {fault}") from fault
        if size > MAX_OFFER_BYTES:
            raise FrameError(f"Shared memory of {size} bytes was offered")
        self._memory = open_sealed(mailbox.take(), size)

    def get(self, place: bytes) -> bytes:
        """A copy of the body at that place.

        Raises:
            FrameError: there is no such place.
        """
        try:
            at, size = PLACE.unpack(place)
        except struct.error as fault:
            raise FrameError(f"The place of a shared body cannot be read: {fault}") from fault
        if at + size > len(self._memory):
            raise FrameError(f"A shared body lies beyond its segment, at {at} with {size} bytes")
        return self._memory[at : at + size]

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


class Wire:
    """One end of a link: frames to bytes and back, with large bodies beside them.

    Args:
        write: sends bytes to the peer.
        mailbox: hands files over to it; None: nothing is shared.
    """

    def __init__(self, write: Callable[[bytes], None], mailbox: Mailbox | None = None) -> None:
        self._write = write
        self.mailbox = mailbox
        self._decoder = Decoder()
        self._segment: Segment | None = None
        self._window: Window | None = None
        self._is_open = False
        """The peer has opened our segment."""
        self._cannot = False

    def send(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            FrameError: it does not fit the protocol.
        """
        self._write(encode(frame, LARGE_BYTES, self._share))

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, their bodies with them.

        Raises:
            FrameError: the stream is not of this protocol; drop the connection.
        """
        frames = self._decoder.feed(data)
        if len(frames) == 1 and not frames[0].is_shared and frames[0].kind not in OURS:
            return frames  # as most often
        for at, frame in enumerate(frames):
            if frame.is_shared:
                frames[at] = self._fetch(frame)
        if any([frame.kind in OURS for frame in frames]):
            return [frame for frame in frames if not self._is_ours(frame)]
        return frames

    def close(self) -> None:
        """Let go of both segments."""
        for part in (self._segment, self._window, self.mailbox):
            if part is not None:
                part.close()
        self._segment = self._window = self.mailbox = None
        self._cannot, self._is_open = True, False

    def _share(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries, with those bodies left out that the segment takes."""
        if not any(len(entry.body) > LARGE_BYTES for entry in entries):
            return entries
        if self._segment is None and self.mailbox is not None and not self._cannot:
            self._offer(self.mailbox)
        if not self._is_open or self._segment is None:
            return entries
        made = list(entries)
        for at, entry in enumerate(made):
            if len(entry.body) > LARGE_BYTES and (place := self._segment.put(entry.body)) is not None:
                made[at] = entry._replace(body=place, flags=entry.flags | SHARED)
        return made

    def _offer(self, mailbox: Mailbox) -> None:
        try:
            self._segment = Segment()
            mailbox.put(self._segment.fd)
        except OSError:
            self._cannot = True  # bodies go on in their frames
        else:
            self._write(encode(Frame(Kind.OFFER, [Entry(0, json.dumps({"bytes": self._segment.size}).encode())])))

    def _fetch(self, frame: Frame) -> Frame:
        window = self._window
        if window is None:
            raise FrameError("A body is in shared memory that was never offered")
        whole, count = [], 0
        for entry in frame.entries:
            if entry.flags & SHARED:
                entry = entry._replace(body=window.get(entry.body), flags=entry.flags & ~SHARED)
                count += 1
            whole.append(entry)
        self._write(encode(Frame(Kind.FREED, [], count)))
        return frame._replace(items=whole, is_shared=False)

    def _is_ours(self, frame: Frame) -> bool:
        """Whether the frame is about shared memory; it is dealt with."""
        if frame.kind == Kind.OFFER and len(frame.items) == 1:
            if self.mailbox is None:
                return True  # it is not for us to read; the peer goes on without
            try:
                window = Window(frame.entries[0].body, self.mailbox)
            except OSError:
                return True
            if self._window is not None:
                self._window.close()
            self._window = window
            self._write(encode(Frame(Kind.OPENED, [])))
        elif frame.kind == Kind.OPENED and self._segment is not None:
            self._is_open = True
        elif frame.kind == Kind.FREED and self._segment is not None:
            self._segment.free(frame.slot)
        else:
            return False
        return True
