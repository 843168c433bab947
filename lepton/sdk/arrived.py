"""What arrives of a workspace's files: looked through, and given its name when it is whole."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lepton.core.errors import ConflictError, IntegrityError, LeptonError
from lepton.core.size import number_of
from lepton.sdk.http import CHUNK_BYTES
from lepton.sdk.lacks import Lacks
from lepton.sdk.landing import is_outlet, landed

DAMAGED = ".lepton-draft/damaged"
"""A member of an archive that names what is not in it: `{name: why}` in JSON."""


def told_by(name: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """A file as a list has it, from the headers of its answer."""
    sizes = {"size_bytes": int(headers["content-length"]), "modified_at": int(headers["x-lepton-modified-at"])}
    facts = {"sha256": headers["etag"].strip('"'), "mode": int(headers["x-lepton-mode"], 8), "files": 0}
    return {"name": name, **sizes, **facts}


def below(folder: Path, name: str) -> Path:
    """Where a file of that name belongs in a folder.

    Raises:
        IntegrityError: it would be outside.
    """
    if not name or any(piece in ("", ".", "..") for piece in name.split("/")) or "\0" in name:
        raise IntegrityError(f"The server names a file {name[:80]!r}", fix="Do not trust this server.")
    return folder / name


def is_there_already(target: Path, file: dict[str, Any]) -> bool:
    """Whether a file has arrived before, as far as its size and time say."""
    try:
        told = target.stat()
    except OSError:
        return False
    return (told.st_size, told.st_mtime_ns // 1000) == (file["size_bytes"], file["modified_at"])


def unpacked(spool: Path, files: Sequence[dict[str, Any]], path: Path, under: int, lacks: Lacks) -> Iterator[int]:
    """Write the files of an archive; give the bytes of each as it is done.

    Args:
        lacks: what the server could not read, or cannot be written here, is added to it.
    """
    wanted = {file["name"]: file for file in files}
    with tarfile.open(spool) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None and member.name == DAMAGED:
                for name, why in json.load(content).items():
                    lacks.damaged[name] = why
                    yield wanted.pop(name)["size_bytes"]
                continue
            file = wanted.pop(member.name, None)
            if file is None or content is None:
                raise IntegrityError(f"The server sent {member.name[:80]!r}, which nobody wanted", fix="Copy again.")
            target = below(path, file["name"][under:])
            with lacks.noting(file["name"], target):
                _land(content, target, file)
            yield file["size_bytes"]
    if wanted:
        raise IntegrityError(f"{number_of(len(wanted), 'file')} did not arrive", fix="Copy again.")


def _land(content: IO[bytes], path: Path, file: dict[str, Any]) -> None:
    target = landed(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(target)
    try:
        if _written(content, draft) != file["sha256"]:
            raise IntegrityError(f"{file['name']} arrived damaged", fix="Copy again.")
        settle(draft, target, file)
    except (OSError, LeptonError):
        with suppress(OSError):
            draft.unlink()
        raise


def _written(content: IO[bytes], draft: Path) -> str:
    seen = hashlib.sha256()
    with draft.open("wb") as out:
        while piece := content.read(CHUNK_BYTES):
            seen.update(piece)
            out.write(piece)
    return seen.hexdigest()


def draft_of(target: Path) -> Path:
    """Beside a file what it is until it is whole; the same when it is begun again."""
    return target.with_name(f".lepton-{hashlib.sha256(target.name.encode()).hexdigest()[:24]}.part")


def settle(draft: Path, target: Path, file: dict[str, Any]) -> None:
    """Give a whole file its permissions, its time and its name."""
    if target.is_dir():
        raise ConflictError(f"{target} is a folder, and a file of that name belongs there", fix="Use an empty folder.")
    if is_outlet(target):
        raise ConflictError(f"{target} is no regular file, and a file of that name belongs there", fix="Move it away.")
    draft.chmod(file["mode"])
    os.utime(draft, ns=(file["modified_at"] * 1000, file["modified_at"] * 1000))
    draft.replace(target)
