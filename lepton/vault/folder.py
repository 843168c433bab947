"""A folder as the files of an artifact version: list it, and check it against such a list."""

import os
from collections.abc import Iterable
from hashlib import file_digest
from pathlib import Path

from lepton.core.artifact import File, check_path
from lepton.core.errors import IntegrityError, InvalidError, NotFoundError


def describe(folder: Path) -> tuple[File, ...]:
    """Every file below `folder` with its hash, sorted by path. Empty folders leave no trace.

    Raises:
        NotFoundError: there is no such folder.
        InvalidError: something in it is neither a file nor a folder (a link, a pipe), or has a path no version can
            hold.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is not a folder", fix="Check the path.")
    return tuple(sorted(_files(folder, "")))


def describe_file(path: Path, name: str) -> File:
    """One file with its hash, called `name` in the version."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        return File(path=check_path(name), digest=digest, size_bytes=file.tell())


def verify(folder: Path, files: Iterable[File]) -> None:
    """Check that `folder` holds exactly these files.

    Raises:
        IntegrityError: one is missing, strange or changed.
    """
    wanted, found = set(files), set(describe(folder))
    if wanted != found:
        paths = sorted({file.path for file in wanted ^ found})
        raise IntegrityError(f"{folder} is not as it should be: {', '.join(paths[:5])}", fix="Fetch the files again.")


def _files(folder: Path, prefix: str) -> Iterable[File]:
    with os.scandir(folder) as scan:
        entries = list(scan)
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{name}/")
        elif entry.is_file(follow_symlinks=False):
            yield describe_file(Path(entry.path), name)
        else:
            raise InvalidError(f"{name!r} is neither a file nor a folder", fix="Replace links by what they point to.")
