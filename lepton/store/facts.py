"""Facts about the platform itself, each said once."""

from lepton.store.database import Tx


def settle(tx: Tx, name: str, value: str) -> str:
    """Say what a fact is, unless it was said before; return what it is."""
    tx.execute("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, value))
    row = tx.row("SELECT value FROM facts WHERE name = ?", (name,))
    assert row is not None
    return str(row[0])


def put(tx: Tx, name: str, value: str) -> None:
    """Say what a fact is from now on."""
    tx.execute(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def get(tx: Tx, name: str) -> str:
    """What a fact is; empty if it was never said."""
    row = tx.row("SELECT value FROM facts WHERE name = ?", (name,))
    return str(row[0]) if row else ""
