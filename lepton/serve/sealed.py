"""Memory that one process writes and others read: a file without a name, found by the number of process and file.

It is sealed, and who opens it insists on that: a file that can shrink kills who reads it.
"""

import fcntl
import mmap
import os
from collections.abc import Mapping

from lepton.core.resource import Json
from lepton.serve.frames import FrameError

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def make_sealed(name: str, size: int) -> int:
    """A file of `size` zeros that keeps its size.

    Raises:
        OSError: this system has no memory to share.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def open_sealed(about: Mapping[str, Json], size: int) -> mmap.mmap:
    """What another process has made, to read.

    Args:
        about: the maker's `pid`, and its file's number there, `fd`.
    Raises:
        FrameError: that is no such memory, or not of this size.
        OSError: it cannot be opened from here.
    """
    try:
        path = f"/proc/{int(about['pid'])}/fd/{int(about['fd'])}"
    except (ValueError, TypeError, KeyError) as fault:
        raise FrameError(f"Shared memory was offered, and cannot be found: {fault}") from fault
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # should it be a pipe, nobody waits at it
    try:
        if not has_seals(fd) or size <= 0 or os.fstat(fd).st_size != size:
            raise FrameError("Shared memory was offered that can shrink, or is not of the size that it says")
        return mmap.mmap(fd, size, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def has_seals(fd: int) -> bool:
    """Whether a file keeps its size; what can have no seals does not."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:
        return False
