"""A place with backups that was set back: the catalog knows which backups it made there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import LeptonError
from lepton.vault.backup.target import manifest_paths
from tests.server.test_backups import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill()
    made.new_key()
    return made


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def run(*words: str | Path) -> Result:
    done = call(*words)
    assert done.exit_code == 0, done.exception or done.output
    return done


def fault(*words: str | Path) -> LeptonError:
    done = call(*words)
    assert isinstance(done.exception, LeptonError), done.output
    return done.exception


def standing(place: Place) -> str:
    rows: list[dict[str, Any]] = json.loads(run("backups", "--data", place.data, "--json").stdout)
    return str(rows[0]["standing"])


def set_back(place: Place) -> None:
    """Backups 1 and 2 are there, 3 and 4 were made."""
    for number in (1, 2):
        assert place.back_up().number == number
    older = place.safe.with_name("older")
    shutil.copytree(place.safe, older)
    for number in (3, 4):
        assert place.back_up().number == number
    shutil.rmtree(place.safe)
    shutil.copytree(older, place.safe)


def test_a_place_that_was_set_back_is_named_with_all_that_it_lost(place: Place) -> None:
    set_back(place)
    at, data = ("--at", place.safe), ("--data", place.data)
    assert "3-4" in standing(place)
    told = fault("verify", *at, *data)
    assert "Backups 3-4 were made" in told.message
    for number in (5, 6):
        done = run("backup", "--to", place.safe, *data)
        assert f"Backup {number} of" in done.stdout and "Backups 3-4 were made" in done.stderr
        assert "--backup 3 --backup 4" in done.stderr and "3-4" in standing(place)
        told = fault("verify", *at, *data)
        assert all(manifest_paths(gone)[0] in told.message for gone in (3, 4))
    assert json.loads(run("backup", "--to", place.safe, "--json", *data).stdout)["missed"] == [3, 4]
    run("forget", *at, "--backup", "3", *data)
    assert "Backup 4 was made" in standing(place)
    run("forget", *at, "--backup", "4", *data)
    assert standing(place) == "good", "as soon as note is taken of it"
    run("verify", *at, *data)
    done = run("backup", "--to", place.safe, *data)
    assert "were made" not in done.stderr and standing(place) == "good"
    run("forget", *at, "--keep-last", "1", *data)
    shutil.rmtree(place.safe / "let-go", ignore_errors=True)
    assert json.loads(run("backup", "--to", place.safe, "--json", *data).stdout)["missed"] == []


def test_the_recovery_key_alone_sees_what_a_place_lost(place: Place, tmp_path: Path) -> None:
    set_back(place)
    kit = tmp_path / "kit"
    run("recovery-key", "--another", "--out", kit, "--data", place.data)
    run("backup", "--to", place.safe, "--data", place.data)
    told = fault("verify", "--at", place.safe, "--recovery-key", kit)
    assert all(manifest_paths(gone)[0] in told.message for gone in (3, 4))


def test_the_key_of_another_platform_is_called_that_and_no_rollback(place: Place, tmp_path: Path) -> None:
    other, kit = Place(tmp_path / "other"), tmp_path / "kit"
    other.fill()
    run("recovery-key", "--out", kit, "--data", other.data)
    place.back_up()
    for _ in range(3):
        other.back_up()
    run("recovery-key", "--refresh", kit, "--data", other.data)
    words = ("--recovery-key", kit)
    for told in (
        fault("restore", "--from", place.safe, "--into", tmp_path / "new", *words),
        fault("verify", "--at", place.safe, *words),
        fault("drill", "--at", place.safe, "--backup", "1", *words),
    ):
        assert "is another platform's" in told.message and "gone" not in told.message
    script = [sys.executable, "tools/restore.py", "--from", str(place.safe), "--into", str(tmp_path / "plain")]
    done = subprocess.run([*script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 1 and "another platform's" in done.stderr
    (other.safe / "lepton-backup").write_bytes((place.safe / "lepton-backup").read_bytes())
    run("drill", "--at", other.safe, *words)
    script[3] = str(other.safe)
    assert subprocess.run([*script, *map(str, words)], capture_output=True).returncode == 0
