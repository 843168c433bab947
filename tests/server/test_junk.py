"""Junk that somebody put into a place with backups: it is named, and blocks nothing; what is true is no junk."""

import subprocess
import sys
from pathlib import Path

import pytest

from lepton.core.errors import IntegrityError
from lepton.vault.backup.target import manifest_paths
from tests.server.test_backups import Place, spoiled
from tests.server.test_set_back import fault, place, run

__all__ = ["place"]
JUNK = b"junk of somebody who can write there" * 10


def planted(place: Place, *numbers: int) -> None:
    for number in numbers:
        (place.safe / manifest_paths(number)[0]).write_bytes(JUNK)


@pytest.mark.parametrize("numbers", [(0,), (99,), (98, 99), (0, 98, 99)])
def test_junk_in_a_place_blocks_nothing_and_is_named_until_it_is_let_go_of(
    place: Place, numbers: tuple[int, ...]
) -> None:
    for _ in range(3):
        place.back_up()
    planted(place, *numbers)
    at, data = ("--at", place.safe), ("--data", place.data)
    told = fault("verify", *at, *data)
    assert all(manifest_paths(number)[0] in told.message for number in numbers) and "no backup of this" in told.message
    done = run("drill", *at, *data)
    assert "Backup 3 restores" in done.stdout and manifest_paths(numbers[0])[0] in done.stderr
    run("restore", "--from", place.safe, "--into", place.data.with_name("part"), "--only", "default", *data)
    run("forget", *at, "--keep-last", "2", *data)
    assert {*place.target.numbers()} - {*numbers} == {2, 3}
    assert place.back_up().number == 4
    for number in numbers:
        run("forget", *at, "--backup", str(number), *data)
        assert not (place.safe / manifest_paths(number)[0]).exists()
    run("verify", *at, *data)


def test_a_true_backup_whose_manifest_is_damaged_is_no_junk(place: Place) -> None:
    for _ in range(4):
        place.back_up()
    planted(place, 99)
    for number in (1, 3, 4):
        for path in manifest_paths(number):
            spoiled(place.safe / path)
    at, data = ("--at", place.safe), ("--data", place.data)
    with pytest.raises(IntegrityError, match="Backup 4 at"):
        raise fault("drill", *at, *data)
    told = fault("verify", *at, "--backup", "2", *data)
    assert all(f"{manifest_paths(number)[0]}: it is damaged in all" in told.message for number in (1, 3, 4))
    assert f"{manifest_paths(99)[0]}: it is no backup of this platform" in told.message
    told = fault("forget", *at, "--backup", "3", *data)
    assert told.fix.endswith("--backup 1 --backup 3 --backup 4") and "99" not in told.fix
    run("forget", *at, "--backup", "1", "--backup", "3", "--backup", "4", *data)
    run("drill", *at, *data)


def test_with_the_recovery_key_alone_junk_is_refused_with_a_way_out(place: Place, tmp_path: Path) -> None:
    kit, at = tmp_path / "kit", ("--at", place.safe)
    run("recovery-key", "--another", "--out", kit, "--data", place.data)
    for _ in range(2):
        place.back_up()
    planted(place, 0)
    run("drill", *at, "--recovery-key", kit)
    assert manifest_paths(0)[0] in fault("verify", *at, "--recovery-key", kit).message
    planted(place, *range(60, 99))
    told = fault("drill", *at, "--recovery-key", kit)
    assert "Others there: 1, 2;" in told.fix
    run("drill", *at, "--recovery-key", kit, "--backup", "2")
    script = [sys.executable, "tools/restore.py", "--from", str(place.safe), "--into", str(tmp_path / "plain")]
    script += ["--recovery-key", str(kit)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("--backup N takes another: 1, 2")
    assert subprocess.run([*script, "--backup", "2"], capture_output=True).returncode == 0


def test_what_another_copy_of_the_platform_made_is_no_junk(place: Place, tmp_path: Path) -> None:
    kit, new, at = tmp_path / "kit", tmp_path / "new", ("--at", place.safe)
    run("recovery-key", "--another", "--out", kit, "--data", place.data)
    for _ in range(3):
        place.back_up()
    run("restore", "--from", place.safe, "--recovery-key", kit, "--into", new)
    place.back_up()  # the restored one knows nothing of it
    for path in manifest_paths(4):
        spoiled(place.safe / path)
    data = ("--data", new)
    with pytest.raises(IntegrityError, match="Backup 4 at"):
        raise fault("drill", *at, *data)
    for number in ("5", "6"):
        assert f"Backup {number} of" in run("backup", "--to", place.safe, "--claim", *data).stdout
        assert f"{manifest_paths(4)[0]}: it is damaged in all" in fault("verify", *at, *data).message
        assert fault("forget", *at, "--keep-last", "1", *data).fix.endswith("--backup 4")
    planted(place, 99)
    assert f"{manifest_paths(99)[0]}: it is no backup" in fault("verify", *at, *data).message
    run("forget", *at, "--backup", "4", *data)
    run("forget", *at, "--backup", "99", *data)
    run("verify", *at, *data)
