"""Backups to our own receiving door: what a thief with all credentials does there is undone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from lepton.core.errors import LeptonError, StorageRefusedError
from lepton.vault.drivers.opening import open_driver
from tests.backends.door import WRITER, serving, started
from tests.backends.process import Storage
from tests.ports import free_port
from tests.server.house import open_house
from tests.server.test_append_only import refused_at
from tests.server.test_schedules import DAY, Clockwork, refused, run

RESTORE = Path(__file__).parents[2] / "tools" / "restore.py"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with serving(tmp_path / "disk", free_port()) as storage:
        monkeypatch.setenv("LEPTON_STORAGE_TOKEN", storage.credentials.token)
        yield storage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with open_house(tmp_path / "data") as house:
        house.version()
    run("recovery-key", "--out", tmp_path / "kit", "--data", tmp_path / "data")
    return tmp_path / "data"


def test_what_a_thief_hides_is_restored_from_the_past_and_comes_back(disk: Storage, data: Path, tmp_path: Path) -> None:
    place, kit = disk.url, ("--recovery-key", tmp_path / "kit")
    for number in (1, 2):
        said = run("backup", "--to", place, "--append-only", "--data", data)
        assert f"Backup {number} " in said and "locked until" not in said
    assert "are whole" in run("verify", "--at", place, *kit)
    past = f"{place}?as_of={quote(datetime.now(UTC).isoformat())}"
    for _ in range(2):
        hide_all(disk)
        assert refused_at(place, data)
        assert "are whole" in run("verify", "--at", past, *kit)
        assert run("backups", "--at", past, "--data", data).count("\n") == 3
        refused(StorageRefusedError, "is the past", "backup", "--to", past, "--data", data)
        run("repair", "--at", place, "--from", past, "--data", data)
        assert "are whole" in run("verify", "--at", place, *kit)
    hide_all(disk)
    run("restore", "--from", past, *kit, "--into", tmp_path / "again")
    assert (tmp_path / "again" / "lepton.db").exists()
    run("repair", "--at", place, "--from", past, *kit)
    assert "Backup 3 " in run("backup", "--to", place, "--append-only", "--claim", "--data", data)  # its owner is lost
    assert "are whole" in run("verify", "--at", place, "--data", data)


def test_its_folder_is_read_without_a_door_and_without_lepton(disk: Storage, data: Path, tmp_path: Path) -> None:
    run("backup", "--to", disk.url, "--append-only", "--data", data)
    folder = disk.folder / WRITER / "some" / "prefix"
    run("verify", "--at", folder, "--recovery-key", tmp_path / "kit")
    words = ("--from", folder, "--recovery-key", tmp_path / "kit", "--into", tmp_path / "plain")
    subprocess.run([sys.executable, RESTORE, *words], check=True, capture_output=True)
    assert (tmp_path / "plain" / "dump.jsonl").exists()


def test_what_is_let_go_of_by_itself_or_by_a_thief_can_be_read_for_a_while(
    disk: Storage, data: Path, tmp_path: Path
) -> None:
    words = ("schedule", "--to", disk.url, "--every", "1d", "--keep-last", 2, "--append-only", "--data", data)
    kit, moment = ("--recovery-key", tmp_path / "kit"), dict[int, str]()
    with open_house(data) as house:
        clockwork = Clockwork(house)
        assert "kept are last 2" in run(*words)
        for number in range(1, 5):
            house.version(f"of-{number}")
            assert clockwork.after(DAY).last_number == number and not clockwork.alerts("firing")
            moment[number] = quote(datetime.now(UTC).isoformat())
    assert numbers(disk.url, kit) == ["3", "4"]
    assert "are whole" in run("verify", "--at", disk.url, *kit)
    assert "1 backup let go" in run("forget", "--at", disk.url, "--keep-last", 1, "--data", data)
    for number, then in moment.items():
        past = f"{disk.url}?as_of={then}"
        assert numbers(past, kit) == [str(each) for each in (number - 1, number) if each]
        assert "are whole" in run("verify", "--at", past, *kit)


def numbers(place: str, kit: tuple[object, ...]) -> list[str]:
    """Of the backups that lie there."""
    lines = run("backups", "--at", place, *kit).strip().splitlines()
    return [line.split()[0] for line in lines if line.split()[0].isdigit()]


def test_after_the_door_was_killed_amid_a_backup_the_next_goes_through(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, port = tmp_path / "disk", free_port()
    place = f"door://127.0.0.1:{port}/p"
    with started(folder, port):
        monkeypatch.setenv("LEPTON_STORAGE_TOKEN", (folder / ".door" / f"{WRITER}.token").read_text().strip())
    for written in (1, 3):
        with started(folder, port) as process:
            backup = [sys.executable, "-m", "lepton.cli.main", "vault", "backup", "--to", place, "--append-only"]
            making = subprocess.Popen([*backup, "--data", str(data)], stderr=subprocess.PIPE)
            while making.poll() is None and len(objects(folder)) < written:
                pass
            os.kill(process.pid, signal.SIGKILL)
            _, said = making.communicate(timeout=120)
            assert making.returncode == 1 and b"does not answer" in said
    with started(folder, port):
        assert " is made" in run("backup", "--to", place, "--append-only", "--data", data)
        assert "are whole" in run("verify", "--at", place, "--recovery-key", tmp_path / "kit")


def objects(folder: Path) -> list[Path]:
    """Plain files of the writer."""
    place = folder / WRITER / "p"
    return [path for path in place.rglob("*") if path.is_file()] if place.exists() else []


def hide_all(storage: Storage) -> None:
    """As somebody would who has the token: one object is written over, the next deleted, names are taken."""
    with closing(open_driver(storage.url, storage.credentials)) as driver:
        for number, head in enumerate(list(driver.list())):
            if number % 2:
                driver.put(head.key, [b"garbage"])
            else:
                driver.delete(head.key)
                for name in (f"{head.key}/x", head.key.partition("/")[0]):
                    try:
                        driver.create_if_absent(name, b"in the way")
                    except LeptonError:
                        continue
