"""Memory that one process writes and another reads: a file without a name, which it is handed.

It is sealed, and who opens it insists on that: a file that can shrink kills who reads it.
"""

import fcntl
import mmap
import os

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


def open_sealed(fd: int, size: int) -> mmap.mmap:
    """What another process has made, to read. The file is closed.

    Raises:
        FrameError: that is no such memory, or not of this size.
    """
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
