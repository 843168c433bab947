"""Versions and their lineage at rest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from lepton.catalog.reference import Reference
from lepton.core.artifact import File, Version
from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import NotFoundError
from lepton.core.event import Event
from lepton.store import events, holdings
from lepton.store.database import Row, Tx

COLUMNS = "id, workspace, kind, name, number, digest, size_bytes, files, meta, parents, job, created_at"


def insert(tx: Tx, version: Version, *, actor: str) -> Version:
    """Store a version under the next number of its name, with its lineage and event; return it as stored.

    Its workspace holds its files from now on.
    """
    row = tx.row(
        "SELECT max(number) FROM versions WHERE workspace = ? AND kind = ? AND name = ?",
        (version.workspace, version.kind, version.name),
    )
    stored = replace(version, number=int(row[0] or 0) + 1 if row else 1)
    tx.execute(f"INSERT INTO versions ({COLUMNS}) VALUES ({', '.join('?' * 12)})", _values(stored))
    holdings.hold(tx, stored.workspace, (file.digest for file in stored.files))
    for role, parent in stored.parents.items():
        tx.execute("INSERT INTO edges (child, role, parent) VALUES (?, ?, ?)", (stored.id, role, parent))
    events.append(tx, _created(stored, actor))
    return stored


def get(tx: Tx, id: str) -> Version:
    """The version with that id.

    Raises:
        NotFoundError: there is none.
    """
    row = tx.row(f"SELECT {COLUMNS} FROM versions WHERE id = ?", (id,))
    if row is None:
        raise NotFoundError(f"There is no version {id[:80]!r}", fix="List versions with `lepton catalog list`.")
    return read(row)


def find(tx: Tx, workspace: str, reference: Reference, *, kinds: Sequence[str] = ()) -> Version:
    """The version a reference points at; without a number, the newest.

    Raises:
        NotFoundError: there is none in this workspace.
    """
    if reference.id:
        version = get(tx, reference.id)
        if version.workspace == workspace and (not kinds or version.kind in kinds):
            return version
        raise NotFoundError(f"There is no {' or '.join(kinds) or 'version'} {reference.id}", fix="Check the id.")
    row = _newest(tx, workspace, reference, kinds)
    if row is None:
        called, wanted = f"'{reference.name}{f'@{reference.number}' if reference.number else ''}'", " or ".join(kinds)
        other = _newest(tx, workspace, reference, ()) if kinds else None
        raise NotFoundError(
            f"{called} is a version of kind {read(other).kind}, not {wanted}"
            if other is not None
            else f"There is no {wanted or 'version'} called {called}",
            fix="List versions with `lepton catalog list`.",
        )
    return read(row)


def _newest(tx: Tx, workspace: str, reference: Reference, kinds: Sequence[str]) -> Row | None:
    where, values = ["workspace = ?", "name = ?"], [workspace, reference.name]
    if kinds:
        where.append(f"kind IN ({', '.join('?' * len(kinds))})")
        values.extend(kinds)
    if reference.number:
        where.append("number = ?")
        values.append(reference.number)  # type: ignore[arg-type]
    sql = f"SELECT {COLUMNS} FROM versions WHERE {' AND '.join(where)} ORDER BY created_at DESC, number DESC LIMIT 1"
    return tx.row(sql, values)


def many(tx: Tx, ids: Sequence[str]) -> list[Version]:
    """The versions with these ids; unknown ones are left out."""
    if not ids:
        return []
    sql = f"SELECT {COLUMNS} FROM versions WHERE id IN ({', '.join('?' * len(ids))}) ORDER BY id"
    return [read(row) for row in tx.rows(sql, ids)]


def list_page(tx: Tx, workspace: str, *, where: Mapping[str, str], before: str = "", limit: int = 100) -> list[Version]:
    """Up to `limit` versions, newest first, with ids before `before`.

    Args:
        where: column -> value, of `kind`, `name` and `job`; empty values are no filter.
    """
    filters = [("workspace", "=", workspace)]
    filters += [(column, "=", value) for column, value in where.items() if value]
    filters += [("id", "<", before)] if before else []
    condition = " AND ".join(f"{column} {operator} ?" for column, operator, _ in filters)
    condition += " AND job <> ''" if where.get("job") else ""
    sql = f"SELECT {COLUMNS} FROM versions WHERE {condition} ORDER BY id DESC LIMIT ?"
    return [read(row) for row in tx.rows(sql, (*(value for _, _, value in filters), limit))]


def same(tx: Tx, *, job: str, kind: str, name: str, digest: str) -> Version | None:
    """The version that this job has already published with this content, if it has."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM versions WHERE job = ? AND job <> '' AND kind = ? AND name = ? AND digest = ?",
        (job, kind, name, digest),
    )
    return None if row is None else read(row)


def read(row: Row) -> Version:
    """A version from its row."""
    return Version(
        id=row[0],
        workspace=row[1],
        kind=row[2],
        name=row[3],
        number=int(row[4]),
        digest=row[5],
        size_bytes=int(row[6]),
        files=tuple(File(**file) for file in json.loads(row[7])),
        meta=json.loads(row[8]),
        parents=json.loads(row[9]),
        job=row[10],
        created_at=from_micros(row[11]),
    )


def _values(version: Version) -> tuple[object, ...]:
    return (
        version.id,
        version.workspace,
        version.kind,
        version.name,
        version.number,
        version.digest,
        version.size_bytes,
        json.dumps([asdict(file) for file in version.files]),
        json.dumps(version.meta),
        json.dumps(version.parents),
        version.job,
        to_micros(version.created_at),
    )


def _created(version: Version, actor: str) -> Event:
    return Event(
        subject=version.id,
        kind="version",
        workspace=version.workspace,
        verb="created",
        why=f"{version.kind} {version.name}@{version.number}",
        actor=actor,
        at=version.created_at,
        data={"kind": version.kind, "name": version.name, "number": version.number, "digest": version.digest},
    )
