"""Backups go where they are meant to, by themselves where that was said, and only those stay that are to be kept."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import ConflictError, IntegrityError, InvalidError, LeptonError, NotFoundError
from lepton.security.key import Root
from lepton.server import schedules
from lepton.server.house import House as Folder
from lepton.server.house import writing
from lepton.server.lease import Lease
from lepton.server.schedules import Schedules
from lepton.server.storage import Storage, own_address, sealed_credentials
from lepton.store import targets
from lepton.vault.backup.forgetting import LEASE_S
from lepton.vault.backup.target import FORGETTING, MAKING, Busy, Target, manifest_paths
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import DOING
from tests.server.house import House, open_house

DAY = 86_400


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def run(*words: object) -> str:
    done = call(*words)
    assert done.exception is None, (words, done.output, done.exception)
    return done.output


def refused(kind: type[LeptonError], text: str, *words: object) -> LeptonError:
    done = call(*words)
    assert isinstance(done.exception, kind) and text in done.exception.message, (done.output, done.exception)
    return done.exception


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with open_house(folder) as house:
        house.version()
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", folder)
    return folder


def test_a_folder_that_is_not_mounted_or_misspelt_gets_no_backup(data: Path, tmp_path: Path) -> None:
    safe, away = tmp_path / "safe", tmp_path / "away"
    run("backup", "--to", safe, "--data", data)
    safe.rename(away)
    fault = refused(ConflictError, "none lie there now", "backup", "--to", safe, "--data", data)
    assert "--new" in fault.fix and not (safe / "lepton-backup").exists()
    refused(ConflictError, "No backup went to", "backup", "--to", tmp_path / "saef", "--data", data)
    run("backup", "--to", away, "--data", data)  # it is known wherever it is mounted
    run("backup", "--to", safe, "--new", "--data", data)
    shutil.rmtree(safe)
    shutil.copytree(away, safe)
    run("backup", "--to", safe, "--data", data)  # the other known place
    about = json.loads((safe / "lepton-backup").read_text())
    (safe / "lepton-backup").write_text(json.dumps({**about, "id": "ab" * 16}))
    refused(ConflictError, "Other backups lie at", "backup", "--to", safe, "--data", data)


def test_a_drill_looks_for_the_newest_of_its_own_place_and_says_what_helps_there(data: Path, tmp_path: Path) -> None:
    safe, other = tmp_path / "safe", tmp_path / "other"
    run("backup", "--to", safe, "--data", data)
    run("backup", "--new", "--to", other, "--data", data)
    for place, number in ((safe, 1), (other, 2)):
        assert f"Backup {number} restores" in run("drill", "--at", place, "--data", data)
    for path in manifest_paths(2):
        (other / path).unlink()
    fault = refused(IntegrityError, "Backup 2 was made", "drill", "--at", other, "--data", data)
    assert str(other) in fault.message
    for pack in (safe / "domains").rglob("packs/*/*"):
        if not (safe / "dumps" / pack.relative_to(safe)).exists():
            pack.unlink()
    fault = refused(IntegrityError, "Backup 1 does not come back whole", "drill", "--at", safe, "--data", data)
    assert f"repair --at {safe}" in fault.fix and "--backup" in fault.fix


@pytest.mark.parametrize("body", [None, b"", b"garbage", b"{}"])
def test_a_place_that_lost_its_mark_is_known_read_and_mended(data: Path, tmp_path: Path, body: bytes | None) -> None:
    safe, kit, mark = tmp_path / "safe", tmp_path / "kit.json", tmp_path / "safe" / "lepton-backup"
    run("backup", "--to", safe, "--data", data)
    before = json.loads(mark.read_text())

    def lose() -> None:
        mark.unlink() if body is None else mark.write_bytes(body)

    lose()
    for words in ((), ("--new",)):
        done = call("backup", "--to", safe, *words, "--data", data)
        assert isinstance(done.exception, LeptonError) and "lepton-backup" in done.exception.message
        assert f"repair --at {safe}" in done.exception.fix
    fault = refused(IntegrityError, "lepton-backup: it is", "verify", "--at", safe, "--data", data)
    assert f"repair --at {safe}" in fault.fix
    run("restore", "--from", safe, "--recovery-key", kit, "--into", tmp_path / "again")
    run("drill", "--at", safe, "--data", data)
    run("repair", "--at", safe, "--data", data)
    assert json.loads(mark.read_text()) == before
    run("verify", "--at", safe, "--data", data)
    assert "Backup 2 " in run("backup", "--to", safe, "--data", data)
    other = tmp_path / "other"
    shutil.copytree(safe, other)
    lose()
    run("repair", "--at", safe, "--from", other, "--recovery-key", kit)
    assert json.loads(mark.read_text()) == before, "without the platform too"


def test_a_backup_that_somebody_removed_is_named_and_one_that_was_let_go_of_is_not(data: Path, tmp_path: Path) -> None:
    safe, kit = tmp_path / "safe", tmp_path / "kit.json"
    verify = ("verify", "--at", safe, "--data", data)
    for _ in range(5):
        run("backup", "--to", safe, "--data", data)
    run("forget", "--at", safe, "--backup", 1, "--data", data)
    run(*verify)
    run("verify", "--at", safe, "--recovery-key", kit)
    stale = (safe / "let-go").read_bytes()
    for path in manifest_paths(3):
        (safe / path).unlink()
    for words in (verify, ("verify", "--at", safe, "--recovery-key", kit)):
        fault = refused(IntegrityError, "backups/00000003: it is gone", *words)
        assert "00000001" not in fault.message and "00000002" not in fault.message
    run("backup", "--to", safe, "--data", data)
    refused(IntegrityError, "backups/00000003: it is gone", *verify)
    for path in manifest_paths(6):
        (safe / path).unlink()
    run("backup", "--to", safe, "--data", data)
    assert "00000006" in refused(IntegrityError, "backups/00000003: it is gone", *verify).message
    run("forget", "--at", safe, "--backup", 3, "--backup", 6, "--keep-last", 2, "--data", data)
    run(*verify)
    told = json.loads((safe / "let-go").read_bytes())
    signed = (safe / "let-go").read_bytes()
    assert told["let_go"] == [1, 2, 3, 4, 6] and Target(LocalDriver(safe), "").numbers() == [5, 7]
    (safe / "let-go").write_bytes(stale.replace(b"[1]", b"[1, 2, 3, 4, 6]"))  # by who cannot sign
    refused(IntegrityError, "it is gone", *verify)
    (safe / "let-go").write_bytes(signed)
    for number in (99, 1, 3):
        fault = refused(
            NotFoundError, f"no backup {number} ", "forget", "--at", safe, "--backup", number, "--data", data
        )
        assert "5, 7" in fault.fix


def test_no_backup_goes_into_the_data_directory(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data / "vault")
    elsewhere = tmp_path / "disk"
    for target in (data, data / "vault", data / "x" / ".." / "safe", tmp_path / "link", f"file://{data}/x"):
        refused(InvalidError, "lies in the data directory", "backup", "--to", target, "--data", data)
    (data / "vault").rename(elsewhere)
    (data / "vault").symlink_to(elsewhere)
    refused(InvalidError, "lies in the data directory", "backup", "--to", elsewhere / "b", "--data", data)


def test_what_somebody_put_among_the_backups_does_not_count(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    run("backup", "--to", safe, "--data", data)
    for number in (99_999_999, 2):
        (safe / manifest_paths(number)[0]).write_bytes(b"planted")
    assert "Backup 3 " in run("backup", "--to", safe, "--data", data)
    run("forget", "--at", safe, "--keep-last", 2, "--data", data)
    assert Target(LocalDriver(safe), "").numbers() == [1, 2, 3, 99_999_999]
    run("forget", "--at", safe, "--backup", 2, "--backup", 99_999_999, "--data", data)
    assert Target(LocalDriver(safe), "").numbers() == [1, 3]


class Clockwork:
    """A platform in virtual time, and its loop of backups."""

    def __init__(self, house: House) -> None:
        self.house, platform = house, house.platform
        root = bytes.fromhex((house.config.data / "key").read_text())
        vault = platform.objects.vault
        self.folder = Folder(
            folder=house.config.data,
            keys=Root(root),
            database=platform.database,
            storage=Storage(driver=vault.driver, id="", address=own_address(house.config.data)),
            vault=vault,
            clock=platform.clock,
        )
        lease = Lease("backups", "me", database=platform.database, clock=platform.clock, lease_s=900)
        for other in platform.leases:
            other.release()
        self.loop = Schedules(self.folder, lease)

    def schedule(self, to: Path, **fields: Any) -> None:
        now = schedules.to_micros(self.house.clock.now())
        place = targets.Place(address=str(to), since=now, **fields)
        self.house.platform.database.write(lambda tx: targets.put(tx, place))

    def after(self, seconds: float) -> targets.Place:
        """How a place stands after a turn that comes so much later."""
        self.house.clock.advance(seconds)
        self.loop.turn()
        (place,) = self.house.platform.database.read(targets.every)
        return place

    def alerts(self, state: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.house.ask("GET", f"/observe/alerts?state={state}")["items"]
        return found


class Ending(Lease):
    """Its server ends when the next turn has begun."""

    def hold(self) -> bool:
        is_held = super().hold()
        self.end()
        return is_held


def test_a_backup_that_the_end_of_its_server_cuts_short_is_no_failure(data: Path, tmp_path: Path) -> None:
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(tmp_path / "safe", every_s=DAY)
        database, clock = house.platform.database, house.platform.clock
        clockwork.loop = Schedules(
            clockwork.folder, Ending("backups", "ends", database=database, clock=clock, lease_s=900)
        )
        place = clockwork.after(60)
        assert (place.last_number, place.fault) == (0, "") and clockwork.alerts("firing") == []


def test_backups_are_made_when_they_are_due_and_old_ones_go(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    target = Target(LocalDriver(safe), str(safe))
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(safe, every_s=DAY, keep=targets.Keep(last=2))
        assert clockwork.after(1).last_number == 1
        assert clockwork.after(DAY - 10).last_number == 1
        assert clockwork.after(10).last_number == 2
        for _ in range(3):
            clockwork.after(DAY)
        assert target.numbers() == [4, 5] and clockwork.alerts("firing") == []
        packs = [path for path in (safe / "domains").rglob("*") if path.is_file()]
        assert len(packs) > 2 and not list((safe / DOING).glob("*"))
    assert "daily" not in run("backups", "--data", data)
    run("drill", "--at", safe, "--data", data)


def test_a_place_that_is_gone_raises_one_alert_until_a_backup_is_made(data: Path, tmp_path: Path) -> None:
    safe, away = tmp_path / "safe", tmp_path / "away"
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(safe, every_s=DAY)
        assert clockwork.after(1).last_number == 1
        safe.rename(away)
        for seconds in (DAY, schedules.AGAIN_S, DAY // 2):
            place = clockwork.after(seconds)
            (alert,) = clockwork.alerts("firing")
            assert "none lie there now" in place.fault and str(safe) in alert["spec"]["cause"]
        now = schedules.to_micros(house.clock.now())
        assert schedules.is_overdue(place, now) and schedules.standing(place, now).startswith("OVERDUE")
        assert not safe.exists(), "nothing is begun there"
        away.rename(safe)
        place = clockwork.after(schedules.AGAIN_S)
        assert (place.last_number, place.fault, clockwork.alerts("firing")) == (2, "", [])
        assert [each["state"] for each in clockwork.alerts("resolved")] == ["resolved"]


def test_what_keeps_the_server_from_reaching_a_place_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_STORAGE_FILE", str(tmp_path / "nothing"))
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(tmp_path / "safe", every_s=DAY)
        assert "cannot be read" in clockwork.after(1).fault and len(clockwork.alerts("firing")) == 1
        with writing(data):  # by hand: no fault
            monkeypatch.delenv("LEPTON_STORAGE_FILE")
            assert clockwork.after(schedules.AGAIN_S).last_number == 0
        assert clockwork.after(1).last_number == 1


def test_overdue_is_said_where_no_server_runs_and_a_restored_platform_pauses(data: Path, tmp_path: Path) -> None:
    safe, kit, again = tmp_path / "safe", tmp_path / "kit.json", tmp_path / "again"
    said = run("schedule", "--to", safe, "--every", "1d", "--keep-daily", 7, "--dry-run", "--data", data)
    assert "Nothing was changed" in said and not (safe / "lepton-backup").exists()
    run("schedule", "--to", safe, "--every", "1d", "--keep-daily", 7, "--keep-yearly", 2, "--data", data)
    run("backup", "--to", safe, "--data", data)
    (row,) = json.loads(run("backups", "--data", data, "--json"))
    assert (row["standing"], row["keep"], row["every"]) == ("good", "daily 7, yearly 2", "24.0 h")
    place = targets.Place(address=str(safe), every_s=DAY, since=1, last_at=1, last_number=1)
    assert schedules.standing(place, 2 * DAY * 1_000_000) == "OVERDUE"
    run("restore", "--from", safe, "--recovery-key", kit, "--into", again)
    (row,) = json.loads(run("backups", "--data", again, "--json"))
    assert row["standing"] == "paused"
    run("unschedule", "--to", safe, "--data", data)
    refused(NotFoundError, "by themselves", "unschedule", "--to", safe, "--data", data)
    bad = call("schedule", "--to", safe, "--every", "1s", "--data", data)
    assert bad.exit_code != 0


def test_credentials_of_a_place_are_never_in_the_clear(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_STORAGE_USER", "ann")
    monkeypatch.setenv("LEPTON_STORAGE_SECRET", "hunter2hunter2")
    run("schedule", "--to", tmp_path / "safe", "--every", "1d", "--data", data)
    for path in data.glob("lepton.db*"):
        assert b"hunter2" not in path.read_bytes()
    root = bytes.fromhex((data / "key").read_text())
    sealed = sealed_credentials(root, "x", Credentials(secret="s"))
    with pytest.raises(IntegrityError):
        schedules.open_place(root, targets.Place(address="y", credentials=sealed))
    assert sealed_credentials(root, "x", Credentials()) == b""


def test_what_only_forgotten_backups_need_goes_a_lease_later(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(safe, every_s=DAY)
        clockwork.after(1)
        target = Target(LocalDriver(safe), str(safe))
        for number in (2, 3):
            house.store(os.urandom(50_000))
            assert clockwork.after(DAY).last_number == number
        folder = clockwork.folder
        dry = schedules.let_go(folder, target, [1, 2], is_dry=True)
        assert dry.gone == [1, 2] and target.numbers() == [1, 2, 3]
        done = schedules.let_go(folder, target, [1, 2])
        assert (done.marked, done.removed, target.numbers()) == (dry.marked, 0, [3])
        house.clock.advance(LEASE_S + 1)
        again = schedules.let_go(folder, target, [])
        assert (again.marked, again.removed) == (0, done.marked)
        with (
            pytest.raises(ConflictError, match="making"),
            target.busy(MAKING, FORGETTING, Busy(holder="other", now=schedules.to_micros(house.clock.now()))),
        ):
            schedules.let_go(folder, target, [3])
        assert target.numbers() == [3]
    run("verify", "--at", safe, "--data", data)
