"""The whole database as lines of JSON, the same of SQLite and Postgres, and back into an empty one.

    {"lepton_dump": 1, "schema": 5}
    {"table": "facts", "columns": ["name", "value"]}
    ["key", "..."]                                    one row a line, until the next table

Bytes are {"b": base64}. Rows come in the order of their primary keys, so that what did not change gives the same
lines: two dumps share most of their content. Leases and what was promised for a moment are left out.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from lepton.core.errors import DatabaseError, IntegrityError
from lepton.store.database import Row, Tx
from lepton.store.migrate import apply, scripts

FORMAT = 1
LEFT_OUT = ("leases", "idempotency")
TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\n\);", re.DOTALL)
SERIAL = re.compile(r"^\s*(\w+) \{SERIAL\}", re.MULTILINE)
KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)|^\s*(\w+) (?:\w+ PRIMARY KEY|\{SERIAL\})", re.MULTILINE)
ROWS = 1000


def dump(tx: Tx) -> Iterator[bytes]:
    """Lines of the database as it is at one moment, each with its newline."""
    if tx.dialect.name != "sqlite":
        tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    row = tx.row("SELECT max(number) FROM migrations")
    yield _line({"lepton_dump": FORMAT, "schema": int(row[0]) if row else 0})
    for table, key in sorted(tables().items()):
        if table not in LEFT_OUT:
            yield from _table(tx, table, key)


def load(tx: Tx, lines: Iterable[bytes], *, at: int) -> int:
    """Fill an empty database with a dump; return how many rows. It is not migrated further than the dump was.

    Args:
        at: when, in microseconds since 1970.

    Raises:
        IntegrityError: what was read is no dump, or of a newer form.
        DatabaseError: the dump is of a newer schema than this Lepton knows.
    """
    rest = iter(lines)
    head = _read(next(rest, b""))
    if not isinstance(head, dict) or head.get("lepton_dump") != FORMAT:
        raise IntegrityError(
            "This is no dump that this version of Lepton can read", fix="Use the version that made it."
        )
    schema = int(head.get("schema", 0))
    if schema > max(scripts()):
        raise DatabaseError(f"The dump has schema {schema}", fix="Use the newer version of Lepton that made it.")
    apply(tx, tx.dialect, upto=schema, at=at)
    rows = _fill(tx, rest)
    _count_on(tx)
    return rows


def is_empty(tx: Tx) -> bool:
    """Whether a database has no table at all, of whatever program."""
    if tx.dialect.name == "sqlite":
        return tx.row("SELECT 1 FROM sqlite_master") is None
    return tx.row("SELECT 1 FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')") is None


def tables() -> dict[str, str]:
    """Every table -> the columns of its primary key, with commas."""
    found = {}
    for _, text in scripts().values():
        for name, body in TABLE.findall(text):
            keys = KEY.findall(body)
            found[name] = keys[0][0] or keys[0][1] if keys else "1"
    return found


def _table(tx: Tx, table: str, key: str) -> Iterator[bytes]:
    columns, rows = _rows(tx, f"SELECT * FROM {table} ORDER BY {key}")
    yield _line({"table": table, "columns": columns})
    for row in rows:
        yield _line([_plain(value) for value in row])


def _rows(tx: Tx, sql: str) -> tuple[Sequence[str], Iterator[Row]]:
    """Column names and rows, never all of them in memory."""
    if tx.dialect.name == "sqlite":
        cursor = tx.connection.execute(sql)
        return [column[0] for column in cursor.description], cursor
    tx.execute(f"DECLARE rows_of_dump CURSOR FOR {sql}")
    first = tx.connection.execute(f"FETCH {ROWS} FROM rows_of_dump")

    def rows() -> Iterator[Row]:
        found = first.fetchall()
        while found:
            yield from found
            found = tx.rows(f"FETCH {ROWS} FROM rows_of_dump")
        tx.execute("CLOSE rows_of_dump")

    return [column[0] for column in first.description], rows()


def _fill(tx: Tx, lines: Iterator[bytes]) -> int:
    sql, count = "", 0
    known = tables()
    for line in lines:
        found = _read(line)
        if isinstance(found, dict):
            table, columns = str(found.get("table")), [str(column) for column in found.get("columns", ())]
            if table not in known or not all(re.fullmatch(r"\w+", column) for column in columns):
                raise IntegrityError(f"The dump has a table {table[:80]!r}", fix="Restore from another backup.")
            marks = ", ".join("?" * len(columns))
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        elif isinstance(found, list) and sql:
            count += tx.execute(sql, [_value(value) for value in found])
        else:
            raise IntegrityError("A line of the dump is damaged", fix="Restore from another backup.")
    return count


def _count_on(tx: Tx) -> None:
    """Let numbers go on after those of the dump; SQLite does so by itself."""
    if tx.dialect.name == "sqlite":
        return
    for _, text in scripts().values():
        for table, body in TABLE.findall(text):
            for column in SERIAL.findall(body):
                tx.row(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}")


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of content that comes in pieces."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    yield from (rest,) if rest else ()


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines joined into pieces, so that what stores them is not asked too often."""
    rest = iter(lines)
    while some := list(islice(rest, ROWS)):
        yield b"".join(some)


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as fault:
        raise IntegrityError("A line of the dump is damaged", fix="Restore from another backup.") from fault


def _plain(value: Any) -> Any:
    return {"b": b64encode(value).decode()} if isinstance(value, bytes | bytearray | memoryview) else value


def _value(value: Any) -> Any:
    return b64decode(value["b"]) if isinstance(value, dict) else value
