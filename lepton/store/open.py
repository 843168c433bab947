"""Open the database a setting names: a file of the data directory, or `postgresql://...`."""

from pathlib import Path

from lepton.core.clock import Clock
from lepton.core.errors import ConfigError
from lepton.store.database import Database, Dialect
from lepton.store.migrate import migrate
from lepton.store.postgres import PostgresDialect
from lepton.store.sqlite import SqliteDialect


def open_database(url: str, *, folder: Path, clock: Clock) -> Database:
    """Open and migrate.

    Args:
        url: empty for SQLite in `folder`, or a postgresql:// URL.
    Raises:
        ConfigError, DatabaseError, UnavailableError: it cannot be used; the message says why.
    """
    database = Database(_dialect(url, folder))
    try:
        migrate(database, clock)
    except BaseException:
        database.close()
        raise
    return database


def open_empty(folder: Path, url: str = "") -> Database:
    """A database as it is, without any table: that of the URL, or one in a folder that has none."""
    return Database(_dialect(url, folder))


def _dialect(url: str, folder: Path) -> Dialect:
    if not url:
        return SqliteDialect(folder / "lepton.db")
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresDialect(url)
    raise ConfigError(
        f"Unknown database {url.split('://')[0]!r}", fix="Use postgresql://user@host/name, or leave it out."
    )
