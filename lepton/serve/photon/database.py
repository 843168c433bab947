"""Photons that were made on this machine: a table in the cache folder."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any

from lepton.serve.photon import config

TABLE = "CREATE TABLE IF NOT EXISTS photon (id TEXT, name TEXT, model TEXT, path TEXT, creation_time INTEGER)"
FIND = "SELECT id, name, model, path, creation_time FROM photon"
NEWEST = "ORDER BY creation_time DESC, rowid DESC"
Record = tuple[str, str, str, str, int]


@contextmanager
def table() -> Iterator[sqlite3.Connection]:
    """The table, for one transaction."""
    config.CACHE_DIR.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(config.DB_PATH, timeout=30)
    try:
        with connection:
            connection.execute(TABLE)
            yield connection
    finally:
        connection.close()


def add_photon(id: str, name: str, model: str, path: str) -> None:
    """Remember one."""
    with table() as rows:
        rows.execute("INSERT INTO photon VALUES (?, ?, ?, ?, ?)", (id, name, model, path, int(time())))


def find_all_local_photons() -> list[Record]:
    """All, the newest first."""
    with table() as rows:
        return rows.execute(f"{FIND} {NEWEST}").fetchall()


def find_local_photon(name: str, return_path: bool = True) -> Any:
    """Path of the newest of a name, or its whole record; None if there is none."""
    with table() as rows:
        found = rows.execute(f"{FIND} WHERE name = ? {NEWEST}", (name,)).fetchone()
    return found[3] if found and return_path else found


def remove_local_photon(name: str, remove_all: bool = False) -> None:
    """Forget the newest of a name, or all, and delete their files."""
    with table() as rows:
        found = rows.execute(f"{FIND} WHERE name = ? {NEWEST}", (name,)).fetchall()
        for _, _, _, path, _ in found if remove_all else found[:1]:
            if os.path.exists(path):
                os.remove(path)
            rows.execute("DELETE FROM photon WHERE name = ? AND path = ?", (name, path))
