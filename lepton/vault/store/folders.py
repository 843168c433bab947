"""Folders of files into a tree's entries, and back: every file's bytes, mode and time.

What is neither a file nor a folder is refused; empty folders leave no trace. Writing out can be killed at any moment
and begun again: a file takes its name when it is whole, and one that is there already and right is left alone.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import file_digest
from io import FileIO
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError
from lepton.core.filename import DRAFT
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read_all, write
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.codecs import Octets
from lepton.vault.store.cutting import Cutter, Fill
from lepton.vault.store.pages import Entry, check_name

TOGETHER = 1000
"""Files that are read as one, so that small ones cost little."""
PLAIN_MODE = 0o644
Progress = Callable[[int], None]
"""Told how many bytes more are done."""


def _silent(size: int) -> None:
    """Tell nobody."""


def _unknown(name: str) -> Entry | None:
    """Nothing is known."""
    return None


def store_files(
    batch: Batch,
    cutter: Cutter,
    files: Iterable[tuple[str, Path]],
    *,
    known: Callable[[str], Entry | None] = _unknown,
    progress: Progress = _silent,
) -> Iterator[tuple[str, Entry]]:
    """Keep files under names; give each name with its entry. Durable once the batch has finished.

    Args:
        known: what a name stands for now, in the head that will be committed upon: a file of the same SHA-256 has the
            same content, so that it need not be cut.

    Raises:
        InvalidError: a name that no tree can hold.
        NotFoundError: a file went away.
    """
    for name, path in files:
        check_name(name)
        try:
            with path.open("rb", buffering=0) as file:
                told = os.fstat(file.fileno())
                before = known(name)
                blob = before.blob if before and _is_same(file, told.st_size, before) else None
                blob = blob or write(batch, cutter, _read_from(file, progress))
        except FileNotFoundError as fault:
            raise NotFoundError(f"{path} went away while it was read", fix="Try again.") from fault
        yield name, Entry(blob, told.st_mtime_ns // 1000, facts_of(told.st_mode))


def _is_same(file: FileIO, size: int, before: Entry) -> bool:
    """Whether a file has the content that is known; else it is at its beginning again."""
    if size != before.blob.size_bytes:
        return False
    is_same = file_digest(file, "sha256").digest() == before.blob.sha256
    file.seek(0)
    return is_same


def files_below(folder: Path, *, under: str = "") -> Iterator[tuple[str, Path]]:
    """Every file below a folder, with the name that it gets: its path, behind `under`.

    Raises:
        NotFoundError: there is no such folder.
        InvalidError: something in it is neither a file nor a folder.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is not a folder", fix="Check the path.")
    with os.scandir(folder) as scan:
        found = sorted(scan, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path), under=f"{under}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield f"{under}{entry.name}", Path(entry.path)
        else:
            raise InvalidError(
                f"{entry.path} is neither a file nor a folder", fix="Replace links by what they point to."
            )


def write_files(
    chunks: Chunks, entries: Iterable[tuple[str, Entry]], folder: Path, *, progress: Progress = _silent
) -> int:
    """Write entries below a folder, which is made; return how many files it wrote.

    Raises:
        IntegrityError: content is damaged, or a name would leave the folder; files before it are whole.
        InvalidError: something else stands where a file or a folder belongs.
    """
    made, written, draft = set[str](), 0, str(folder / DRAFT)
    rest = iter(entries)
    while some := list(islice(rest, TOGETHER)):
        missing = []
        for name, entry in some:
            path = f"{folder}/{_safe(name)}"
            above = path.rpartition("/")[0]
            if above not in made:
                _make_folder(Path(above), folder)
                made.add(above)
            if _is_there(path, entry):
                progress(entry.blob.size_bytes)
            else:
                missing.append((path, entry))
        content = read_all(chunks, (entry.blob for _, entry in missing))
        for path, entry in missing:
            _write_file(draft, path, entry, _taken(content, entry.blob.size_bytes), progress)
        written += len(missing)
    os.sync()
    return written


def _taken(content: Iterator[Octets], size: int) -> Iterator[Octets]:
    """The next so many bytes."""
    while size:
        piece = next(content)
        size -= len(piece)
        yield piece


def _write_file(draft: str, path: str, entry: Entry, content: Iterable[Octets], progress: Progress) -> None:
    with FileIO(draft, "wb") as file:
        for piece in content:
            _write_whole(file.write, piece)
            progress(len(piece))
        os.fchmod(file.fileno(), mode_of(entry))
        os.utime(file.fileno(), ns=(entry.modified_at * 1000, entry.modified_at * 1000))
    try:
        os.rename(draft, path)
    except IsADirectoryError:
        fault = f"{path} is a folder, and a file of that name belongs there"
        raise InvalidError(fault, fix="Use an empty folder.") from None


def facts_of(mode: int) -> bytes:
    """What an entry notes of a file's permissions: nothing, where they are the plain ones."""
    mode &= 0o777
    return b"" if mode == PLAIN_MODE else json.dumps({"mode": mode}, separators=(",", ":")).encode()


def mode_of(entry: Entry) -> int:
    """The permissions that a file has; of a damaged entry the plain ones."""
    if not entry.facts:
        return PLAIN_MODE
    with suppress(ValueError, TypeError, KeyError):
        return int(json.loads(entry.facts)["mode"]) & 0o777
    return PLAIN_MODE


def _write_whole(write: Callable[[memoryview], int | None], piece: Octets) -> None:
    view = memoryview(piece)
    while view:
        view = view[write(view) or 0 :]


def _is_there(path: str, entry: Entry) -> bool:
    """Whether the file is whole and right."""
    try:
        told = os.lstat(path)
    except OSError:
        return False
    if not S_ISREG(told.st_mode) or told.st_size != entry.blob.size_bytes:
        return False
    with open(path, "rb") as file:
        return file_digest(file, "sha256").digest() == entry.blob.sha256


def _safe(name: str) -> str:
    """A name that stays inside the folder; those of a vault are, unless somebody wrote pages by hand."""
    try:
        return check_name(name)
    except InvalidError as fault:
        raise IntegrityError(f"The tree has a name that cannot be: {name[:80]!r}") from fault


def _make_folder(path: Path, root: Path) -> None:
    """Make a folder and those above it; a link on the way must not lead out of the root."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as fault:
        raise InvalidError(f"{path} is in the way of a folder", fix="Use an empty folder.") from fault
    if not path.resolve().is_relative_to(root.resolve()):
        raise InvalidError(f"{path} leads out of {root}", fix="Remove the symbolic link.")


def _read_from(file: FileIO, progress: Progress) -> Fill:
    def fill(room: memoryview) -> int:
        size = file.readinto(room)
        progress(size)
        return size

    return fill
