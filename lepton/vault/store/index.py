"""Where each chunk of a domain lies: a file of SQLite on this machine, made again from the packs whenever it is lost.

It follows the registered packs in their order, so that every machine's says the same: a chunk lies in the newest pack
that holds it.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from urllib.parse import quote

from lepton.core.clock import believed
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


USAGE = """
SELECT packs.pack, packs.size_bytes, used.box FROM packs LEFT JOIN (
  SELECT chunks.pack AS row, sum(chunks.box) AS box FROM live JOIN chunks ON chunks.id = live.id GROUP BY chunks.pack
) AS used ON used.row = packs.row WHERE packs.row <= ?
"""
HELD_BY = """
SELECT chunks.id FROM chunks JOIN packs ON packs.row = chunks.pack WHERE packs.pack = ? ORDER BY chunks.number
"""
NOTED = """
SELECT number, id, length, start, box, codec FROM chunks JOIN packs ON packs.row = chunks.pack WHERE packs.pack = ?
"""
UNFOUND = """
SELECT 1 FROM live WHERE NOT EXISTS (
  SELECT 1 FROM chunks JOIN packs ON packs.row = chunks.pack WHERE chunks.id = live.id
) LIMIT 1
"""
LIVE_IN = """
SELECT chunks.id FROM chunks JOIN packs ON packs.row = chunks.pack JOIN live ON live.id = chunks.id
WHERE packs.pack = ? ORDER BY chunks.number
"""


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a pack is used."""

    size_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of each pack is used, for as long as it is looked at."""

    packs: Mapping[bytes, Use]
    live_in: Callable[[bytes], Sequence[bytes]]
    """Ids of the live chunks that are read from a pack, in their order there."""
    unread: Collection[bytes] = ()
    """Packs that cannot be read and may hold live chunks: some are in no pack that can."""


class Found(NamedTuple):
    """A chunk's place."""

    pack: bytes
    entry: Entry


class Shelf:
    """The indexes whose files are open: of many domains only those that were used last.

    Args:
        most: how many files are open at once, save those that are just being used.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._open: OrderedDict[Index, None] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._open)

    def used(self, index: "Index") -> None:
        """Note that an index is being used, and close the one that was not for longest, if there are too many."""
        with self._lock:
            self._open[index] = None
            self._open.move_to_end(index)
            surplus = [each for each in islice(self._open, max(0, len(self._open) - self._most)) if each is not index]
        for oldest in surplus:
            if oldest.rest():
                self.closed(oldest)

    def closed(self, index: "Index") -> None:
        """Note that its file is closed."""
        with self._lock:
            self._open.pop(index, None)


class Index:
    """The chunks of one domain. Any thread may use it; one process at a time writes it.

    Args:
        path: the file; it is made, and made anew where it cannot be read.
        shelf: closes the file while it is not used; it is opened again when it is.
    """

    def __init__(self, path: Path, shelf: Shelf | None = None) -> None:
        self._lock, self._shelf = Lock(), shelf
        self._path = path
        self._keeps_open = 0
        """How many are at something that needs the same connection for longer."""
        self._rows: sqlite3.Connection | None = None
        try:
            rows = _opened(path)
        except sqlite3.DatabaseError as fault:
            if not any(word in str(fault) for word in DAMAGED):
                raise IntegrityError(
                    f"{path} cannot be opened: {fault}", fix="Look at the folder and the disk."
                ) from fault
            for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                file.unlink(missing_ok=True)
            rows = _opened(path)
        self._rows = rows
        self._packs: dict[int, bytes] = dict(rows.execute("SELECT row, pack FROM packs"))
        """Of those that are not gone."""
        if shelf is not None:
            shelf.used(self)

    def rest(self) -> bool:
        """Close the file until it is used again; whether that could be done now."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._rows is not None and not self._keeps_open:
                self._rows.close()
                self._rows = None
            return self._rows is None
        finally:
            self._lock.release()

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
        return {row[2]: Found(packs[row[0]], Entry._make(row[1:])) for row in found if row[0] in packs}

    def holds_any(self, ids: Sequence[bytes]) -> bool:
        """Whether one of these is in any pack, or may be: in one that could not be read."""
        parts = (ids[at : at + MOST_ASKED] for at in range(0, len(ids), MOST_ASKED))
        return bool(self.unread()) or any(self.find(part) for part in parts)

    def beginning(self, start: bytes, *, limit: int) -> Sequence[bytes]:
        """Ids of chunks that begin so, some of them where there are more than `limit`."""
        with self._reading() as rows:
            found = rows.execute(
                "SELECT id FROM chunks WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?",
                (start, start.ljust(ID_BYTES * 2, b"\xff"), limit),
            )
            return [bytes(row[0]) for row in found]

    def held_by(self, pack: bytes) -> Sequence[bytes]:
        """Ids of all chunks that are read from a pack, in their order there."""
        with self._reading() as rows:
            return [bytes(row[0]) for row in rows.execute(HELD_BY, (pack,))]

    def last(self) -> tuple[int, bytes]:
        """Number and id of the pack that was followed last."""
        with self._reading() as rows:
            seq, pack = rows.execute("SELECT seq, pack FROM followed").fetchone()
            return int(seq), bytes(pack)

    def unread(self) -> Sequence[Pack]:
        """Packs of which not all could be read when they came."""
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

    def add(self, pack: Pack, entries: Sequence[Entry], *, is_read: bool = True) -> None:
        """Follow a pack that came, with what it holds; not `is_read`: that is not all, as some cannot be read now.

        A pack without a `seq` is one that was followed before, and is read at last.
        """
        with self._reading() as rows, rows:
            known = rows.execute("SELECT row FROM packs WHERE pack = ?", (pack.id,)).fetchone()
            if known is None:
                values = (pack.id, pack.size_bytes, is_read)
                rows.execute("INSERT INTO packs (pack, size_bytes, is_read) VALUES (?, ?, ?)", values)
            elif is_read:
                rows.execute("UPDATE packs SET is_read = 1 WHERE pack = ?", (pack.id,))
            (row,) = rows.execute("SELECT row FROM packs WHERE pack = ?", (pack.id,)).fetchone()
            places = ((e.id, row, e.number, e.start, e.length, e.box, e.codec) for e in entries)
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

    @contextmanager
    def usage(self, live: Iterable[bytes]) -> "Iterator[Usage]":
        """How much of each pack, of those known now, is used: by chunks that are live and are read from there."""
        with self._reading() as rows:
            self._keeps_open += 1
            (most,) = rows.execute("SELECT coalesce(max(row), 0) FROM packs").fetchone()
            rows.execute("CREATE TEMP TABLE IF NOT EXISTS live (id BLOB PRIMARY KEY) WITHOUT ROWID")
            rows.execute("DELETE FROM live")
        try:
            rest = iter(live)
            while some := [(id,) for id in islice(rest, 10_000)]:
                with self._reading() as rows, rows:
                    rows.executemany("INSERT OR IGNORE INTO live VALUES (?)", some)
            unread = {pack.id for pack in self.unread()}
            with self._reading() as rows:
                found = rows.execute(USAGE, (most,)).fetchall()
                if unread and rows.execute(UNFOUND).fetchone() is None:
                    unread.clear()
            yield Usage({bytes(pack): Use(size, used or 0) for pack, size, used in found}, self._live_in, unread)
        finally:
            with self._reading() as rows, rows:
                rows.execute("DELETE FROM live")
                self._keeps_open -= 1

    def _live_in(self, pack: bytes) -> Sequence[bytes]:
        with self._reading() as rows:
            return [bytes(row[0]) for row in rows.execute(LIVE_IN, (pack,))]

    def strange_since(self, paths: Iterable[str], *, now: int, before: int) -> Sequence[str]:
        """Those of the files that were strange already before that time; remembers the others from now on."""
        with self._reading() as rows, rows:
            known = dict(rows.execute("SELECT path, seen_at FROM strange").fetchall())
            still = {path: believed(known.get(path, now), now) or now for path in paths}
            rows.execute("DELETE FROM strange")
            rows.executemany("INSERT INTO strange VALUES (?, ?)", still.items())
        return [path for path, at in still.items() if at < before]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
                self._rows = None
        if self._shelf is not None:
            self._shelf.closed(self)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time."""
        with self._lock:
            try:
                if self._rows is None:
                    self._rows = _opened(self._path)
                yield self._rows
            except sqlite3.DatabaseError as fault:
                raise IntegrityError(
                    f"{self._path} is damaged: {fault}", fix="Stop Lepton and remove it; it is made again."
                ) from fault
        if self._shelf is not None:
            self._shelf.used(self)


def noted(path: Path, pack: bytes) -> Sequence[Entry]:
    """What an index, which may be another process's, says is read from a pack; nothing where it cannot be asked."""
    try:
        rows = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    except sqlite3.Error:
        return []
    try:
        return [Entry._make(row) for row in rows.execute(NOTED, (pack,))]
    except sqlite3.Error:
        return []
    finally:
        rows.close()


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sqlite3.connect(path, check_same_thread=False)
    try:
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = NORMAL")
        rows.execute("PRAGMA cache_size = -8192")
        (found,) = rows.execute("PRAGMA user_version").fetchone()
        if found == 0:
            rows.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif found != FORMAT:
            raise sqlite3.DatabaseError("made by another version of Lepton")
    except BaseException:
        rows.close()
        raise
    return rows
