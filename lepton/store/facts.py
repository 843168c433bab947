"""Facts about the platform itself, each said once."""

from lepton.store.database import Tx


def settle(tx: Tx, name: str, value: str) -> str:
    """Say what a fact is, unless it was said before; return what it is."""
    tx.execute("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, value))
    row = tx.row("SELECT value FROM facts WHERE name = ?", (name,))
    assert row is not None
    return str(row[0])
