"""What is said where a file of this machine cannot be written: the path, the cause, and what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lepton.core.errors import ConflictError, LeptonError, StorageFullError

FULL = (errno.ENOSPC, errno.EDQUOT)
FIXES = {
    errno.EROFS: "Choose a place that can be written to.",
    errno.EACCES: "Look at its permissions, or choose another place.",
    errno.EPERM: "Look at its permissions, or choose another place.",
    errno.ENOTDIR: "A file lies where a folder must be: move it away, or choose another place.",
    errno.EEXIST: "A file lies where a folder must be: move it away, or choose another place.",
    errno.ENOENT: "Make its folder first, or choose another place.",
    errno.EISDIR: "A folder lies where the file must be: move it away, or choose another place.",
    errno.ENAMETOOLONG: "Choose another place: there no name can be so long.",
}
"""Cause -> what to do."""


@contextmanager
def writing_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Write a file or folder, or what lies in it; who has gone from the other end of a pipe is still told as that.

    Raises:
        StorageFullError: there is no room.
        ConflictError: it cannot be written for another reason.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise unwritable(os.fspath(path), fault) from fault


def unwritable(path: str, fault: OSError) -> LeptonError:
    """What happened when a path was written."""
    said = f"{path} cannot be written: {fault.strerror or fault}"
    if fault.errno in FULL:
        return StorageFullError(said, fix="Free some space there, or choose another place.")
    return ConflictError(said, fix=FIXES.get(fault.errno or 0, "Look at what is there, or choose another place."))


def is_hopeless(fault: LeptonError) -> bool:
    """Whether nothing else can be written there either."""
    cause = fault.__cause__
    return isinstance(fault, StorageFullError) or (isinstance(cause, OSError) and cause.errno == errno.EROFS)
