"""Folders as artifacts: which files they hold, and how a folder comes into being whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from tempfile import mkdtemp

from lepton.core.artifact import File, check_path
from lepton.core.errors import InvalidError, NotFoundError
from lepton.core.resource import Json
from lepton.engine.shim.records import FAULT

FAULT_CHARS = 1000


def list_files(folder: Path) -> tuple[File, ...]:
    """Every regular file below `folder` with its hash, sorted by path; links to files count as files.

    Raises:
        NotFoundError: `folder` is no folder.
        InvalidError: it holds something that is no file, e.g. a socket or a dangling link.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is not a folder", fix="Write the files into a folder and give that.")
    return tuple(sorted(_describe(folder, path) for path in _paths(folder)))


def hash_file(path: Path) -> str:
    """SHA-256 of the file's bytes, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `target` in one step at the end, or vanishes on an error.

    Raises:
        FileExistsError: `target` has come into being meanwhile.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield draft
        draft.chmod(0o755)
        _rename_new(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a small file so that a reader sees the old text or the new, never a part."""
    draft = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Json] | None:
    """The JSON object in a file; None if there is none, or it is torn."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def leave_fault(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Leave the reason why this worker fails, in one line, where its shim looks for it (docs/wire.md)."""
    line = " ".join(text.split())[:FAULT_CHARS].encode()
    with suppress(OSError):
        fd = os.open(Path(environ.get("LEPTON_FOLDER", "."), FAULT), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, line, 0)  # into the room that the shim has reserved, also on a full disk
            os.ftruncate(fd, len(line))
        finally:
            os.close(fd)


def _paths(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder, followlinks=True):
        yield from (Path(root, name) for name in names)


def _describe(folder: Path, path: Path) -> File:
    if not path.is_file():
        raise InvalidError(f"{path} is not a regular file", fix="Leave only files and folders in an artifact.")
    name = check_path(path.relative_to(folder).as_posix())
    return File(path=name, digest=hash_file(path), size_bytes=path.stat().st_size)


def _rename_new(draft: Path, target: Path) -> None:
    """Rename onto a name that must be free: a folder replaces an empty folder only, so that is refused first."""
    if target.exists():
        raise FileExistsError(str(target))
    try:
        draft.rename(target)
    except OSError as fault:
        if target.exists():
            raise FileExistsError(str(target)) from fault
        raise
