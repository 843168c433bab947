"""A backup comes back onto an empty database of Postgres, whatever it was made of, and never onto one that is not."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lepton.core.errors import ConfigError, ConflictError
from lepton.server import opening, restoring
from lepton.store.dump import dump, is_empty
from lepton.store.open import open_empty
from tests.server.house import API, House, open_house
from tests.server.test_backups import CLOCK, Place, quiet
from tests.server.test_schedules import refused, run

BODY = b"what is kept\n" * 5000
Fresh = Callable[[], str]


@pytest.fixture
def fresh(postgres_url: str) -> Fresh:
    """Makes one empty database after the other."""
    import psycopg  # noqa: PLC0415  an extra: only what needs Postgres needs it

    numbers = count()

    def make() -> str:
        name = f"r{os.urandom(6).hex()}{next(numbers)}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgres_url.rpartition("/")[0] + f"/{name}"

    return make


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill()
    return made


def lines_of(url: str, folder: Path) -> list[bytes]:
    database = open_empty(folder, url)
    try:
        return [] if database.read(is_empty) else database.read(lambda tx: list(dump(tx)))
    finally:
        database.close()


def fill(house: House) -> None:
    put = house.http.put(f"{API}/vault/files/a.txt?workspace=default", content=BODY)
    assert put.status_code == 201, put.text
    house.version("one")
    house.wait(house.submit()["id"], "running", "pending")


def check(house: House) -> None:
    """What was kept is there, and what is new gets numbers of its own."""
    assert house.http.get(f"{API}/vault/files/a.txt?workspace=default").content == BODY
    before = house.ask("GET", "/events?limit=1000")["items"]
    house.version("two")
    put = house.http.put(f"{API}/vault/files/b.txt?workspace=default", content=BODY[1:])
    assert put.status_code == 201, put.text
    assert house.http.get(f"{API}/vault/files/b.txt?workspace=default").content == BODY[1:]
    assert len(house.ask("GET", "/events?limit=1000")["items"]) > len(before)


@pytest.mark.parametrize("source", ["postgres", "sqlite"])
def test_a_backup_comes_back_onto_postgres_and_what_is_written_then_too(
    tmp_path: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    data, safe, kit, back = (tmp_path / name for name in ("data", "safe", "kit.json", "back"))
    first, second, third = fresh() if source == "postgres" else "", fresh(), fresh()
    monkeypatch.setenv("LEPTON_DATABASE", first)
    with open_house(data, database=first) as house:
        fill(house)
        run("recovery-key", "--out", kit, "--data", data)
        run("backup", "--to", safe, "--data", data)
    words = ("restore", "--from", safe, "--recovery-key", kit, "--into")
    monkeypatch.setenv("LEPTON_DATABASE", second)
    run(*words, back)
    assert (back / "database").read_text().strip() == second and not (back / "lepton.db").exists()
    assert "are whole" in run("verify", "--data", back)
    with open_house(back, database=second) as house:
        check(house)
    monkeypatch.delenv("LEPTON_DATABASE")
    refused(ConfigError, "has its database at", "verify", "--data", back)
    again = tmp_path / "again"  # the setting stands in a file, as for `lepton up`; a backup of what was restored
    again.mkdir()
    (again / "lepton.toml").write_text(f'database = "{third}"\n')
    monkeypatch.setenv("LEPTON_DATABASE", second)
    run("backup", "--to", safe, "--claim", "--data", back)
    monkeypatch.delenv("LEPTON_DATABASE")
    run(*words, again)
    assert "are whole" in run("verify", "--data", again)
    with open_house(again, database=third) as house:
        assert house.http.get(f"{API}/vault/files/b.txt?workspace=default").content == BODY[1:]


def test_a_database_that_is_not_empty_is_refused_and_left_as_it_was(
    place: Place, tmp_path: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg  # noqa: PLC0415  an extra: only what needs Postgres needs it

    (tmp_path / "kit").write_text(place.new_key().to_text())
    place.back_up()
    words = ("restore", "--from", place.safe, "--recovery-key", tmp_path / "kit", "--into")
    foreign, ours, into = fresh(), fresh(), tmp_path / "back"
    with psycopg.connect(foreign, autocommit=True) as connection:
        connection.execute("CREATE TABLE facts (theirs TEXT)")
    monkeypatch.setenv("LEPTON_DATABASE", foreign)
    fault = refused(ConflictError, "is not empty", *words, into)
    assert "LEPTON_DATABASE" in fault.fix and not into.exists(), "nothing is begun, so that another can be named"
    with psycopg.connect(foreign) as connection:
        assert connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [
            ("facts",)
        ]
    monkeypatch.setenv("LEPTON_DATABASE", ours)
    run(*words, into)
    before = lines_of(ours, tmp_path)
    refused(ConflictError, "is not empty", *words, tmp_path / "other")
    assert lines_of(ours, tmp_path) == before


STEPS, EACH = {"rename", "unlink"}, 150
"""Each of these calls is a step, and so is each so-manieth statement."""


def dies_at(step: int, restore: Callable[[], object]) -> bool:
    """Restore in a process of its own that is killed at a step; whether it was."""
    child = os.fork()
    if child == 0:
        left, statements = step, 0

        def watch(frame: FrameType, event: str, called: Any) -> None:
            nonlocal left, statements
            if event == "call" and frame.f_code.co_name == "execute" and "psycopg" in frame.f_code.co_filename:
                statements += 1
                left -= statements % EACH == 0
            elif event == "c_call" and called.__name__ in STEPS:
                left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            threading.setprofile(watch)
            sys.setprofile(watch)
            restore()
        finally:
            sys.setprofile(None)
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def test_killed_anywhere_nothing_half_is_there_and_the_same_restore_ends_it(
    place: Place, tmp_path: Path, fresh: Fresh
) -> None:
    key = place.new_key()
    place.back_up()
    manifest = opening.open_manifest(place.target, key=key)

    def restore(into: Path, url: str) -> int:
        with opening.opened(place.target, manifest, CLOCK) as backup:
            return restoring.restore(backup, into, CLOCK, progress=quiet, database=url)

    seen, is_killed, step = set[bool](), True, 0
    url = ""
    while is_killed:
        url_before = url
        into, url = tmp_path / f"at-{step}", fresh()
        is_killed = dies_at(step, lambda into=into, url=url: restore(into, url))  # type: ignore[misc]
        there = lines_of(url, tmp_path)
        if is_killed:
            seen.add(bool(there))
            if (into / "restoring").exists():
                with pytest.raises(ConflictError, match="was begun with the database"):
                    restore(into, fresh())
            is_begun = (into / "restoring").exists()
            assert restore(into, url) if is_begun or not (into / "key").exists() else True
        found = lines_of(url, tmp_path)
        assert not there or found == there, "what was there whole is not written again"
        assert found and (into / "key").exists() and not (into / "restoring").exists()
        step += 1
    with open_house(tmp_path / f"at-{step - 2}", database=url_before) as house:
        assert house.http.get(f"{API}/vault/objects/{place.digest}").status_code == 200
    assert seen == {True, False}, "killed before the commit, and after"
