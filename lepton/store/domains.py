"""Which domain of the vault is a workspace's own."""

import os

from lepton.store.database import Tx
from lepton.vault.store.sealing import ID_BYTES


def find(tx: Tx, workspace: str) -> tuple[bytes, bytes] | None:
    """(tenant, domain) of a workspace, if it has them."""
    row = tx.row("SELECT tenant, domain FROM vault_domains WHERE workspace = ?", (workspace,))
    return (bytes(row[0]), bytes(row[1])) if row else None


def make(tx: Tx, workspace: str) -> tuple[bytes, bytes]:
    """(tenant, domain) of a workspace; made at random where it has none."""
    tx.execute(
        "INSERT INTO vault_domains (workspace, tenant, domain) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (workspace, os.urandom(ID_BYTES), os.urandom(ID_BYTES)),
    )
    found = find(tx, workspace)
    assert found is not None
    return found


def every(tx: Tx) -> list[tuple[str, bytes]]:
    """(workspace, domain) of all."""
    return [(str(row[0]), bytes(row[1])) for row in tx.rows("SELECT workspace, domain FROM vault_domains")]


def workspace_of(tx: Tx, domain: bytes) -> str:
    """The workspace whose domain it is; empty: the platform's own, or of nobody any more."""
    row = tx.row("SELECT workspace FROM vault_domains WHERE domain = ?", (domain,))
    return str(row[0]) if row else ""


def drop(tx: Tx, workspace: str) -> None:
    """Forget a workspace's domain: the next use makes another."""
    tx.execute("DELETE FROM vault_domains WHERE workspace = ?", (workspace,))
