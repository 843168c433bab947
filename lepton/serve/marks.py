"""Which request a worker is on: eight bytes that it writes, and that its front reads once the worker has died.

A frame holds many requests, and of a frame that died with its worker nobody else could tell which were begun: those
must not be tried again unless they may be repeated, all others must. Setting the mark costs a worker 40 ns a request.
"""

import mmap
import os
from collections.abc import Callable, Mapping

from lepton.core.resource import Json
from lepton.serve.frames import FrameError
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
        self.about: Mapping[str, Json] = {"pid": os.getpid(), "fd": self._fd}
        """How the front finds it."""


def open_mark(about: Json) -> Callable[[], int] | None:
    """The front's end: tells the id, also when the worker has died; None: the worker has no mark, or a far one.

    Raises:
        FrameError: what was told is no mark.
    """
    if about is None:
        return None
    if not isinstance(about, Mapping):
        raise FrameError("A mark was told of that is none")
    try:
        place = memoryview(open_sealed(about, MARK_BYTES)).cast("Q")
    except OSError:
        return None
    return lambda: int(place[0])
