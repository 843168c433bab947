"""Events at rest: appended in the transaction of the change, read by everybody who wants to know."""

import json
from collections.abc import Sequence

from lepton.core.clock import from_micros, to_micros
from lepton.core.event import Event, canonical, leaf_hash
from lepton.store.database import Row, Tx

COLUMNS = "seq, body"
LATELY = 5000
"""Events among which the last decisions are looked for."""


def append(tx: Tx, event: Event) -> int:
    """Store an event; return its sequence number, which is the revision of what it changed."""
    body = canonical(event)
    row = tx.row(
        "INSERT INTO events (at, workspace, subject, kind, verb, body, leaf) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq",
        (to_micros(event.at), event.workspace, event.subject, event.kind, event.verb, body, leaf_hash(body)),
    )
    assert row is not None
    seq = int(row[0])
    tx.events.append((seq, event))
    return seq


def after(
    tx: Tx, seq: int, *, workspaces: Sequence[str] | None = None, subject: str = "", limit: int = 500
) -> list[tuple[int, Event]]:
    """Events with a number above `seq`, oldest first.

    Args:
        workspaces: only events of these; None: of all.
        subject: only events of this resource; empty: of all.
    """
    where = ["seq > ?"]
    values: list[int | str] = [seq]
    if subject:
        where.append("subject = ?")
        values.append(subject)
    if workspaces is not None:
        where.append(f"workspace IN ({', '.join('?' * len(workspaces))})" if workspaces else "1 = 0")
        values.extend(workspaces)
    sql = f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"
    return [_read(row) for row in tx.rows(sql, (*values, limit))]


def subjects_after(tx: Tx, seq: int, *, kind: str, limit: int) -> list[tuple[int, str]]:
    """Number and subject of the events of a kind with a number above `seq`, oldest first."""
    sql = "SELECT seq, subject FROM events WHERE seq > ? AND kind = ? ORDER BY seq LIMIT ?"
    return [(int(row[0]), str(row[1])) for row in tx.rows(sql, (seq, kind, limit))]


def subjects_in(tx: Tx, workspace: str, seq: int, *, limit: int) -> list[tuple[str, str]]:
    """Kind and subject of a workspace's events with a number above `seq` (empty: the platform's own), oldest first."""
    sql = "SELECT kind, subject FROM events WHERE workspace = ? AND seq > ? ORDER BY seq LIMIT ?"
    return [(str(row[0]), str(row[1])) for row in tx.rows(sql, (workspace, seq, limit))]


def is_there(tx: Tx, seq: int, leaf: bytes) -> bool:
    """Whether an event that was read once is stored: what a transaction added that failed is not."""
    row = tx.row("SELECT leaf FROM events WHERE seq = ?", (seq,))
    return row is not None and bytes(row[0]) == leaf


def newest_of(tx: Tx, subject: str, *, limit: int) -> list[tuple[int, Event]]:
    """The last events of a resource, oldest first."""
    rows = tx.rows(f"SELECT {COLUMNS} FROM events WHERE subject = ? ORDER BY seq DESC LIMIT ?", (subject, limit))
    return [_read(row) for row in reversed(rows)]


def last_of(tx: Tx, workspace: str, *, kind: str, verb: str) -> Event | None:
    """The last event of a kind and verb in a workspace."""
    sql = f"SELECT {COLUMNS} FROM events WHERE workspace = ? AND kind = ? AND verb = ? ORDER BY seq DESC LIMIT 1"
    row = tx.row(sql, (workspace, kind, verb))
    return _read(row)[1] if row else None


def newest(tx: Tx) -> int:
    """Number of the newest event; 0 if there is none."""
    row = tx.row("SELECT max(seq) FROM events")
    return int(row[0] or 0) if row else 0


def newest_at(tx: Tx, *, kind: str, verb: str) -> int:
    """The greatest time of any event of a kind and verb, microseconds since 1970; 0: there is none. Reads them all."""
    row = tx.row("SELECT max(at) FROM events WHERE kind = ? AND verb = ?", (kind, verb))
    return int(row[0] or 0) if row else 0


def newest_decisions(
    tx: Tx, *, verbs: Sequence[str], kinds: Sequence[str], workspaces: Sequence[str] | None, limit: int
) -> list[tuple[int, Event]]:
    """The last events with one of these verbs, or of one of these kinds, newest first; old ones are not looked for.

    Args:
        workspaces: only events of these; None: of all.
    """
    where = [f"(verb IN ({_marks(verbs)}) OR kind IN ({_marks(kinds)}))"]
    where += [] if workspaces is None else [f"workspace IN ({_marks(workspaces)})"]
    sql = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
    since = newest(tx) - LATELY
    return [_read(row) for row in tx.rows(sql, (since, *verbs, *kinds, *(workspaces or ()), limit))]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def newest_in(tx: Tx, workspace: str) -> tuple[int, bytes]:
    """Number and hash of a workspace's newest event (empty: the platform's own): the same while nothing happens."""
    row = tx.row("SELECT seq, leaf FROM events WHERE workspace = ? ORDER BY seq DESC LIMIT 1", (workspace,))
    return (int(row[0]), bytes(row[1])) if row else (0, b"")


def _read(row: Row) -> tuple[int, Event]:
    fields = json.loads(bytes(row[1]))
    fields["at"] = from_micros(fields["at"])
    return int(row[0]), Event(**fields)
