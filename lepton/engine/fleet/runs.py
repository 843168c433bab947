"""The runs of a fleet, in one SQLite file that several processes share.

A run is a row, written when it begins: when and how it ends is known from then on, so nobody need be there when it
does, and a kill -9 of whoever began it changes nothing. Only a row that has not ended is ever changed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from threading import RLock
from typing import Any

from lepton.core.errors import EngineError, LeptonError, StorageFullError
from lepton.engine.fleet.run import Run

BUSY_S = 30.0
TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    stamp INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, node TEXT NOT NULL,
    cpu_milli INTEGER NOT NULL, gpu_milli INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, gpus TEXT NOT NULL,
    began_s REAL NOT NULL, ends_s REAL NOT NULL, reason TEXT NOT NULL, code INTEGER, signal INTEGER,
    detail TEXT NOT NULL, is_stubborn INTEGER NOT NULL, log_limit INTEGER NOT NULL, log BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (ends_s);
CREATE TABLE IF NOT EXISTS fleet (id INTEGER PRIMARY KEY CHECK (id = 1), stamp INTEGER NOT NULL, nodes TEXT NOT NULL);
INSERT OR IGNORE INTO fleet VALUES (1, 0, '');
"""


NAMES = [field.name for field in fields(Run)]
SELECT = f"SELECT {', '.join(NAMES)} FROM runs"
VALUES = attrgetter(*NAMES)
INSERT = f"INSERT INTO runs (stamp, {', '.join(NAMES)}) VALUES (?{', ?' * len(NAMES)})"


class Runs:
    """The file, opened. Every method is thread-safe.

    A row's stamp is new whenever the row is, so that `since` finds what other processes have done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        with self._explained():
            self._file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All that is done within becomes true at once, and no other process changes anything meanwhile.

        Raises:
            EngineError, StorageFullError: the file cannot be written; nothing has changed.
        """
        with self._lock, self._explained():
            if self._file.in_transaction:  # within another `changing` of this thread
                yield
                return
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended the transaction itself
                    self._file.execute("ROLLBACK")
                raise

    def get(self, key: str) -> Run | None:
        """The run of that key, if it is here."""
        found = self._rows(f"{SELECT} WHERE key = ?", key)
        return Run(**dict(zip(NAMES, found[0], strict=True))) if found else None

    def add(self, run: Run) -> None:
        """Keep a new run."""
        self._rows(INSERT, self._stamp(), *VALUES(run))

    def change(self, run: Run) -> None:
        """Let a run end as it now says."""
        self._rows(
            "UPDATE runs SET stamp = ?, ends_s = ?, reason = ?, code = ?, signal = ?, detail = ? WHERE key = ?",
            *(self._stamp(), run.ends_s, run.reason, run.code, run.signal, run.detail, run.key),
        )

    def delete(self, key: str, by_s: float) -> None:
        """Drop a run that has ended by then."""
        self._rows("DELETE FROM runs WHERE key = ? AND ends_s <= ?", key, by_s)

    def keys(self) -> list[str]:
        """Of all runs."""
        return [key for (key,) in self._rows("SELECT key FROM runs ORDER BY key")]

    def since(self, stamp: int) -> list[tuple[int, str, float]]:
        """(stamp, key, ends_s) of every run that is new or changed since that stamp, oldest first."""
        return self._rows("SELECT stamp, key, ends_s FROM runs WHERE stamp > ? ORDER BY stamp", stamp)

    def living(self, at_s: float) -> list[Run]:
        """Every run that goes on after that time."""
        return [Run(**dict(zip(NAMES, row, strict=True))) for row in self._rows(f"{SELECT} WHERE ends_s > ?", at_s)]

    def last_stamp(self) -> int:
        """The newest stamp that has been given."""
        return int(self._rows("SELECT stamp FROM fleet")[0][0])

    def nodes_text(self) -> str:
        """The last list of nodes that was kept; empty if there was none."""
        return str(self._rows("SELECT nodes FROM fleet")[0][0])

    def keep_nodes(self, text: str) -> None:
        """Keep a list of nodes, for whoever finds none or a broken one."""
        self._rows("UPDATE fleet SET nodes = ?", text)

    def _stamp(self) -> int:
        return int(self._rows("UPDATE fleet SET stamp = stamp + 1 RETURNING stamp")[0][0])

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock, self._explained():
            return self._file.execute(sql, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as fault:
            raise self._explain(str(fault)) from fault

    def _explain(self, text: str) -> LeptonError:
        if "full" in text or "I/O" in text:
            return StorageFullError(f"No room for a run in {self._path}: {text}", fix="Free disk space there.")
        return EngineError(f"The runs in {self._path} cannot be used: {text}", fix="Look at the file and its owner.")
