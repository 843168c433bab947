"""SQLite: the database of one machine. One file, WAL, nothing to install."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event

from lepton.core.errors import DatabaseError, InvalidError, LeptonError, StorageFullError, UnavailableError
from lepton.store.database import Connection

BUSY_MS = 5_000


class SqliteDialect:
    """Connections to one SQLite file."""

    name = "sqlite"
    is_near = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.words = {
            "BLOB": "BLOB",
            "SERIAL": "INTEGER PRIMARY KEY AUTOINCREMENT",
            "FILES": "json_each(versions.files) AS file",
            "FILE_DIGEST": "json_extract(file.value, '$.digest')",
        }

    def connect(self) -> Connection:
        """Open the file, making it if needed.

        Raises:
            DatabaseError: it is not a database, or cannot be written.
        """
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA cache_size=-8000")
        except sqlite3.Error as fault:
            raise self.explain(fault) or fault from fault
        return connection

    def begin(self, connection: Connection) -> None:
        """Take the write lock at once, so that no upgrade can deadlock."""
        connection.execute("BEGIN IMMEDIATE")

    def translate(self, sql: str) -> str:
        """SQLite's own placeholder is `?`."""
        return sql

    def tell(self, connection: Connection) -> None:
        """Nobody else is there."""

    def listen(self, call: Callable[[], None], closing: Event) -> None:
        """Nobody else is there."""

    def explain(self, fault: Exception) -> LeptonError | None:
        """Full disk, lock, torn file and read-only file, in words."""
        if isinstance(fault, OverflowError):
            return InvalidError("A number does not fit into 64 bits", fix="Send a smaller one.")
        if not isinstance(fault, sqlite3.DatabaseError):
            return None
        text = str(fault)
        if "full" in text:
            return StorageFullError(f"The disk that holds {self.path} is full", fix="Free some space, then try again.")
        if "disk I/O error" in text:
            return StorageFullError(f"Cannot write {self.path}: {text}", fix="Check the disk and its free space.")
        if "locked" in text:
            return UnavailableError(f"{self.path} is locked by another program", fix="Close it, then try again.")
        if "malformed" in text or "not a database" in text:
            return DatabaseError(
                f"{self.path} is damaged: {text}",
                fix="Stop the server and restore the file from a backup, or move it away to begin anew.",
            )
        if "readonly" in text or "unable to open" in text:
            return DatabaseError(
                f"Cannot open {self.path}: {text}", fix="Make the data directory writable by this user."
            )
        return None
