"""Where a file arrives on this machine: beside what it replaces, through links, or straight into a device or pipe."""

import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lepton.core.disk import writing_to
from lepton.core.errors import ConflictError, IntegrityError

STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def is_outlet(path: Path) -> bool:
    """Whether what is there is written into, and never replaced: a device, a pipe, a socket, an open file."""
    if str(path).startswith(STREAMS):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def landed(path: Path) -> Path:
    """What a file's name stands for: links are followed, and stay.

    Raises:
        ConflictError: it is a link to nothing, or in a circle.
    """
    if not path.is_symlink():
        return path
    if not path.exists():
        raise ConflictError(f"{path} is a link to nothing", fix="Remove it, or name another file.")
    return Path(os.path.realpath(path))


async def pour(pieces: AsyncIterator[bytes], path: Path, file: dict[str, Any]) -> None:
    """Write the bytes of a file into what is there.

    Raises:
        IntegrityError: they were not what the file says; they are written.
        StorageFullError, ConflictError: they cannot be.
    """
    seen = hashlib.sha256()
    with writing_to(path):
        out = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            async for piece in pieces:
                seen.update(piece)
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(out, rest) :]
        finally:
            os.close(out)
    if seen.hexdigest() != file["sha256"]:
        raise IntegrityError(f"{file['name']} arrived damaged", fix="Fetch it again.")
