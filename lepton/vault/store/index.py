"""Where each chunk of a domain lies: a file of SQLite on this machine, made again from the packs whenever it is lost.

It follows the registered packs in their order, so that every machine's says the same: a chunk lies in the newest pack
that holds it.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

from lepton.core.errors import IntegrityError
from lepton.vault.store.packs import Entry
from lepton.vault.store.sealing import ID_BYTES
from lepton.vault.store.state import Pack

FORMAT = 2
SCHEMA = """
CREATE TABLE chunks (
  id BLOB PRIMARY KEY, pack INTEGER, number INTEGER, start INTEGER, length INTEGER, box INTEGER, codec INTEGER
) WITHOUT ROWID;
CREATE TABLE packs (
  row INTEGER PRIMARY KEY AUTOINCREMENT, pack BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL,
  is_read INTEGER NOT NULL
);
CREATE TABLE followed (seq INTEGER NOT NULL, pack BLOB NOT NULL);
INSERT INTO followed VALUES (0, x'');
CREATE TABLE strange (path TEXT PRIMARY KEY, seen_at INTEGER NOT NULL) WITHOUT ROWID;
"""
FIND = "SELECT pack, number, id, length, start, box, codec FROM chunks WHERE id IN ({})"
FIND_ONE = FIND.format("?")
MOST_ASKED = 512
DAMAGED = ("malformed", "not a database", "another version")


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk's place."""

    pack: bytes
    entry: Entry


class Index:
    """The chunks of one domain. Any thread may use it; one process at a time writes it.

    Args:
        path: the file; it is made, and made anew where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._path = path
        try:
            self._rows = _opened(path)
        except sqlite3.DatabaseError as fault:
            if not any(word in str(fault) for word in DAMAGED):
                raise IntegrityError(
                    f"{path} cannot be opened: {fault}", fix="Look at the folder and the disk."
                ) from fault
            for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                file.unlink(missing_ok=True)
            self._rows = _opened(path)
        self._packs: dict[int, bytes] = dict(self._rows.execute("SELECT row, pack FROM packs"))
        """Of those that are not gone."""

    @property
    def seq(self) -> int:
        """Up to where it has followed the packs of the domain."""
        with self._reading() as rows:
            return int(rows.execute("SELECT seq FROM followed").fetchone()[0])

    def find(self, ids: Sequence[bytes]) -> Mapping[bytes, Found]:
        """Where chunks lie, of those that are in any pack; at most `MOST_ASKED` at once."""
        sql = FIND_ONE if len(ids) == 1 else FIND.format(", ".join("?" * len(ids)))
        with self._reading() as rows:
            found = rows.execute(sql, ids).fetchall()
            packs = self._packs
        return {row[2]: Found(packs[row[0]], Entry(*row[1:])) for row in found if row[0] in packs}

    def beginning(self, start: bytes, *, limit: int) -> Sequence[bytes]:
        """Ids of chunks that begin so, some of them where there are more than `limit`."""
        with self._reading() as rows:
            found = rows.execute(
                "SELECT id FROM chunks WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?",
                (start, start.ljust(ID_BYTES * 2, b"\xff"), limit),
            )
            return [bytes(row[0]) for row in found]

    def last(self) -> tuple[int, bytes]:
        """Number and id of the pack that was followed last."""
        with self._reading() as rows:
            seq, pack = rows.execute("SELECT seq, pack FROM followed").fetchone()
            return int(seq), bytes(pack)

    def unread(self) -> Sequence[Pack]:
        """Packs whose directory could not be read when they came."""
        with self._reading() as rows:
            found = rows.execute("SELECT pack, size_bytes FROM packs WHERE is_read = 0")
            return [Pack(id, size_bytes, chunks=0) for id, size_bytes in found]

    def clear(self) -> None:
        """Forget everything: the packs are followed from the first again."""
        with self._reading() as rows, rows:
            for table in ("chunks", "packs"):
                rows.execute(f"DELETE FROM {table}")
            rows.execute("UPDATE followed SET seq = 0, pack = x''")
            self._packs.clear()

    def add(self, pack: Pack, entries: Sequence[Entry] | None) -> None:
        """Follow a pack that came, with what its directory says; None: it cannot be read now.

        A pack without a `seq` is one that was followed before, and is read at last.
        """
        with self._reading() as rows, rows:
            known = rows.execute("SELECT row FROM packs WHERE pack = ?", (pack.id,)).fetchone()
            if known is None:
                values = (pack.id, pack.size_bytes, entries is not None)
                rows.execute("INSERT INTO packs (pack, size_bytes, is_read) VALUES (?, ?, ?)", values)
            elif entries is not None:
                rows.execute("UPDATE packs SET is_read = 1 WHERE pack = ?", (pack.id,))
            (row,) = rows.execute("SELECT row FROM packs WHERE pack = ?", (pack.id,)).fetchone()
            places = ((e.id, row, e.number, e.start, e.length, e.box, e.codec) for e in entries or ())
            how = "REPLACE" if pack.seq else "IGNORE"  # a chunk lies in the newest pack that holds it
            rows.executemany(f"INSERT OR {how} INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", places)
            if pack.seq:
                rows.execute("UPDATE followed SET seq = ?, pack = ?", (pack.seq, pack.id))
            self._packs[row] = pack.id

    def drop(self, pack: Pack) -> None:
        """Follow a pack that went."""
        with self._reading() as rows, rows:
            gone = rows.execute("SELECT row FROM packs WHERE pack = ?", (pack.id,)).fetchone()
            rows.execute("DELETE FROM packs WHERE pack = ?", (pack.id,))
            rows.execute("UPDATE followed SET seq = ?, pack = ?", (pack.seq, pack.id))
            if gone:
                self._packs.pop(gone[0], None)

    def is_pack(self, name: str) -> bool:
        """Whether a pack of that id, in hexadecimal, has come and has not gone."""
        with self._reading() as rows:
            id = bytes.fromhex(name) if len(name) == 2 * ID_BYTES and name.isalnum() else b""
            return rows.execute("SELECT 1 FROM packs WHERE pack = ?", (id,)).fetchone() is not None

    def unused(self, live: Iterable[bytes]) -> Mapping[bytes, int]:
        """Packs, of those known now, that hold none of these chunks where they are read from; with their bytes."""
        with self._reading() as rows:
            (most,) = rows.execute("SELECT coalesce(max(row), 0) FROM packs").fetchone()
            rows.execute("CREATE TEMP TABLE IF NOT EXISTS live (id BLOB PRIMARY KEY) WITHOUT ROWID")
            rows.execute("DELETE FROM live")
        rest = iter(live)
        while some := [(id,) for id in islice(rest, 10_000)]:
            with self._reading() as rows, rows:
                rows.executemany("INSERT OR IGNORE INTO live VALUES (?)", some)
        with self._reading() as rows, rows:
            sql = (
                "SELECT pack, size_bytes FROM packs WHERE row <= ? AND row NOT IN "
                "(SELECT chunks.pack FROM live JOIN chunks ON chunks.id = live.id)"
            )
            found = dict(rows.execute(sql, (most,)).fetchall())
            rows.execute("DELETE FROM live")
        return found

    def strange_since(self, paths: Iterable[str], *, now: int, before: int) -> Sequence[str]:
        """Those of the files that were strange already before that time; remembers the others from now on."""
        with self._reading() as rows, rows:
            known = dict(rows.execute("SELECT path, seen_at FROM strange").fetchall())
            still = {path: known.get(path, now) for path in paths}
            rows.execute("DELETE FROM strange")
            rows.executemany("INSERT INTO strange VALUES (?, ?)", still.items())
        return [path for path, at in still.items() if at < before]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._rows.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time."""
        with self._lock:
            try:
                yield self._rows
            except sqlite3.DatabaseError as fault:
                raise IntegrityError(
                    f"{self._path} is damaged: {fault}", fix="Stop Lepton and remove it; it is made again."
                ) from fault


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sqlite3.connect(path, check_same_thread=False)
    try:
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = NORMAL")
        rows.execute("PRAGMA cache_size = -16384")
        (found,) = rows.execute("PRAGMA user_version").fetchone()
        if found == 0:
            rows.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif found != FORMAT:
            raise sqlite3.DatabaseError("made by another version of Lepton")
    except BaseException:
        rows.close()
        raise
    return rows
