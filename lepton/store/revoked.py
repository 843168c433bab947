"""Marks of what was taken back of signed tokens, for as long as one of them may still live."""

from typing import NamedTuple

from lepton.store.database import Tx


class Revoked(NamedTuple):
    """A mark: whatever bears it and was signed up to then is refused."""

    seq: int
    """Of the event that told of it."""
    mark: str
    at: int
    until: int
    """Microseconds since 1970, as `at`; from then on it says nothing any more."""


def add(tx: Tx, one: Revoked, username: str) -> None:
    """Revoke what bears a mark; doing so again counts from then."""
    tx.execute(
        "INSERT INTO revoked (seq, mark, at, until, username) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (mark) DO UPDATE SET seq = excluded.seq, at = excluded.at, until = excluded.until",
        (*one, username),
    )


def count_of(tx: Tx, username: str) -> int:
    """How many there are of a user."""
    row = tx.row("SELECT count(*) FROM revoked WHERE username = ?", (username,))
    return int(row[0]) if row else 0


def after(tx: Tx, seq: int) -> list[Revoked]:
    """Those told of after that event, in order."""
    rows = tx.rows("SELECT seq, mark, at, until FROM revoked WHERE seq > ? ORDER BY seq", (seq,))
    return [Revoked(*row) for row in rows]


def sweep(tx: Tx, now: int) -> int:
    """Forget those that say nothing any more; return how many."""
    return tx.execute("DELETE FROM revoked WHERE until < ?", (now,))
