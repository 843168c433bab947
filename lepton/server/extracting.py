"""Write a part of a backup as plain files: a workspace, a dataset, a version, a branch, one object.

What a backup holds has paths, the same that `tools/restore.py` writes:

    WORKSPACE/artifacts/KIND/NAME@NUMBER/FILE     files of the catalog's versions
    WORKSPACE/branches/BRANCH/FILE                what a branch or tag stands at
    WORKSPACE/objects/SHA-256                     objects that no version names, or that are asked for so
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path

from lepton.core.disk import writing_to
from lepton.core.errors import ConflictError, IntegrityError, LeptonError, NotFoundError, StorageFullError
from lepton.core.size import number_of
from lepton.server.opening import Backup
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.store.blobs import read, read_blob
from lepton.vault.vault import Domain

DRAFT = ".restoring"


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a backup."""

    path: str
    domain: bytes
    """Empty: it lay in the clear, and is in no pack."""
    blob: bytes

    @property
    def size_bytes(self) -> int:
        """Of its content."""
        return read_blob(self.blob).size_bytes if self.domain else 0


@dataclass(slots=True)
class Extracted:
    """What was written."""

    files: int = 0
    size_bytes: int = 0
    there: int = 0
    """Files that were there already, and whole."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Path -> why it could not be written."""


def pieces(backup: Backup, only: Sequence[str]) -> list[Piece]:
    """The files below any of these paths, each once.

    Raises:
        NotFoundError: there is nothing below one of them.
    """
    paths = [path.strip("/") for path in only]
    found: dict[str, Piece] = {}
    for piece in (*_artifacts(backup, paths), *_objects(backup, paths), *_branches(backup, paths)):
        found[piece.path] = piece
    for path in paths:
        if not any(_is_below(each, path) for each in found):
            raise NotFoundError(
                f"Nothing in backup {backup.manifest.number} lies below {path!r}",
                fix="lepton vault restore --only WORKSPACE --dry-run lists what there is.",
            )
    return [found[path] for path in sorted(found)]


def extract(backup: Backup, wanted: Sequence[Piece], into: Path, *, progress: Progress) -> Extracted:
    """Write files, each whole or not at all; those that are there are not written again.

    Raises:
        ConflictError: a file of that name with other content is there.
        StorageFullError: no room.
    """
    done, tell = Extracted(), counted(progress, sum(piece.size_bytes for piece in wanted))
    with writing_to(into):
        into.mkdir(parents=True, exist_ok=True)
    try:
        for piece in wanted:
            try:
                with writing_to(into / piece.path):
                    _write(backup, piece, into, done)
            except (ConflictError, StorageFullError) as fault:
                said = f"{fault.message}; {number_of(done.files, 'file')} came before"
                raise type(fault)(said, fix=fault.fix) from fault
            except LeptonError as fault:
                done.damaged[piece.path] = str(fault)
            tell(piece.size_bytes)
    finally:
        with suppress(OSError):
            (into / DRAFT).unlink(missing_ok=True)
    return done


def _write(backup: Backup, piece: Piece, into: Path, done: Extracted) -> None:
    if not piece.domain:
        raise IntegrityError("it is in no pack", fix="Take another backup.")
    path, blob = into / _safe(piece.path), read_blob(piece.blob)
    if os.path.lexists(path):
        if not _is_same(path, blob.sha256):
            raise ConflictError(f"{path} is there with other content", fix="Restore into an empty folder.")
        done.there += 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(into.resolve()):
        raise ConflictError(f"{path.parent} leads out of {into}", fix="Restore into an empty folder.")
    seen = sha256()
    with (into / DRAFT).open("wb") as draft:
        for part in read(backup.vault.domain(piece.domain).chunks, blob):
            seen.update(part)
            draft.write(part)
    if seen.digest() != blob.sha256:
        raise IntegrityError("it has another SHA-256", fix="Take another backup.")
    (into / DRAFT).rename(path)
    done.files, done.size_bytes = done.files + 1, done.size_bytes + blob.size_bytes


def _is_same(path: Path, digest: bytes) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest() == digest


def _safe(path: str) -> str:
    """A path that stays inside its folder; names of a backup are as true as its signature, but not to be trusted."""
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise IntegrityError(f"{path[:80]!r} would leave its folder", fix="Take another backup.")
    return path


def _artifacts(backup: Backup, only: Sequence[str]) -> Iterator[Piece]:
    for workspace, name, digest in backup.told.files:
        path = f"{workspace}/artifacts/{name}"
        if any(_is_below(path, each) for each in only):
            held = backup.told.held.get((workspace, digest))
            yield Piece(path, held.domain if held else b"", held.blob if held else b"")


def _objects(backup: Backup, only: Sequence[str]) -> Iterator[Piece]:
    named = {(workspace, digest) for workspace, _, digest in backup.told.files}
    for (workspace, digest), held in backup.told.held.items():
        path = f"{workspace}/objects/{digest}"
        if path in only or ((workspace, digest) not in named and any(_is_below(path, each) for each in only)):
            yield Piece(path, held.domain, held.blob)


def _branches(backup: Backup, only: Iterable[str]) -> Iterator[Piece]:
    for id, workspace in backup.told.workspaces.items():
        begin = f"{workspace}/branches"
        near = [each for each in only if _is_below(each, begin) or _is_below(begin, each)]
        if workspace and near and id in backup.told.moves:
            yield from _of_branches(backup.vault.domain(id), begin, near)


def _of_branches(domain: Domain, begin: str, only: Sequence[str]) -> Iterator[Piece]:
    after = ""
    while found := domain.branches.names(after=after):
        for branch, version in found:
            top = f"{begin}/{branch}"
            for each in only:
                if _is_below(top, each) or _is_below(each, top):
                    inner = each.removeprefix(top).strip("/") if _is_below(each, top) else ""
                    scan = domain.branches.tree(version).scan(prefix=inner)
                    paths = ((f"{top}/{name}", entry.blob.to_bytes()) for name, entry in scan)
                    yield from (Piece(path, domain.id, blob) for path, blob in paths if _is_below(path, each))
        after = found[-1][0]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
