"""Requests that were already answered: a client that repeats one gets the same answer and nothing happens twice."""

import json

from lepton.core.errors import IdempotencyError
from lepton.core.resource import Json
from lepton.store.database import Tx


def recall(tx: Tx, principal: str, key: str, request: str) -> Json | None:
    """The answer given before to this request; None if it is new.

    Args:
        request: hash of method, path and body.
    Raises:
        IdempotencyError: the key was used for another request.
    """
    row = tx.row("SELECT request, answer FROM idempotency WHERE principal = ? AND key = ?", (principal, key))
    if row is None:
        return None
    if row[0] != request:
        raise IdempotencyError(
            f"Idempotency key {key[:80]!r} was already used for another request", fix="Use a new key for a new request."
        )
    return json.loads(row[1])


def remember(tx: Tx, principal: str, key: str, *, request: str, answer: Json, at: int) -> None:
    """Keep the answer, in the transaction that made it true."""
    tx.execute(
        "INSERT INTO idempotency (principal, key, request, answer, created_at) VALUES (?, ?, ?, ?, ?)",
        (principal, key, request, json.dumps(answer), at),
    )


def sweep(tx: Tx, before: int) -> int:
    """Forget answers older than `before`; return how many."""
    return tx.execute("DELETE FROM idempotency WHERE created_at < ?", (before,))
