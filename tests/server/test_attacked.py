"""What somebody has removed or spoiled in a place with backups is named, and mended where anything proves it."""

from pathlib import Path

import pytest

from tests.server.test_backups import run
from tests.server.test_dumps import Safe, failed


@pytest.fixture
def safe(tmp_path: Path) -> Safe:
    return Safe(tmp_path)


def remove(safe: Safe, number: int) -> None:
    for folder in ("backups", "manifests"):
        (safe.safe / folder / f"{number:08}").unlink()


def test_repair_names_a_backup_that_no_copy_has(safe: Safe) -> None:
    safe.back_up()
    remove(safe, 1)
    for key in (("--data", safe.data), ("--data", safe.data, "--backup", "2")):
        told = failed("repair", "--at", safe.safe, *key)
        assert "backups/00000001: it is gone" in told.message and "forget" in told.fix
    run("forget", "--at", safe.safe, "--backup", 1, "--data", safe.data)
    assert "Nothing is damaged" in run("repair", "--at", safe.safe, "--data", safe.data)
