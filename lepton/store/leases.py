"""Leases: which server runs a loop now. A loop's commits carry its token, so a server that lost it changes nothing."""

from lepton.core.errors import StaleError
from lepton.store.database import Tx

LONGEST_S = 2 * 86_400
"""No lease is given for so long: one that ends later was given before the clock was set back."""


def take(tx: Tx, name: str, token: str, *, now: int, until: int) -> bool:
    """Take or extend a lease; whether it is ours until `until`.

    One that ends later than any lease could that was given at `now` was given before the clock was set back: it is
    free too. To take a lease too early is harmless, for its old holder's results are dropped.
    """
    changed = tx.execute(
        "INSERT INTO leases (name, lock_token, lock_expires_at) VALUES (?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET lock_token = excluded.lock_token, lock_expires_at = excluded.lock_expires_at "
        "WHERE leases.lock_token = ? OR leases.lock_expires_at <= ? OR leases.lock_expires_at > ?",
        (name, token, until, token, now, until + (until - now)),
    )
    return changed == 1


def is_held(tx: Tx, name: str, token: str, *, now: int, until: int) -> bool:
    """Whether another server holds it now, so that `take` would refuse."""
    row = tx.row("SELECT lock_token, lock_expires_at FROM leases WHERE name = ?", (name,))
    return row is not None and row[0] != token and now < int(row[1]) <= until + (until - now)


def any_held(tx: Tx, *, now: int) -> bool:
    """Whether any server holds any."""
    sql = "SELECT 1 FROM leases WHERE lock_expires_at > ? AND lock_expires_at <= ?"
    return tx.row(sql, (now, now + LONGEST_S * 1_000_000)) is not None


def clear(tx: Tx) -> None:
    """Free all leases: for a server that knows itself to be the only one."""
    tx.execute("DELETE FROM leases")


def check(tx: Tx, name: str, token: str) -> None:
    """Refuse the transaction unless the lease is still held with this token.

    Raises:
        StaleError: another server holds it.
    """
    row = tx.row("SELECT lock_token FROM leases WHERE name = ?", (name,))
    if row is None or row[0] != token:
        raise StaleError(
            f"This server no longer holds the lease '{name}'", fix="Nothing to do: another server goes on."
        )


def release(tx: Tx, name: str, token: str) -> None:
    """Give a lease back at once, so that another server need not wait."""
    tx.execute("DELETE FROM leases WHERE name = ? AND lock_token = ?", (name, token))
