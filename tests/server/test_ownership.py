"""Two copies of a database on one storage are noticed before either removes what only the other knows."""

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import IntegrityError, StorageFullError, StorageUnreachableError, UnavailableError
from lepton.server.ownership import Ownership, StorageSharedError
from lepton.server.storage import Address, Storage
from lepton.store.open import open_database
from lepton.vault.driver import Capabilities, Head
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import OWNER_MARK, PACKS_MARK
from tests.server.house import API, House, error_of, open_house
from tests.server.test_storage import BODY, call, get, packs_in, put, refused, run
from tests.unit.vault.stores import MemoryDriver

DAY = 86_400


def copied(data: Path, to: Path) -> Path:
    """A copy of a data directory, also of one whose server runs."""
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("lepton.db*", "engine", "*.lock", "url"))
    with closing(sqlite3.connect(data / "lepton.db")) as source, closing(sqlite3.connect(to / "lepton.db")) as target:
        source.backup(target)
    return to


def turn(house: House, name: str) -> None:
    next(loop for loop in house.platform.loops if loop.name == name)._turn()


def prune_for(house: House, days: int) -> None:
    for _ in range(days):
        house.clock.advance(DAY + 1)
        turn(house, "pruning")


def remove(house: House, name: str) -> None:
    answer = house.http.delete(f"/api/v1/vault/files/{name}?workspace=default")
    assert answer.status_code == 200, answer.text


def alerts(house: House) -> list[str]:
    found = house.ask("GET", "/observe/alerts")["items"]
    return [one["spec"]["cause"] for one in found if one["state"] == "firing"]


def test_of_two_copies_one_starts(tmp_path: Path) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    other = copied(data, tmp_path / "other")
    with open_house(other) as house:
        assert put(house, "b", BODY[1:]) == 201
    before = packs_in(packs)
    refused(StorageSharedError, "another copy of this database", data)
    assert packs_in(packs) == before
    with open_house(other) as house:
        assert get(house, "b") == BODY[1:]


def test_a_server_that_runs_while_a_copy_starts_stops_to_delete_and_says_so(tmp_path: Path) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201 and put(house, "old", BODY[2:]) == 201
        other = copied(data, tmp_path / "other")
        with open_house(other) as copy:
            assert put(copy, "theirs", BODY[1:]) == 201
            before = packs_in(packs)
            turn(house, "ownership")
            assert ["another copy of this database" in cause for cause in alerts(house)] == [True]
            house.clock.advance(DAY + 1)
            for _ in range(3):
                with pytest.raises(StorageSharedError):
                    turn(house, "pruning")
                house.clock.advance(DAY + 1)
            assert set(packs_in(packs)) >= set(before)
            assert get(house, "a") == BODY and put(house, "mine", BODY[3:]) == 201, "it goes on"
            turn(copy, "ownership")
            assert not alerts(copy) and get(copy, "theirs") == BODY[1:]
            assert "another copy of this database had it" in run("storage", "--claim", "--data", data)
            turn(house, "ownership")
            assert not alerts(house)
            turn(copy, "ownership")
            assert alerts(copy)
    with open_house(data) as house:
        assert get(house, "mine") == BODY[3:]
    refused(StorageSharedError, "another copy", other)


def test_a_database_that_was_set_back_takes_nothing_of_what_came_after(tmp_path: Path) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
        copied(data, tmp_path / "older")
        assert put(house, "b", BODY[1:]) == 201
        turn(house, "ownership")
    newest = copied(data, tmp_path / "newest")
    for end in ("", "-wal", "-shm"):
        (data / f"lepton.db{end}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "older" / "lepton.db", data / "lepton.db")
    refused(StorageSharedError, "another copy", data)
    run("storage", "--claim", "--data", data)
    before = packs_in(packs)
    with open_house(data) as house:
        prune_for(house, 3)
        assert set(before) <= set(packs_in(packs))
    run("storage", "--claim", "--data", newest)  # it was the wrong one: back to the other
    with open_house(newest) as house:
        assert get(house, "a") == BODY and get(house, "b") == BODY[1:]
    run("storage", "--claim", "--data", data)
    with open_house(data) as house:
        prune_for(house, 32)
        assert get(house, "a") == BODY
        assert not set(before) <= set(packs_in(packs)), "it does not stay for ever"


def test_copies_with_packs_of_their_own_go_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_house(data) as house:
        assert put(house, "a") == 201
    other = copied(data, tmp_path / "other")
    for folder in (other, data):
        with open_house(folder) as house:
            assert get(house, "a") == BODY and put(house, folder.name, BODY[1:]) == 201
            turn(house, "ownership")
            prune_for(house, 3)
            assert not alerts(house)
    assert not (data / "vault" / OWNER_MARK).exists()
    assert isinstance(call("storage", "--claim", "--move-to", "x", "--data", data).exception, Exception)


def test_a_copy_is_given_a_storage_of_its_own(tmp_path: Path) -> None:
    data, packs, away = tmp_path / "data", tmp_path / "packs", tmp_path / "away"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    other = copied(data, tmp_path / "other")
    with open_house(data) as house:
        assert put(house, "b", BODY[1:]) == 201
        refused(StorageSharedError, "another copy", other)
        assert "what lies there is left" in run("storage", "--move-to", away, "--data", other)
        assert (packs / PACKS_MARK).exists() and (packs / OWNER_MARK).exists()
        with open_house(other) as copy:
            assert get(copy, "a") == BODY
        prune_for(house, 3)
        assert get(house, "b") == BODY[1:]
    with open_house(data) as house:
        assert get(house, "a") == BODY
    run("storage", "--move-to", tmp_path / "third", "--data", data)
    assert not (packs / PACKS_MARK).exists() and not (packs / OWNER_MARK).exists()


def test_the_mark_of_the_place_that_was_left_goes_when_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, packs, away = tmp_path / "data", tmp_path / "packs", tmp_path / "away"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    whole = LocalDriver.delete

    def dying(self: LocalDriver, key: str) -> None:
        if self.root == packs:
            raise StorageUnreachableError("not now", fix="")
        whole(self, key)

    monkeypatch.setattr(LocalDriver, "delete", dying)
    assert "what lies there is left: not now" in run("storage", "--move-to", away, "--data", data)
    with open_house(data) as house:
        for number in range(10):  # its token is remembered however many follow
            assert put(house, f"{number}", b"%d" % number) == 201
            turn(house, "ownership")
        assert (packs / PACKS_MARK).exists()
        monkeypatch.undo()
        turn(house, "ownership")
        assert not (packs / PACKS_MARK).exists() and not (packs / OWNER_MARK).exists()
        assert get(house, "a") == BODY


def test_a_server_is_told_of_a_move_until_it_is_started_again(tmp_path: Path) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    places = [packs, data / "vault", packs]
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    for old, new in pairwise([*places, tmp_path / "third"]):
        with open_house(data) as house:
            turn(house, "ownership")
            assert not alerts(house), (old, "those of the place before are over")
            run("storage", "--move-to", new, "--data", data)
            turn(house, "ownership")
            told = alerts(house)
            assert [("moved to another storage" in cause, OWNER_MARK in cause) for cause in told] == [(True, False)]
    with open_house(data) as house:
        turn(house, "ownership")
        assert not alerts(house) and get(house, "a") == BODY


class Plain(MemoryDriver):
    """A storage that can do no more than put, get and list; a write of it may die, before or after it is done."""

    capabilities = Capabilities(create_if_absent=False, replace_if_match=False, unique_etags=False, exact_names=True)
    dies: bool | None = None

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        if self.dies is False:
            raise StorageUnreachableError("gone", fix="")
        head = super().put(key, chunks)
        if self.dies is True:
            raise StorageUnreachableError("gone", fix="")
        return head


def full(monkeypatch: pytest.MonkeyPatch, packs: Path) -> None:
    """Let nothing be written in a storage, as on a full disk."""
    whole = LocalDriver.put

    def put_nothing(self: LocalDriver, key: str, chunks: Iterable[bytes]) -> Head:
        if self.root == packs:
            raise StorageFullError(f"Cannot write {key}: No space left on device", fix="Free some space.")
        return whole(self, key, chunks)

    monkeypatch.setattr(LocalDriver, "put", put_nothing)


def test_a_server_starts_on_a_storage_that_is_full_and_deletes_nothing_until_it_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201 and put(house, "old", BODY[2:]) == 201
        remove(house, "old")
    token, before = (packs / OWNER_MARK).read_bytes(), packs_in(packs)
    full(monkeypatch, packs)
    with open_house(data) as house:
        assert get(house, "a") == BODY
        error_of(house.http.put(f"{API}/vault/files/b?workspace=default", content=BODY[1:]), 507, "storage_full")
        turn(house, "ownership")
        (alert,) = alerts(house)
        assert "No space left" in alert and "Free some space" in alert and "nothing is deleted" in alert
        turn(house, "pruning")
        for _ in range(3):
            house.clock.advance(DAY + 1)
            with pytest.raises(UnavailableError, match="No space left"):
                turn(house, "pruning")
        assert packs_in(packs) == before and (packs / OWNER_MARK).read_bytes() == token
        other = copied(data, tmp_path / "other")
        monkeypatch.undo()
        turn(house, "ownership")
        assert not alerts(house) and (packs / OWNER_MARK).read_bytes() != token
        house.clock.advance(DAY + 1)
        turn(house, "pruning")
        assert put(house, "b", BODY[1:]) == 201
    full(monkeypatch, packs)
    refused(StorageSharedError, "another copy", other)


@pytest.mark.parametrize("body", [None, b"", b"garbage", b"null", b"{}"])
def test_what_says_whose_a_storage_is_can_be_lost_and_is_written_anew(tmp_path: Path, body: bytes | None) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    mark, how = packs / OWNER_MARK, "is gone" if body is None else "is damaged"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
        turn(house, "pruning")
        mark.unlink() if body is None else mark.write_bytes(body)
        turn(house, "ownership")
        (alert,) = alerts(house)
        assert how in alert and "another copy" not in alert and "--claim" in alert
        house.clock.advance(DAY + 1)
        with pytest.raises(IntegrityError, match=how):
            turn(house, "pruning")
        said = run("storage", "--claim", "--data", data)
        assert ("was not there" if body is None else "is damaged") in said
        turn(house, "ownership")
        assert not alerts(house)
        mark.unlink() if body is None else mark.write_bytes(body)
    if body is not None:
        refused(IntegrityError, how, data)
        run("storage", "--claim", "--data", data)
    with open_house(data) as house:
        assert get(house, "a") == BODY


@pytest.mark.parametrize("is_done", [False, True])
def test_a_start_that_dies_between_database_and_storage_is_made_good(tmp_path: Path, is_done: bool) -> None:
    driver, address = Plain(), Address(url="s3://bucket", credentials=Credentials(), folder=tmp_path)
    with closing(open_database("", folder=tmp_path, clock=ManualClock())) as database:
        ownership = Ownership(database, Storage(driver=driver, id="x", address=address))
        ownership.check()  # of a storage from before
        ownership.begin()
        for _ in range(20):  # more than are remembered
            driver.dies = is_done
            with pytest.raises(StorageUnreachableError):
                ownership.begin()
            driver.dies = None
            ownership.check()
        older = tmp_path / "older"
        older.mkdir()
        with (
            closing(sqlite3.connect(tmp_path / "lepton.db")) as source,
            closing(sqlite3.connect(older / "lepton.db")) as to,
        ):
            source.backup(to)
        ownership.begin()
        with closing(open_database("", folder=older, clock=ManualClock())) as old:
            theirs = Ownership(old, Storage(driver=driver, id="x", address=address))
            for refused in (theirs.begin, theirs.check, theirs.keep, theirs.leave):
                with pytest.raises(StorageSharedError):
                    refused()
            ownership.check()
            assert theirs.claim() and not theirs.claim()
            theirs.check()
            with pytest.raises(StorageSharedError):
                ownership.begin()
            driver.delete(OWNER_MARK)  # e.g. moved away
            with pytest.raises(IntegrityError, match="is gone"):
                ownership.check()
