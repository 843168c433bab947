"""Which request a worker is on: eight bytes that it writes, and that its front reads once the worker has died.

A frame holds many requests, and of a frame that died with its worker nobody else could tell which were begun: those
must not be tried again unless they may be repeated, all others must. Setting the mark costs a worker 40 ns a request.
"""

import fcntl
import mmap
import os
from collections.abc import Callable, Mapping

from lepton.core.resource import Json
from lepton.serve.frames import FrameError

MARK_BYTES = 8
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Mark:
    """A worker's end.

    Raises:
        OSError: this system has no memory to share.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("lepton-mark", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, MARK_BYTES)
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, SEALS)
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
    try:
        path = f"/proc/{int(about['pid'])}/fd/{int(about['fd'])}"
    except (ValueError, TypeError, KeyError) as fault:
        raise FrameError(f"A mark cannot be read: {fault}") from fault
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS or os.fstat(fd).st_size != MARK_BYTES:
            raise FrameError("A mark was told of that is none")
        place = memoryview(mmap.mmap(fd, MARK_BYTES, prot=mmap.PROT_READ)).cast("Q")
    except OSError as fault:
        raise FrameError(f"A mark was told of that is none: {fault}") from fault
    finally:
        os.close(fd)
    return lambda: int(place[0])
