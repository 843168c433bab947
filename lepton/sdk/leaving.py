"""The local files of a copy to a workspace; all that cannot be kept is told at once, before anything is sent."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lepton.core.errors import InvalidError
from lepton.core.filename import name_fault
from lepton.core.size import number_of
from lepton.sdk.place import joined

MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Local:
    """A local file."""

    name: str
    """Its path below what is copied."""
    path: Path
    size_bytes: int
    modified_at: int
    mode: int


def local_files(path: Path, to: str = "") -> Sequence[Local]:
    """A file, or all files below a folder, by name.

    Args:
        to: what they are to be called, or lie below, in the workspace.

    Raises:
        InvalidError: it is neither, or something in it cannot be kept; `details["refused"]` has each, and why.
    """
    if path.is_file():
        return [_local(path.name, path)]
    if not path.is_dir():
        raise InvalidError(f"{path} is no file and no folder", fix="Check the path.")
    refused = dict[str, str]()
    found = list(_below(path, "", refused))
    for file in found:
        if fault := name_fault(joined(to, file.name)):
            refused[_shown(str(file.path))] = fault
    if refused:
        raise _refusal(refused)
    return sorted(found, key=lambda file: file.name)


def _refusal(refused: dict[str, str]) -> InvalidError:
    some = "; ".join(f"{path}: {why}" for path, why in list(refused.items())[:MOST_TOLD])
    rest = f"; and {len(refused) - MOST_TOLD} more" if len(refused) > MOST_TOLD else ""
    return InvalidError(
        f"{number_of(len(refused), 'path')} cannot be kept, and nothing was sent: {some}{rest}",
        fix="Rename what has such a name, replace links by what they point to, and leave the rest out.",
        details={"refused": refused},
    )


def _below(folder: Path, under: str, refused: dict[str, str]) -> Iterator[Local]:
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except OSError as fault:
        refused[_shown(str(folder))] = f"it cannot be read: {fault.strerror}"
        return
    for entry in entries:
        path = Path(entry.path)
        try:
            if not _is_text(entry.name):
                refused[_shown(entry.path)] = "its name is not UTF-8"
            elif entry.is_dir(follow_symlinks=False):
                yield from _below(path, f"{under}{entry.name}/", refused)
            elif not entry.is_file(follow_symlinks=False):
                refused[_shown(entry.path)] = (
                    "it is a link" if entry.is_symlink() else "it is neither a file nor a folder"
                )
            elif os.access(path, os.R_OK) or not path.exists():
                yield _local(f"{under}{entry.name}", path)
            else:
                refused[_shown(entry.path)] = "it cannot be read: Permission denied"
        except FileNotFoundError:
            continue  # it has gone meanwhile, as it might have before


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _shown(path: str) -> str:
    """A path as it can be printed."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _local(name: str, path: Path) -> Local:
    told = path.stat()
    return Local(name, path, told.st_size, told.st_mtime_ns // 1000, told.st_mode & 0o777)
