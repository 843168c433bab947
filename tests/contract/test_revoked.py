"""What was revoked is told in order, counted by user, and forgotten once it says nothing any more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.clock import ManualClock
from lepton.store import revoked
from lepton.store.database import Database
from lepton.store.open import open_database
from lepton.store.revoked import Revoked


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))
    opened = open_database(url, folder=tmp_path, clock=ManualClock())
    yield opened
    opened.close()


def test_marks_are_told_in_order_counted_and_forgotten(database: Database) -> None:
    rows = [Revoked(seq, f"mark {seq}", 100 + seq, 1000 + seq) for seq in (1, 2, 3)]
    for row, user in zip(rows, ("ann", "bob", "ann"), strict=True):
        database.write(lambda tx, row=row, user=user: revoked.add(tx, row, user))  # type: ignore[misc]
    assert database.read(lambda tx: revoked.after(tx, -1)) == rows
    assert database.read(lambda tx: revoked.after(tx, 1)) == rows[1:]
    assert database.read(lambda tx: [revoked.count_of(tx, name) for name in ("ann", "bob", "cid")]) == [2, 1, 0]
    again = Revoked(4, "mark 1", 200, 2000)
    database.write(lambda tx: revoked.add(tx, again, "ann"))
    assert database.read(lambda tx: revoked.after(tx, 0)) == [*rows[1:], again]
    assert database.write(lambda tx: revoked.sweep(tx, 1003)) == 1
    assert database.read(lambda tx: revoked.after(tx, 0)) == [rows[2], again]
