"""The dump of the database lies twice in a place with backups; where it is beyond repair, all else is mended."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import IntegrityError, LeptonError
from lepton.server import backups, opening
from lepton.server.backups import PLATFORM
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.store import domains
from lepton.vault.backup.forgetting import forget
from lepton.vault.backup.target import Target
from lepton.vault.drivers.local import LocalDriver
from tests.server.house import API, open_house
from tests.server.test_backups import BODY, CLOCK, Place, run, spoiled


def failed(*words: object) -> LeptonError:
    done: Result = CliRunner().invoke(cli, ["vault", *map(str, words)])
    assert isinstance(done.exception, IntegrityError) and done.exit_code == 1, (done.output, done.exception)
    return done.exception


class Safe:
    """A platform with one backup."""

    def __init__(self, folder: Path) -> None:
        self.place, self.kit = Place(folder), folder / "kit"
        self.place.fill()
        self.data, self.safe = self.place.data, self.place.safe
        self.back_up("recovery-key", "--out", self.kit)
        self.back_up()

    def back_up(self, *words: object) -> str:
        return run(*map(str, words or ("backup", "--to", self.safe)), "--data", self.data)

    def dumps(self, *folders: Path) -> list[Path]:
        """The packs of the platform's own domain, in each of the folders."""
        with opened_data(ServerConfig(data=self.data), CLOCK) as house:
            found = house.database.read(lambda tx: domains.find(tx, PLATFORM))
        assert found
        packs = [p for each in folders for p in (each / "domains" / found[1].hex()).rglob("*") if p.is_file()]
        assert len(packs) >= len(folders)
        return packs

    @property
    def contents(self) -> Path:
        """The pack of the one file, in the place."""
        (pack,) = (p for p in (self.safe / "domains").rglob("*") if p.is_file() and p.stat().st_size > len(BODY))
        return pack


@pytest.fixture
def safe(tmp_path: Path) -> Safe:
    return Safe(tmp_path)


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("how", ["flipped", "its end", "gone"])
def test_a_dump_that_is_damaged_in_one_copy_is_read_from_the_other(
    safe: Safe, tmp_path: Path, which: str, how: str
) -> None:
    copies = safe.dumps(safe.safe if which == "first" else safe.safe / "dumps")
    for copy in copies:
        if how == "gone":
            copy.unlink()
        else:
            spoiled(copy, 200 if how == "flipped" else copy.stat().st_size - 20)
    run("restore", "--from", safe.safe, "--recovery-key", safe.kit, "--into", tmp_path / "new")
    with open_house(tmp_path / "new") as house:
        assert house.http.get(f"{API}/vault/objects/{safe.place.digest}").content == BODY
    run("drill", "--at", safe.safe, "--data", safe.data)
    script = [sys.executable, "tools/restore.py", "--from", str(safe.safe), "--recovery-key", str(safe.kit)]
    subprocess.run([*script, "--into", str(tmp_path / "plain")], check=True, capture_output=True)
    assert (tmp_path / "plain/default/artifacts/raw/w@1/weights.bin").read_bytes() == BODY
    told = failed("verify", "--at", safe.safe, "--data", safe.data)
    assert all(str(copy.relative_to(safe.safe)) in told.message for copy in copies) and "repair --at" in told.fix
    for pack in safe.dumps(safe.data / "vault"):
        spoiled(pack, 200)  # the vault is no help
    mended = run("repair", "--at", safe.safe, "--recovery-key", safe.kit, "--data", safe.data)
    told = f"{len(copies)} of" if which == "first" else f"and {len(copies)} other file"
    assert "Nothing is damaged" in mended and told in mended, mended
    assert "are whole" in run("verify", "--at", safe.safe, "--recovery-key", safe.kit)
    assert len(safe.dumps(safe.safe / "dumps")) >= len(copies)


def test_all_else_is_mended_where_a_dump_is_beyond_repair_and_the_next_backup_is_whole(
    safe: Safe, tmp_path: Path
) -> None:
    for pack in safe.dumps(safe.data / "vault", safe.safe, safe.safe / "dumps"):
        spoiled(pack, 200)
    kept = safe.contents.read_bytes()
    spoiled(safe.contents)
    told = failed("verify", "--at", safe.safe, "--data", safe.data)
    assert "backup 1: its dump" in told.message and "lepton vault repair" in told.fix
    assert (
        "repair --at"
        in failed("restore", "--from", safe.safe, "--recovery-key", safe.kit, "--into", tmp_path / "x").fix
    )
    told = failed("repair", "--at", safe.safe, "--data", safe.data)
    assert "1 of" in told.message and "backup 1: its dump" in told.message and "lepton vault backup" in told.fix
    assert safe.contents.read_bytes() == kept, "what can be mended is"
    safe.back_up()
    assert "are whole" in run("verify", "--at", safe.safe, "--data", safe.data)
    assert "are whole" in run("verify", "--data", safe.data)
    run("forget", "--at", safe.safe, "--backup", "1", "--data", safe.data)
    assert "Nothing is damaged" in run("repair", "--at", safe.safe, "--data", safe.data)
    run("restore", "--from", safe.safe, "--recovery-key", safe.kit, "--into", tmp_path / "new")
    with open_house(tmp_path / "new") as house:
        assert house.http.get(f"{API}/vault/objects/{safe.place.digest}").content == BODY


def test_the_dump_of_another_backup_says_the_keys_where_one_is_beyond_repair(safe: Safe, tmp_path: Path) -> None:
    older = safe.dumps(safe.safe)
    with open_house(safe.data) as house:
        house.store(b"more")
    run("backup", "--to", tmp_path / "other", "--new", "--data", safe.data)
    for pack in safe.dumps(safe.data / "vault"):
        spoiled(pack, 200)  # the next backup makes it all anew
    safe.back_up()
    newer = [pack for pack in safe.dumps(safe.safe, safe.safe / "dumps") if pack.name not in {p.name for p in older}]
    for pack in newer:
        spoiled(pack, 200)
    kept = safe.contents.read_bytes()
    spoiled(safe.contents)
    words = ("--at", safe.safe, "--from", tmp_path / "other", "--recovery-key", safe.kit)
    told = failed("repair", *words)
    assert "backup 3: its dump" in told.message and safe.contents.read_bytes() == kept


def test_a_manifest_that_is_beyond_repair_stands_in_the_way_of_no_other(safe: Safe) -> None:
    safe.back_up()
    for folder in ("backups", "manifests"):
        spoiled(safe.safe / folder / "00000001", 100)
    told = failed("verify", "--at", safe.safe, "--data", safe.data)
    assert "backups/00000001" in told.message and "all its copies" in told.message
    listed = run("backups", "--at", safe.safe, "--data", safe.data)
    assert "it cannot be read" in listed and "\n2\t" in listed
    kept = safe.contents.read_bytes()
    spoiled(safe.contents)
    told = failed("repair", "--at", safe.safe, "--data", safe.data)
    assert "backups/00000001" in told.message and safe.contents.read_bytes() == kept
    run("forget", "--at", safe.safe, "--backup", "1", "--data", safe.data)
    assert "Nothing is damaged" in run("repair", "--at", safe.safe, "--data", safe.data)
    assert "are whole" in run("verify", "--at", safe.safe, "--data", safe.data)


def test_a_place_from_before_gets_its_second_copies_with_the_next_backup_and_loses_them_with_the_last(
    safe: Safe,
) -> None:
    for copy in safe.dumps(safe.safe / "dumps"):
        copy.unlink()
    safe.back_up()
    first, second = (
        {pack.name: pack.read_bytes() for pack in safe.dumps(folder)} for folder in (safe.safe, safe.safe / "dumps")
    )
    assert first == second
    for pack in safe.dumps(safe.data / "vault"):
        spoiled(pack, 200)
    safe.back_up()  # the dump is made again, in other packs
    target = Target(LocalDriver(safe.safe), str(safe.safe))
    with opened_data(ServerConfig(data=safe.data), CLOCK) as house:
        root = house.opens_with
        done = forget(
            target,
            [1, 2],
            lambda number: opening.open_manifest(target, key=None, root=root, number=number),
            busy=backups.busy(house),
            lease_s=-1,
        )
    assert done.removed == 2 * len(first)
    left = [{pack.name for pack in safe.dumps(folder)} for folder in (safe.safe, safe.safe / "dumps")]
    assert left[0] == left[1] and not left[0] & set(first)
