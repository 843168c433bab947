"""An artifact version: immutable files named by their content, and where they came from.

A version's digest is the SHA-256 of its manifest: one line `<sha256> <size> <path>` a file, sorted by path.
Equal content therefore has an equal digest, whoever made it and whenever.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Literal, get_args

from lepton.core.errors import InvalidError
from lepton.core.resource import Json

ArtifactKind = Literal["raw", "dataset", "report", "model", "checkpoint", "code", "result", "capture"]
KINDS: tuple[str, ...] = get_args(ArtifactKind)
"""raw: a file as a user gave it · dataset: readable rows · report: what a check found · model: loadable without
its trainer's code · checkpoint: a job's saved state · code: a pickled function · result: its return value ·
capture: a sample of what an endpoint was asked."""

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class File:
    """One file of a version."""

    path: str
    """Relative, with forward slashes."""
    digest: str
    """SHA-256 of its bytes, lower-case hexadecimal."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable version of an artifact, as the catalog knows it."""

    id: str
    workspace: str
    kind: str
    name: str
    number: int
    """1, 2, 3 ... within (workspace, kind, name)."""
    digest: str
    size_bytes: int
    files: tuple[File, ...]
    meta: Mapping[str, Json] = field(default_factory=dict)
    """Small facts, e.g. rows, accuracy, the recipe's name."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Role -> version id: what it was made from."""
    job: str = ""
    """Id of the job that made it; empty when a user uploaded it."""
    created_at: datetime


def check_digest(digest: str) -> str:
    """Return `digest` if it has the form of a SHA-256.

    Raises:
        InvalidError: it has not.
    """
    if DIGEST.fullmatch(digest):
        return digest
    raise InvalidError(f"{digest[:80]!r} is not a SHA-256", fix="Give 64 lower-case hexadecimal digits.")


def check_path(path: str) -> str:
    """Return `path` if it stays inside the folder it will be written to.

    Raises:
        InvalidError: it is absolute, climbs out, or has a control character.
    """
    parts = PurePosixPath(path).parts
    is_clean = parts and path == "/".join(parts) and ".." not in parts and parts[0] != "/" and "\\" not in path
    if is_clean and path.isprintable() and len(path.encode()) <= 512:
        return path
    raise InvalidError(f"{path[:80]!r} is not a file path inside an artifact", fix="Use a relative path without '..'.")


def manifest_digest(files: Iterable[File]) -> str:
    """The digest of the version that holds exactly these files."""
    lines = (f"{file.digest} {file.size_bytes} {file.path}\n" for file in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()
