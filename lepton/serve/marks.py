"""Which requests a worker has begun, and which it may begin no more: shared memory of two kinds, each written by one
end and read by the other.

The marks are the worker's: a ring of numbers, in which it writes that of each request as it begins it. Its front reads
them also once the worker has died. A frame holds many requests, and nobody else could tell which of them a dead worker
had begun: those must not be tried again unless they may be repeated, all others must. Of a ring, because requests need
not be begun in their order: coroutines go on while plain functions wait for a thread that hangs. A place that holds a
later number says nothing of an earlier one: that counts as begun.

The void is the front's: how many of the requests that it sent over the link are taken back, if not begun by then. So
what lies in one frame with a call that hangs is given to another worker, which no message could achieve: who hangs
reads none.

Why nothing is done twice. A worker claims a request: it marks it, then reads the void, and begins only what
lies beyond it. A front takes back: it writes the void, waits for `SETTLE_S`, then reads the marks, and keeps only what
is marked. If the worker read the old void, its mark was written before the front's void could be seen, and is
seen itself long before the front looks: what a processor has written leaves it within microseconds, and at the latest
when its process is interrupted. So one of both sees the other. Both may: then the request is marked, but not begun,
and the worker gives it back (`Kind.BACK`) by its number on the link, as one of the same id may have come since.
"""

import mmap
import os
from contextlib import suppress
from threading import Lock

from lepton.serve.mailbox import Mailbox
from lepton.serve.sealed import make_sealed, open_sealed

PLACES = 1024
"""In a ring of marks; a power of two. Of more requests that a worker has at a time, the first count as begun."""
LAST_PLACE = PLACES - 1
WORD_BYTES = 8
SETTLE_S = 0.01
"""A thousand times what a processor's writes need to be seen by all others."""
Words = memoryview
"""Numbers that two processes see, and one of them writes."""


def make_words(count: int = 1) -> Words:
    """Such as nobody shares."""
    return memoryview(bytearray(WORD_BYTES * count)).cast("Q")


def is_marked(marks: Words, number: int) -> bool:
    """Whether the request of that number counts as begun."""
    return bool(marks[number & LAST_PLACE] >= number)


class Shared:
    """The end of words that writes them.

    Args:
        count: of the words.

    Raises:
        OSError: this system has no memory to share.
    """

    def __init__(self, count: int) -> None:
        size = WORD_BYTES * count
        self._fd = make_sealed("lepton-marks", size)
        self.words: Words = memoryview(mmap.mmap(self._fd, size)).cast("Q")

    def hand_over(self, mailbox: Mailbox) -> None:
        """Let the other end read it.

        Raises:
            OSError: the other end is gone.
        """
        mailbox.put(self._fd)

    def close(self) -> None:
        """It is handed to nobody any more; whoever has it keeps it."""
        with suppress(OSError):
            os.close(self._fd)


def open_words(mailbox: Mailbox, count: int) -> Words | None:
    """The end that reads them, also when the other has died; None: none were handed over.

    Raises:
        FrameError: what was handed over is something else.
    """
    try:
        fd = mailbox.take()
    except OSError:
        return None
    return memoryview(open_sealed(fd, WORD_BYTES * count)).cast("Q")


class Claims:
    """What of the requests that came over one link its worker may begin: each has its number there, from 1 on. They
    may be claimed in any order. Pure, but for the words.
    """

    def __init__(self, marks: Words, void: Words) -> None:
        self._marks = marks
        self.void = void
        self._lock = Lock()

    def claim(self, number: int) -> bool:
        """Whether a request may be begun, which it then is for its front; else it is to be given back."""
        place = number & LAST_PLACE
        with self._lock:
            if number > self._marks[place]:  # never back to an earlier one, which would free a later one
                self._marks[place] = number
            return bool(self.void[0] < number)
