"""What the one writer of a database promises, whatever its callers do."""

from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import InvalidError, UnavailableError
from lepton.store import facts, leases
from lepton.store.database import Database, Tx
from lepton.store.open import open_database


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))
    opened = open_database(url, folder=tmp_path, clock=ManualClock())
    yield opened
    opened.close()


def test_a_caller_that_gives_up_takes_nobody_with_it(database: Database) -> None:
    may_go, begun = Event(), Event()

    def slow(tx: Tx) -> str:
        begun.set()
        assert may_go.wait(10)
        return facts.settle(tx, "slow", "1")

    first = database.submit(slow)
    assert begun.wait(10)
    second = database.submit(lambda tx: facts.settle(tx, "second", "1"))
    third = database.submit(lambda tx: facts.settle(tx, "third", "1"))
    assert second.cancel() and not first.cancel()
    may_go.set()
    assert first.result(10) == third.result(10) == "1"
    with pytest.raises(CancelledError):
        second.result(10)
    assert database.write(lambda tx: facts.settle(tx, "second", "2")) == "2"


def test_a_listener_that_fails_does_not_stop_the_writer(database: Database) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    database.on_commit(fail)
    assert database.write(lambda tx: leases.take(tx, "a", "t", now=0, until=1))
    assert database.write(lambda tx: leases.take(tx, "b", "t", now=0, until=1))


def test_work_after_the_end_is_refused_and_never_forgotten(database: Database) -> None:
    database.close()
    with pytest.raises(UnavailableError):
        database.write(lambda tx: None)


def test_one_value_that_cannot_be_stored_fails_its_own_work_only(database: Database) -> None:
    bad = database.submit(lambda tx: leases.take(tx, "x", "t", now=0, until=1 << 70))
    good = database.submit(lambda tx: leases.take(tx, "y", "t", now=0, until=1))
    with pytest.raises(InvalidError):
        bad.result(10)
    assert good.result(10)


def test_a_fact_is_said_once(database: Database) -> None:
    assert database.write(lambda tx: facts.settle(tx, "key", "a")) == "a"
    assert database.write(lambda tx: facts.settle(tx, "key", "b")) == "a"
