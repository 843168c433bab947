"""Addresses of files in the vault: `lepton://WORKSPACE/PATH`, and `lepton://WORKSPACE@REF/PATH` of another version."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from lepton.core.errors import InvalidError
from lepton.core.ids import check_name
from lepton.sdk.http import part

SCHEME = "lepton://"
MAIN = "main"
REF = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class VaultPath:
    """A file or folder of a workspace."""

    workspace: str
    name: str
    """Without a `/` at its ends; empty: all files."""
    ref: str = MAIN
    is_folder: bool = False
    """Whether a `/` ended it."""

    def __str__(self) -> str:
        at = "" if self.ref == MAIN else f"@{self.ref}"
        return f"{SCHEME}{self.workspace}{at}/{self.name}"


def parse(text: str) -> VaultPath:
    """An address.

    Raises:
        InvalidError: it is none.
    """
    place, _, name = text.removeprefix(SCHEME).partition("/")
    workspace, _, ref = place.partition("@")
    if not text.startswith(SCHEME) or not workspace:
        raise InvalidError(f"{text[:200]!r} is no address in the vault", fix="Write lepton://WORKSPACE/PATH.")
    if ref and not REF.fullmatch(ref):
        raise InvalidError(f"{ref[:80]!r} names no version", fix="Write WORKSPACE@BRANCH, @TAG or @VERSION.")
    check_name(workspace)
    return VaultPath(workspace, name.strip("/"), ref or MAIN, is_folder=name.endswith("/") or not name)


def joined(folder: str, name: str) -> str:
    """The name of what lies in a folder; of all files, if it is empty."""
    return f"{folder}/{name}" if folder else name


def is_address(text: str) -> bool:
    """Whether a text is meant as one."""
    return text.startswith(SCHEME)


def url_of(name: str, door: str = "files") -> str:
    """The path of a file at the server, or of a folder (door: `folders`), whatever its name has.

    Raises:
        InvalidError: the name is empty, would lead to another path, or has what cannot be shown.
    """
    if not name.isprintable() or any(piece in ("", ".", "..") for piece in name.split("/")):
        raise InvalidError(f"{name[:80]!r} cannot be a name", fix="Use a relative path such as set/part-1.csv.")
    return f"/vault/{door}/{quote(name, safe='/')}"


def branch_url(name: str) -> str:
    """The path of a branch at the server, or of a tag as `tags/NAME`."""
    kind, _, tag = name.rpartition("/")
    return f"/vault/tags/{part(tag)}" if kind == "tags" else f"/vault/branches/{part(name)}"
