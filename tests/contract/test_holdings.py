"""Which workspace holds which object, on SQLite and on a real Postgres."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lepton.core.artifact import File, Version
from lepton.core.clock import ManualClock
from lepton.core.ids import make_id
from lepton.store import catalog, holdings
from lepton.store.database import Database
from lepton.store.migrate import migrate
from lepton.store.open import open_database
from tests.older import since

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MANY = [f"{number:064x}" for number in range(1200)]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))
    opened = open_database(url, folder=tmp_path, clock=ManualClock())
    yield opened
    opened.close()


def missing(database: Database, digests: list[str], *workspaces: str) -> list[str]:
    return database.read(lambda tx: holdings.missing(tx, digests, workspaces=workspaces))


def test_what_a_workspace_holds_is_found_and_nothing_else(database: Database) -> None:
    database.write(lambda tx: holdings.hold(tx, "red", [*MANY[:1100], MANY[0]]))
    database.write(lambda tx: holdings.hold(tx, "red", MANY[:5]))
    assert missing(database, MANY, "red") == MANY[1100:]
    assert missing(database, MANY, "blue") == missing(database, MANY) == MANY
    assert missing(database, MANY, "blue", "red") == MANY[1100:]
    assert database.read(lambda tx: holdings.missing(tx, MANY, workspaces=None)) == MANY[1100:]


def version(workspace: str, digests: list[str]) -> Version:
    files = tuple(File(path=f"f{number}", digest=digest, size_bytes=1) for number, digest in enumerate(digests))
    return Version(
        id=make_id("version", at=NOW),
        workspace=workspace,
        kind="raw",
        name="v",
        number=0,
        digest="",
        size_bytes=0,
        files=files,
        created_at=NOW,
    )


def test_a_version_makes_its_workspace_hold_its_files_also_one_from_before_there_were_holdings(
    database: Database,
) -> None:
    for workspace, digests in (("red", MANY[:700]), ("red", MANY[:2]), ("blue", MANY[600:800])):
        database.write(lambda tx, w=workspace, d=digests: catalog.insert(tx, version(w, d), actor="a"))  # type: ignore[misc]
    before = database.read(lambda tx: tx.rows("SELECT digest, workspace FROM holdings ORDER BY digest, workspace"))
    assert len(before) == 900
    for statement in since(3):
        database.write(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]
    migrate(database, ManualClock())
    after = database.read(lambda tx: tx.rows("SELECT digest, workspace FROM holdings ORDER BY digest, workspace"))
    assert after == before
