"""Which requests a worker has begun, and which it may begin no more: two words of shared memory, each written by one
end and read by the other.

The mark is the worker's: the request that it began last, which its front reads also once the worker has died. A frame
holds many requests, and nobody else could tell which of them a dead worker had begun: those must not be tried again
unless they may be repeated, all others must. Setting the mark costs a worker 40 ns a request.

The void is the front's: how many of the requests that it sent over the link are taken back, if not begun by then. So
what lies in one frame with a call that hangs is given to another worker, which no message could achieve: who hangs
reads none.

Why nothing is done twice. A worker claims a request: it writes the mark, then reads the void, and begins only what
lies beyond it. A front takes back: it writes the void, waits for `SETTLE_S`, then reads the mark, and keeps only what
lies beyond that. If the worker read the old void, its mark was written before the front's void could be seen, and is
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

MARK_BYTES = 8
SETTLE_S = 0.01
"""A thousand times what a processor's writes need to be seen by all others."""
Word = memoryview
"""Of one item: a number that two processes see, and one of them writes."""


def make_word(number: int = 0) -> Word:
    """One that nobody shares."""
    word = memoryview(bytearray(MARK_BYTES)).cast("Q")
    word[0] = number
    return word


class Mark:
    """The end of a word that writes it.

    Raises:
        OSError: this system has no memory to share.
    """

    def __init__(self) -> None:
        self._fd = make_sealed("lepton-mark", MARK_BYTES)
        self.place: Word = memoryview(mmap.mmap(self._fd, MARK_BYTES)).cast("Q")

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


def open_mark(mailbox: Mailbox) -> Word | None:
    """The end that reads it, also when the other has died; None: none was handed over.

    Raises:
        FrameError: what was handed over is no mark.
    """
    try:
        fd = mailbox.take()
    except OSError:
        return None
    return memoryview(open_sealed(fd, MARK_BYTES)).cast("Q")


class Claims:
    """What of the requests that came over one link its worker may begin: each has its number there, from 1 on. They
    may be claimed in any order. Pure, but for the two words.

    A mark tells only the last, so what came before a claimed request counts as begun too, and may be later.
    """

    def __init__(self, mark: Word, void: Word) -> None:
        self._mark = mark
        self.void = void
        self.top = 0
        """The number of the request that is marked; a mark never goes back."""
        self._lock = Lock()

    def claim(self, number: int, id: int) -> bool:
        """Whether a request may be begun, which it then is for its front; else it is to be given back."""
        with self._lock:
            if number > self.top:
                self.top, self._mark[0] = number, id
            return self.void[0] < number
