"""What a dump says of the vault: keys, packs, branches, which objects workspaces hold, and what their files are called.

Read line by line, so that a backup can be looked into without a database.
"""

import json
from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lepton.core.errors import IntegrityError
from lepton.vault.objects import Held
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.sealing import Kind, Place
from lepton.vault.store.state import Move, Pack

Fields = Mapping[str, Any]


@dataclass(slots=True)
class Told:
    """The vault's part of a dump."""

    keys: list[SealedKey] = field(default_factory=list)
    packs: dict[bytes, list[Pack]] = field(default_factory=dict)
    moves: dict[bytes, list[Move]] = field(default_factory=dict)
    let_go: dict[bytes, set[bytes]] = field(default_factory=dict)
    """Domain -> versions whose files a retention rule has let go of."""
    workspaces: dict[bytes, str] = field(default_factory=dict)
    """Domain -> the workspace that it is of."""
    held: dict[tuple[str, str], Held] = field(default_factory=dict)
    """(workspace, digest) -> where it lies."""
    files: list[tuple[str, str, str]] = field(default_factory=list)
    """(workspace, `kind/name@number/path`, digest) of the files of all versions."""

    def only(self, domains: Collection[bytes]) -> "Told":
        """The same of some domains; keys of all."""
        return replace(
            self,
            packs={domain: found for domain, found in self.packs.items() if domain in domains},
            moves={domain: found for domain, found in self.moves.items() if domain in domains},
            held={key: held for key, held in self.held.items() if held.domain in domains},
        )


def read_told(lines: Iterable[bytes]) -> Told:
    """The vault's part of a dump.

    Raises:
        IntegrityError: a line is damaged.
    """
    told = Told()
    try:
        for table, row in _rows(lines):
            if table in TAKERS:
                TAKERS[table](told, row)
    except (ValueError, KeyError, TypeError) as fault:
        raise IntegrityError(f"The dump is damaged: {fault}", fix="Use another backup.") from fault
    for packs in told.packs.values():
        packs.sort(key=lambda pack: pack.seq)
    return told


def _rows(lines: Iterable[bytes]) -> Iterator[tuple[str, Fields]]:
    table, columns = "", list[str]()
    for line in lines:
        found = json.loads(line)
        if isinstance(found, dict):
            table, columns = found.get("table", ""), found.get("columns", [])
        else:
            values = (b64decode(value["b"]) if isinstance(value, dict) else value for value in found)
            yield table, dict(zip(columns, values, strict=True))


def _key(told: Told, row: Fields) -> None:
    place = Place(kind=Kind(row["kind"]), owner=row["owner"], holder=row["holder"], version=row["holder_version"])
    told.keys.append(SealedKey(place, row["sealed"], row["version"]))


def _pack(told: Told, row: Fields) -> None:
    if not row["is_gone"]:
        pack = Pack(row["pack"], row["size_bytes"], row["chunks"], row["seq"])
        told.packs.setdefault(row["domain"], []).append(pack)


def _move(told: Told, row: Fields) -> None:
    move = Move(row["name"], row["epoch"], row["version"], row["at"])
    told.moves.setdefault(row["domain"], []).append(move)


def _let_go(told: Told, row: Fields) -> None:
    told.let_go.setdefault(row["domain"], set()).add(row["version"])


def _domain(told: Told, row: Fields) -> None:
    told.workspaces[row["domain"]] = row["workspace"]


def _holding(told: Told, row: Fields) -> None:
    held = Held(digest=row["digest"], domain=row["domain"] or b"", blob=row["blob"] or b"")
    told.held[row["workspace"], row["digest"]] = held


def _version(told: Told, row: Fields) -> None:
    name = f"{row['kind']}/{row['name']}@{row['number']}"
    for file in json.loads(row["files"]):
        told.files.append((row["workspace"], f"{name}/{file['path']}", file["digest"]))


TAKERS = {
    "vault_keys": _key,
    "vault_packs": _pack,
    "vault_moves": _move,
    "vault_let_go": _let_go,
    "vault_domains": _domain,
    "holdings": _holding,
    "versions": _version,
}
