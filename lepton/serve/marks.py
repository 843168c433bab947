"""Which request a worker is on: eight bytes that it writes, and that its front reads once the worker has died.

A frame holds many requests, and of a frame that died with its worker nobody else could tell which were begun: those
must not be tried again unless they may be repeated, all others must. Setting the mark costs a worker 40 ns a request.
"""

import mmap
from collections.abc import Callable

from lepton.serve.mailbox import Mailbox
from lepton.serve.sealed import make_sealed, open_sealed

MARK_BYTES = 8


class Mark:
    """A worker's end.

    Raises:
        OSError: this system has no memory to share.
    """

    def __init__(self) -> None:
        self._fd = make_sealed("lepton-mark", MARK_BYTES)
        self.place = memoryview(mmap.mmap(self._fd, MARK_BYTES)).cast("Q")
        """Its only item is the id of the request that was begun last."""

    def hand_over(self, mailbox: Mailbox) -> None:
        """Let the front read it.

        Raises:
            OSError: the front is gone.
        """
        mailbox.put(self._fd)


def open_mark(mailbox: Mailbox) -> Callable[[], int] | None:
    """The front's end: tells the id, also when the worker has died; None: the worker has handed none over.

    Raises:
        FrameError: what it has handed over is no mark.
    """
    try:
        fd = mailbox.take()
    except OSError:
        return None
    place = memoryview(open_sealed(fd, MARK_BYTES)).cast("Q")
    return lambda: int(place[0])
