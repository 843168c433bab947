"""Repair of a place costs what lies there, however many backups name it."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lepton.cli.main import cli
from lepton.server.house import open_house as opened_data
from lepton.server.mending import Elsewhere, mend_backups
from lepton.server.opening import open_manifest
from lepton.vault.backup.target import Target
from lepton.vault.drivers.local import LocalDriver
from tests.server.house import open_house
from tests.server.test_backups import BODY, CLOCK, quiet, run, spoiled
from tests.server.test_dumps import Safe, failed


class Counting(LocalDriver):
    """Counts what is read to its end."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.seen = Counter[str]()

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.seen[key] += start == 0 and stop is None
        return super().get(key, start=start, stop=stop)


def test_with_damage_left_every_pack_and_manifest_is_read_as_often_for_many_backups_as_for_one(tmp_path: Path) -> None:
    safe, often = Safe(tmp_path), list[dict[str, int]]()
    kept = safe.contents.read_bytes()
    for backups_there in (1, 5):
        while len(list((safe.safe / "backups").iterdir())) < backups_there:
            with open_house(safe.data) as house:
                house.store(b"%d" % backups_there)
            safe.back_up()
        spoiled(safe.contents)
        driver = Counting(safe.safe)
        target = Target(driver, str(safe.safe))
        with opened_data(safe.place.config, CLOCK) as house_there:
            root = house_there.opens_with
            mended = mend_backups(
                target,
                0,
                lambda place, number: open_manifest(place, key=None, root=root, number=number),  # noqa: B023
                Elsewhere(drivers=[]),
                CLOCK,
                progress=quiet,
            )
        numbers = [name.partition(":")[0] for name in mended.names]
        assert numbers == [f"backup {number}" for number in range(backups_there, 0, -1)], mended.names
        assert list(mended.damaged) == [str(safe.contents.relative_to(safe.safe))]
        often.append(driver.seen)
        safe.contents.write_bytes(kept)
    few, many = often
    assert all(many[key] <= few[key] for key in few if key.startswith(("domains/", "dumps/")))
    assert all(many[key] <= few["backups/00000001"] for key in many if key.startswith(("backups/", "manifests/")))


@pytest.mark.parametrize("at", [-20, -60, 20])
def test_a_flipped_bit_beside_the_boxes_costs_nothing_anywhere(tmp_path: Path, at: int) -> None:
    """In a place whose platform is gone, so that nothing else knows what a directory said."""
    safe, plain = Safe(tmp_path), tmp_path / "plain"
    kept = {
        path: path.read_bytes()
        for path in safe.safe.rglob("*")
        if path.is_file() and b"LEPTPACK" in path.read_bytes()[:8]
    }
    for path in kept:
        spoiled(path, at % len(kept[path]))
    shutil.rmtree(safe.data)
    key = ("--recovery-key", safe.kit)
    told = failed("verify", "--at", safe.safe, *key)
    assert "nothing that has a name" in told.message and all(path.name in told.message for path in kept)
    script = [sys.executable, "tools/restore.py", "--from", str(safe.safe), "--recovery-key", str(safe.kit)]
    subprocess.run([*script, "--into", str(plain)], check=True, capture_output=True)
    assert (plain / "default/artifacts/raw/w@1/weights.bin").read_bytes() == BODY
    run("drill", "--at", safe.safe, *key)
    (tmp_path / "empty").mkdir()
    run("repair", "--at", safe.safe, "--from", tmp_path / "empty", *key)
    assert {path: path.read_bytes() for path in kept} == kept
    assert "are whole" in run("verify", "--at", safe.safe, *key)


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_folder_in_the_place_of_a_pack_stands_in_the_way_of_no_other(tmp_path: Path, is_empty: bool) -> None:
    safe = Safe(tmp_path)
    other = safe.dumps(safe.safe)[0]
    pack, kept = safe.contents, {path: path.read_bytes() for path in (safe.contents, other)}
    spoiled(other, 200)
    pack.unlink()
    pack.mkdir()
    words = ("repair", "--at", safe.safe, "--data", safe.data)
    if is_empty:
        run(*words)
        assert pack.read_bytes() == kept[pack]
    else:
        (pack / "file").touch()
        assert pack.name in failed(*words).message
    assert other.read_bytes() == kept[other]


def test_a_warning_is_said_once_in_a_command(tmp_path: Path) -> None:
    safe = Safe(tmp_path)
    pack = safe.contents
    pack.write_bytes(pack.read_bytes()[:-200] + bytes(200))
    words = ["vault", "drill", "--at", str(safe.safe), "--data", str(safe.data)]
    for _ in range(2):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 1 and done.stderr.count(f"pack {pack.name} cannot be read") == 1, done.stderr


def test_backups_whose_manifests_are_lost_come_back_from_a_copy_of_the_place_and_from_no_other(tmp_path: Path) -> None:
    safe, copy, other = Safe(tmp_path), tmp_path / "copy", tmp_path / "other"
    for _ in range(3):
        safe.back_up()
    run("forget", "--at", safe.safe, "--backup", 2, "--data", safe.data)
    run("backup", "--to", other, "--new", "--data", safe.data)
    shutil.copytree(safe.safe, copy)
    safe.back_up()
    run("forget", "--at", safe.safe, "--backup", 1, "--data", safe.data)  # the copy has it still
    whole = {path: path.read_bytes() for path in safe.safe.rglob("*") if path.is_file()}
    for folder in ("backups", "manifests"):
        (safe.safe / folder / "00000003").unlink()
        spoiled(safe.safe / folder / "00000004", 20)
    failed("repair", "--at", safe.safe, "--from", other, "--data", safe.data)
    assert not (safe.safe / "backups" / "00000003").exists()
    run("repair", "--at", safe.safe, "--from", copy, "--data", safe.data)
    assert whole == {path: path.read_bytes() for path in safe.safe.rglob("*") if path.is_file()}
    (safe.safe / "let-go").write_bytes(b"{}")
    run("repair", "--at", safe.safe, "--from", copy, "--data", safe.data)
    assert (safe.safe / "let-go").read_bytes() == (copy / "let-go").read_bytes()
    assert "are whole" in run("verify", "--at", safe.safe, "--data", safe.data)
