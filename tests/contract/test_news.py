"""Servers on one Postgres hear at once of each other's commits."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from lepton.core.clock import ManualClock
from lepton.server.people import make_named
from lepton.server.submit import Author
from lepton.store.database import Database, Tx
from lepton.store.open import open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def pair(fresh_postgres: str, tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    opened = [open_database(fresh_postgres, folder=tmp_path, clock=ManualClock()) for _ in range(2)]
    yield opened[0], opened[1]
    for each in opened:
        each.close()


def store_event(database: Database, name: str) -> None:
    database.write(lambda tx: make_named(tx, "queue", name, {}, Author(actor="test", workspace="", at=NOW)))


def heard(database: Database) -> SimpleQueue[bool]:
    """Listens; what is in the queue at first is the beginning itself."""
    news: SimpleQueue[bool] = SimpleQueue()
    database.on_news(lambda: news.put(True))
    assert news.get(timeout=30)
    return news


def test_another_hears_of_events_and_of_nothing_else(pair: tuple[Database, Database]) -> None:
    one, other = pair
    news = heard(other)
    one.write(lambda tx: tx.execute("CREATE TABLE quiet (n INTEGER)"))
    with pytest.raises(Empty):
        news.get(timeout=0.6)
    store_event(one, "a")
    assert news.get(timeout=30)


def test_it_hears_again_after_its_connection_broke(pair: tuple[Database, Database]) -> None:
    one, other = pair
    news = heard(other)

    def cut(tx: Tx) -> None:
        tx.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")

    one.read(cut)
    assert news.get(timeout=30)  # what may have been missed
    store_event(one, "b")
    assert news.get(timeout=30)


def test_sqlite_has_nobody_to_hear_from(tmp_path: Path) -> None:
    database = open_database("", folder=tmp_path, clock=ManualClock())
    news: SimpleQueue[bool] = SimpleQueue()
    database.on_news(lambda: news.put(True))
    store_event(database, "c")
    database.close()
    assert news.empty()
