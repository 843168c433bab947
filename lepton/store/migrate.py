"""Bring a database to the schema this version of Lepton needs. Migrations only go forward, each in one transaction."""

import re
from importlib import resources

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import DatabaseError
from lepton.store.database import Database, Dialect, Tx

PATTERN = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


def migrate(database: Database, clock: Clock) -> int:
    """Apply what is missing; return the schema's number.

    Raises:
        DatabaseError: the database was made by a newer version of Lepton.
    """
    return database.write(lambda tx: migrate_in(tx, database.dialect, at=to_micros(clock.now())))


def migrate_in(tx: Tx, dialect: Dialect, *, at: int) -> int:
    """As `migrate`, as a part of a transaction."""
    apply(tx, dialect, upto=0, at=at)
    current, newest = _current(tx), max(scripts())
    if current > newest:
        raise DatabaseError(
            f"The database has schema {current}; this version of Lepton knows schemas up to {newest}",
            fix="Use the newer version of Lepton that made it, or a backup from before the upgrade.",
        )
    return apply(tx, dialect, upto=newest, at=at)


def apply(tx: Tx, dialect: Dialect, *, upto: int, at: int) -> int:
    """Apply the migrations up to that number that are missing; return it.

    Args:
        at: microseconds since 1970.
    """
    tx.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)"
    )
    known, current = scripts(), _current(tx)
    for number in range(current + 1, upto + 1):
        name, text = known[number]
        for statement in statements(text, dialect):
            tx.execute(statement)
        tx.execute("INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, ?)", (number, name, at))
    return upto


def _current(tx: Tx) -> int:
    row = tx.row("SELECT max(number) FROM migrations")
    return int(row[0]) if row and row[0] is not None else 0


def scripts() -> dict[int, tuple[str, str]]:
    """Number -> (name, text) of every migration that ships."""
    found = {}
    for file in resources.files(__package__).joinpath("migrations").iterdir():
        match = PATTERN.fullmatch(file.name)
        if match:
            found[int(match[1])] = (match[2], file.read_text())
    return found


def statements(text: str, dialect: Dialect) -> list[str]:
    """The statements of a script, comments removed and the dialect's words filled in."""
    lines = (line for line in text.splitlines() if not line.startswith("--"))
    filled = "\n".join(lines).format(**dialect.words)
    return [statement.strip() for statement in filled.split(";") if statement.strip()]
