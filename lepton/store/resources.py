"""Resources at rest: one table for every kind, one way to insert, change, find and list."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import NameTakenError, NotFoundError, StaleError
from lepton.core.event import Event
from lepton.core.ids import first_id, last_id
from lepton.core.resource import Resource
from lepton.store import events
from lepton.store.database import Row, Tx

COLUMNS = "id, kind, workspace, name, spec, status, state, owner, is_final, revision, created_at, updated_at"
UNIQUE_KINDS = frozenset({"workspace", "user", "node", "dataset", "model", "endpoint", "secret", "queue", "quota"})
"""Kinds of which a workspace has one of each name."""


def insert(tx: Tx, resource: Resource, event: Event) -> Resource:
    """Store a new resource and its first event; return it with its revision.

    Raises:
        NameTakenError: the workspace has one of that kind and name.
    """
    is_unique = resource.kind in UNIQUE_KINDS
    if is_unique and by_name(tx, resource.kind, resource.workspace, resource.name) is not None:
        article = "an" if resource.kind[0] in "aeiou" else "a"
        raise NameTakenError(
            f"There is already {article} {resource.kind} called '{resource.name}'",
            fix="Choose another name, or change or delete that one.",
        )
    stored = replace(resource, revision=events.append(tx, event))
    tx.execute(
        f"INSERT INTO resources ({COLUMNS}, name_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*_values(stored), stored.name if is_unique else None),
    )
    return stored


def update(tx: Tx, resource: Resource, event: Event, *, expected: int) -> Resource:
    """Store a resource's new face and the event that tells of it; return it with its new revision.

    Args:
        expected: the revision it was read at.
    Raises:
        StaleError: it has changed since, or is gone.
    """
    stored = replace(resource, revision=events.append(tx, event))
    changed = tx.execute(
        "UPDATE resources SET spec = ?, status = ?, state = ?, is_final = ?, revision = ?, updated_at = ?, "
        "name_key = CASE WHEN ? = 1 THEN NULL ELSE name_key END WHERE id = ? AND revision = ?",
        (
            json.dumps(stored.spec),
            json.dumps(stored.status),
            stored.state,
            int(stored.is_final),
            stored.revision,
            to_micros(stored.updated_at),
            int(stored.is_final),
            stored.id,
            expected,
        ),
    )
    if changed != 1:
        raise StaleError(
            f"{resource.kind} '{resource.name}' has changed since it was read",
            fix="Read it again, then repeat the change.",
        )
    return stored


def set_status(tx: Tx, resource: Resource, status: Mapping[str, object]) -> None:
    """Change status fields that are no step of a life (progress, heartbeat): no event, same revision."""
    merged = {**resource.status, **status}
    tx.execute("UPDATE resources SET status = ? WHERE id = ?", (json.dumps(merged), resource.id))


def set_spec(tx: Tx, resource: Resource, spec: Mapping[str, object]) -> None:
    """Write a spec that means what it meant; its revision stays, and nobody is told."""
    tx.execute("UPDATE resources SET spec = ? WHERE id = ?", (json.dumps(spec), resource.id))


def get(tx: Tx, id: str, *, kind: str = "") -> Resource:
    """The resource with that id.

    Raises:
        NotFoundError: there is none of that kind.
    """
    row = tx.row(f"SELECT {COLUMNS} FROM resources WHERE id = ?", (id,))
    if row is None or (kind and row[1] != kind):
        raise NotFoundError(f"There is no {kind or 'resource'} {id[:80]!r}", fix="Check the id with the list command.")
    return read(row)


def by_name(tx: Tx, kind: str, workspace: str, name: str) -> Resource | None:
    """The living resource of that kind and name, if its kind has unique names."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM resources WHERE kind = ? AND workspace = ? AND name_key = ?", (kind, workspace, name)
    )
    return None if row is None else read(row)


def named_rows(tx: Tx, kind: str, workspace: str, names: Sequence[str]) -> list[Row]:
    """Rows of `COLUMNS` of the living resources of these names, by name; unknown ones are left out."""
    found: list[Row] = []
    for first in range(0, len(names), 500):
        part = names[first : first + 500]
        sql = f"SELECT {COLUMNS} FROM resources WHERE kind = ? AND workspace = ? AND name_key IN ({_marks(part)})"
        found += tx.rows(sql, (kind, workspace, *part))
    return sorted(found, key=lambda row: str(row[3]))


def list_page(
    tx: Tx, kind: str, workspace: str, *, where: Mapping[str, str], before: str = "", limit: int = 100
) -> list[Resource]:
    """Up to `limit` resources, newest first; see `list_rows`."""
    return [read(row) for row in list_rows(tx, kind, workspace, where=where, before=before, limit=limit)]


def list_rows(
    tx: Tx, kind: str, workspace: str, *, where: Mapping[str, str], before: str = "", limit: int = 100
) -> list[Row]:
    """Up to `limit` rows of `COLUMNS`, newest first, with ids before `before` (keyset pagination).

    Args:
        where: column -> value, of `state`, `name` and `owner`; empty values are no filter.
    """
    filters = [("kind", "=", kind), ("workspace", "=", workspace)]
    filters += [(column, "=", value) for column, value in where.items() if value]
    filters += [("id", "<", before)] if before else []
    condition = " AND ".join(f"{column} {operator} ?" for column, operator, _ in filters)
    sql = f"SELECT {COLUMNS} FROM resources WHERE {condition} ORDER BY id DESC LIMIT ?"
    return tx.rows(sql, (*(value for _, _, value in filters), limit))


def alive(tx: Tx, kind: str, *, states: Sequence[str] = (), limit: int = 100_000) -> list[Resource]:
    """Resources of that kind that are not final, oldest first; cost follows what is alive, not what is stored."""
    among = f" AND state IN ({_marks(states)})" if states else ""
    sql = f"SELECT {COLUMNS} FROM resources WHERE is_final = 0 AND kind = ?{among} ORDER BY id LIMIT ?"
    return [read(row) for row in tx.rows(sql, (kind, *states, limit))]


def alive_rows(tx: Tx, kind: str, *, limit: int = 100_000) -> list[Row]:
    """Rows of `COLUMNS` of those that are not final, oldest first."""
    sql = f"SELECT {COLUMNS} FROM resources WHERE is_final = 0 AND kind = ? ORDER BY id LIMIT ?"
    return tx.rows(sql, (kind, limit))


def newest_final(tx: Tx, kind: str, *, since: datetime, limit: int) -> list[Resource]:
    """The youngest resources of a kind that are history and were made since then, youngest first.

    Ids of a kind stand together in the primary key, by age: no more is read than is returned, and what lives among it.
    """
    sql = f"SELECT {COLUMNS} FROM resources WHERE id > ? AND id < ? AND is_final = 1 ORDER BY id DESC LIMIT ?"
    return [read(row) for row in tx.rows(sql, (first_id(kind, since), last_id(kind), limit))]


def many(tx: Tx, ids: Sequence[str]) -> list[Resource]:
    """The resources with these ids; unknown ones are left out."""
    found = []
    for first in range(0, len(ids), 500):
        part = ids[first : first + 500]
        found += tx.rows(f"SELECT {COLUMNS} FROM resources WHERE id IN ({_marks(part)})", part)
    return [read(row) for row in found]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def owned(tx: Tx, owner: str, *, kind: str) -> list[Resource]:
    """What was made for `owner`, newest first."""
    sql = f"SELECT {COLUMNS} FROM resources WHERE owner = ? AND owner <> '' AND kind = ? ORDER BY id DESC"
    return [read(row) for row in tx.rows(sql, (owner, kind))]


def read(row: Row) -> Resource:
    """A resource from its row."""
    return Resource(
        id=row[0],
        kind=row[1],
        workspace=row[2],
        name=row[3],
        spec=json.loads(row[4]),
        status=json.loads(row[5]),
        state=row[6],
        owner=row[7],
        is_final=bool(row[8]),
        revision=int(row[9]),
        created_at=from_micros(row[10]),
        updated_at=from_micros(row[11]),
    )


def _values(resource: Resource) -> tuple[object, ...]:
    return (
        resource.id,
        resource.kind,
        resource.workspace,
        resource.name,
        json.dumps(resource.spec),
        json.dumps(resource.status),
        resource.state,
        resource.owner,
        int(resource.is_final),
        resource.revision,
        to_micros(resource.created_at),
        to_micros(resource.updated_at),
    )
