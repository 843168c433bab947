"""What somebody has removed or spoiled in a place with backups is named, and mended where anything proves it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lepton.core.errors import ConflictError, IntegrityError, NotFoundError
from lepton.server.ownership import StorageSharedError
from tests.server.house import open_house
from tests.server.test_backups import run, spoiled
from tests.server.test_dumps import Safe, failed
from tests.server.test_schedules import refused

OWNER = "lepton-backup-owner"


@pytest.fixture
def safe(tmp_path: Path) -> Safe:
    return Safe(tmp_path)


def remove(safe: Safe, number: int) -> None:
    for folder in ("backups", "manifests"):
        (safe.safe / folder / f"{number:08}").unlink()


def write_over(safe: Safe, number: int) -> None:
    for folder in ("backups", "manifests"):
        (safe.safe / folder / f"{number:08}").write_bytes(b"evil")


def test_repair_names_a_backup_that_no_copy_has(safe: Safe) -> None:
    safe.back_up()
    remove(safe, 1)
    for key in (("--data", safe.data), ("--data", safe.data, "--backup", "2")):
        told = failed("repair", "--at", safe.safe, *key)
        assert "backups/00000001: it is gone" in told.message and "forget" in told.fix
    run("forget", "--at", safe.safe, "--backup", 1, "--data", safe.data)
    assert "Nothing is damaged" in run("repair", "--at", safe.safe, "--data", safe.data)


@pytest.mark.parametrize("body", [b"", bytes(80), b"{}"], ids=["empty", "zeros", "other"])
def test_the_file_that_says_which_copy_backs_up_is_named_and_mended_by_the_copy_that_does(
    safe: Safe, tmp_path: Path, body: bytes
) -> None:
    twin = tmp_path / "twin"
    run("restore", "--from", safe.safe, "--recovery-key", safe.kit, "--into", twin)
    (safe.safe / OWNER).write_bytes(body)
    for key in (("--data", safe.data), ("--recovery-key", safe.kit)):
        told = failed("verify", "--at", safe.safe, *key)
        assert f"{OWNER}: it is damaged" in told.message
    told = failed("repair", "--at", safe.safe, "--data", twin)  # it proves nothing
    assert OWNER in told.message and "--claim" in told.message
    assert "and 1 other file" in run("repair", "--at", safe.safe, "--data", safe.data)
    assert "are whole" in run("verify", "--at", safe.safe, "--data", safe.data)
    assert "Backup 2 " in safe.back_up()
    refused(StorageSharedError, "another copy", "backup", "--to", safe.safe, "--data", twin)


def test_whose_a_place_is_is_not_guessed_where_a_newer_backup_lies_there(safe: Safe, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(safe.data, twin)
    run("backup", "--to", safe.safe, "--data", twin)
    (safe.safe / OWNER).write_bytes(b"")
    assert "--claim" in failed("repair", "--at", safe.safe, "--data", safe.data).message
    assert "whole again" in run("repair", "--at", safe.safe, "--data", twin)


def test_where_no_manifest_can_be_read_all_are_named_and_the_way_back(safe: Safe) -> None:
    safe.back_up()
    remove(safe, 1)
    for key in (("--data", safe.data), ("--recovery-key", safe.kit)):
        assert "\n1\tit is gone" in run("backups", "--at", safe.safe, *key)
    write_over(safe, 2)
    for key in (("--data", safe.data), ("--recovery-key", safe.kit)):
        told = refused(IntegrityError, "None of the backups", "backups", "--at", safe.safe, *key)
        assert " 2" in told.message and "as_of" in told.fix
        told = refused(IntegrityError, "Backup 2 at", "verify", "--at", safe.safe, *key)
        assert "as_of" in told.fix
    with open_house(safe.data) as house:
        house.store(b"more")
    safe.back_up()
    listed = run("backups", "--at", safe.safe, "--data", safe.data)
    assert "2\tit cannot be read" in listed and "\n3\t" in listed
    told = refused(IntegrityError, "Backup 2 at", "verify", "--at", safe.safe, "--backup", 2, "--data", safe.data)
    assert "Others there: 3" in told.fix


def test_where_all_manifests_are_gone_the_one_that_was_made_is_named(safe: Safe) -> None:
    remove(safe, 1)
    told = refused(IntegrityError, "Backup 1 was made", "backups", "--at", safe.safe, "--data", safe.data)
    assert "as_of" in told.fix
    safe.back_up("recovery-key", "--refresh", safe.kit)
    for words in (("verify", "--at"), ("backups", "--at")):
        told = refused(IntegrityError, "1 had been made", *words, safe.safe, "--recovery-key", safe.kit)
    refused(NotFoundError, "No backups lie", "backups", "--at", safe.safe.parent / "nowhere", "--data", safe.data)


def test_a_damaged_list_of_what_was_let_go_is_named_and_written_anew(safe: Safe) -> None:
    for _ in range(3):
        safe.back_up()
    run("forget", "--at", safe.safe, "--backup", 1, "--data", safe.data)
    safe.back_up()
    for body in (b"", b"{}", b"\0" * 99):
        (safe.safe / "let-go").write_bytes(body)
        for key in (("--data", safe.data), ("--recovery-key", safe.kit)):
            assert "let-go: it is damaged" in failed("verify", "--at", safe.safe, *key).message
        assert "and 1 other file" in run("repair", "--at", safe.safe, "--data", safe.data)
        for number in (3, 5):
            assert "are whole" in run("verify", "--at", safe.safe, "--backup", number, "--data", safe.data)
    remove(safe, 2)
    assert "backups/00000002: it is gone" in failed("verify", "--at", safe.safe, "--data", safe.data).message


def test_backups_of_another_platform_mend_nothing(safe: Safe, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = Safe(tmp_path / "b")
    for words in (("--at", safe.safe), ()):
        for key in (("--data", safe.data), ("--data", safe.data, "--recovery-key", safe.kit)):
            if words or len(key) == 2:
                refused(ConflictError, "another platform", "repair", *words, "--from", other.safe, *key)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: {},
        lambda told: [1],
        lambda told: {**told, "at_least": "x"},
        lambda told: {**told, "lepton_recovery_key": 2},
        lambda told: {**told, "key": "no hex"},
        lambda told: {**told, "signer": "00"},
        lambda told: None,
    ],
)
def test_the_script_says_what_is_wrong_with_a_key(
    safe: Safe, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    told = change(json.loads(safe.kit.read_text()))
    bad = tmp_path / "bad"
    bad.write_text(json.dumps(told) if told is not None else safe.kit.read_text()[:50])
    script = [sys.executable, "tools/restore.py", "--from", str(safe.safe), "--recovery-key", str(bad)]
    done = subprocess.run([*script, "--into", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert f"{bad} is no recovery key" in done.stderr or "does not know" in done.stderr
    assert not (tmp_path / "out").exists()


def test_repair_counts_packs_and_what_else_was_mended_apart(safe: Safe) -> None:
    spoiled(safe.safe / "backups" / "00000001", 100)
    spoiled(safe.contents)
    said = run("repair", "--at", safe.safe, "--data", safe.data)
    assert "1 of 2 packs were damaged and are whole again, and 1 other file" in said
