"""Of two copies of a platform one makes backups at a place, until somebody says that the other does."""

import shutil
from pathlib import Path

import pytest

from lepton.core.clock import SystemClock
from lepton.core.errors import IntegrityError
from lepton.server import backups
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.server.ownership import StorageSharedError
from lepton.vault.backup.target import Target
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import BACKUPS_OWNER
from tests.server.house import open_house
from tests.server.test_ownership import copied
from tests.server.test_schedules import DAY, Clockwork, refused, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with open_house(folder) as house:
        house.version()
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", folder)
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_restored_twin_does_not_back_up_beside_its_original(data: Path, tmp_path: Path) -> None:
    safe, twin = tmp_path / "safe", tmp_path / "twin"
    run("backup", "--to", safe, "--data", data)
    run("restore", "--from", safe, "--recovery-key", tmp_path / "kit.json", "--into", twin)
    before = files(safe)
    for words in (
        ("backup", "--to", safe),
        ("schedule", "--to", safe, "--every", "1d"),
        ("forget", "--at", safe, "--backup", 1),
    ):
        fault = refused(StorageSharedError, "another copy of this platform", *words, "--data", twin)
        assert f"lepton vault backup --to {safe} --claim" in fault.fix
    assert files(safe) == before, "nothing is written there"
    run("verify", "--at", safe, "--data", twin)
    run("backup", "--to", tmp_path / "its own", "--new", "--data", twin)
    assert "Backup 2 " in run("backup", "--to", safe, "--data", data)
    assert "Backup 3 " in run("backup", "--to", safe, "--claim", "--data", twin)  # after a disaster
    assert "Backup 4 " in run("backup", "--to", safe, "--data", twin)
    refused(StorageSharedError, "another copy", "backup", "--to", safe, "--data", data)
    run("schedule", "--to", safe, "--every", "1d", "--claim", "--data", data)
    refused(StorageSharedError, "another copy", "backup", "--to", safe, "--data", twin)
    assert "Backup 5 " in run("backup", "--to", safe, "--data", data)
    run("forget", "--at", safe, "--keep-last", 1, "--data", data)
    assert Target(LocalDriver(safe), "").numbers() == [5]


def test_of_two_copies_of_a_directory_the_first_has_the_place_and_the_other_is_told(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    run("backup", "--to", safe, "--data", data)
    other = copied(data, tmp_path / "other")
    run("backup", "--to", safe, "--data", other)
    refused(StorageSharedError, "another copy", "backup", "--to", safe, "--data", data)
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(safe, every_s=DAY)
        assert "another copy" in clockwork.after(DAY + 1).fault
        (alert,) = clockwork.alerts("firing")
        assert "another copy" in alert["spec"]["cause"]


def test_a_place_of_an_older_version_is_taken_by_its_next_backup_and_not_by_a_restored_twin(
    data: Path, tmp_path: Path
) -> None:
    safe, twin = tmp_path / "safe", tmp_path / "twin"
    run("backup", "--to", safe, "--data", data)
    run("restore", "--from", safe, "--recovery-key", tmp_path / "kit.json", "--into", twin)
    (safe / BACKUPS_OWNER).unlink()
    refused(StorageSharedError, "restored", "backup", "--to", safe, "--data", twin)
    run("backup", "--to", safe, "--data", data)
    assert (safe / BACKUPS_OWNER).exists()
    shutil.rmtree(safe)
    run("backup", "--to", safe, "--new", "--data", twin)  # an empty place is nobody's
    run("backup", "--to", safe, "--data", twin)


def test_who_takes_a_place_while_a_backup_is_made_has_it(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    run("backup", "--to", safe, "--data", data)
    other = copied(data, tmp_path / "other")

    def meanwhile(done: int, total: int) -> None:
        if done == total and not seen:
            seen.append(done)
            run("backup", "--to", safe, "--claim", "--data", other)

    seen = list[int]()
    with opened_data(ServerConfig(data=data), SystemClock()) as house, pytest.raises(StorageSharedError):
        backups.back_up(house, Target(LocalDriver(safe), str(safe)), progress=meanwhile)
    assert seen and Target(LocalDriver(safe), "").numbers() == [1, 2]


def test_what_says_whose_a_place_is_can_be_damaged(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    run("backup", "--to", safe, "--data", data)
    for body in (b"", b"null", b"{}"):
        (safe / BACKUPS_OWNER).write_bytes(body)
        fault = refused(IntegrityError, f"{BACKUPS_OWNER} at {safe} is damaged", "backup", "--to", safe, "--data", data)
        assert "--claim" in fault.fix
        run("backup", "--to", safe, "--claim", "--data", data)
    run("backup", "--to", safe, "--data", data)
