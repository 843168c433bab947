"""A platform is backed up, destroyed, and comes back from the backup and the recovery key alone."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from lepton.cli.main import cli
from lepton.core.clock import ManualClock, SystemClock, to_micros
from lepton.core.errors import ConfigError, ConflictError, IntegrityError, LeptonError, NotFoundError
from lepton.server import backups, checking, opening, restoring
from lepton.server.backups import Made
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.store.dump import dump
from lepton.store.open import open_database
from lepton.vault.backup.manifest import read_manifest
from lepton.vault.backup.recovery import RecoveryKey, read_key
from lepton.vault.backup.target import FORGETTING, MAKING, Busy, Target, manifest_paths
from lepton.vault.driver import Head
from lepton.vault.drivers.local import LocalDriver
from tests.server.house import API, House, open_house

BODY = os.urandom(700_000)
CLOCK = SystemClock()


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


class Place:
    """A data directory, and the storage that its backups go to."""

    def __init__(self, folder: Path) -> None:
        self.data, self.safe = folder / "data", folder / "safe"
        self.config = ServerConfig(data=self.data)
        self.target = Target(LocalDriver(self.safe), str(self.safe))

    def fill(self) -> None:
        with open_house(self.data) as house:
            self.digest = house.store(BODY)
            files = [{"path": "weights.bin", "digest": self.digest, "size_bytes": len(BODY)}]
            house.ask("POST", "/catalog/versions", {"kind": "raw", "name": "w", "files": files}, status=201)
            house.user("ann", default="viewer")

    def new_key(self, *, is_another: bool = False) -> RecoveryKey:
        with opened_data(self.config, CLOCK) as house:
            key = backups.new_recovery_key(house, is_another=is_another)
            backups.keep_recovery_key(house, key)
            return read_key(key.to_text())

    def back_up(self, *, is_new: bool = False) -> Made:
        with opened_data(self.config, CLOCK) as house:
            return backups.back_up(house, self.target, progress=quiet, is_new=is_new)

    def check(self, key: RecoveryKey) -> checking.Checked:
        manifest = opening.open_manifest(self.target, key=key)
        return checking.check_backup(self.target, manifest, CLOCK, progress=quiet)

    def check_fails(self, key: RecoveryKey) -> bool:
        try:
            return bool(self.check(key).damaged)
        except LeptonError:
            return True

    def restore(self, key: RecoveryKey, into: Path, number: int = 0) -> int:
        manifest = opening.open_manifest(self.target, key=key, number=number)
        with opening.opened(self.target, manifest, CLOCK) as backup:
            return restoring.restore(backup, into, CLOCK, progress=quiet)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill()
    return made


def test_a_destroyed_platform_comes_back(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    made = place.back_up()
    assert made.number == 1 and made.new_packs == made.packs > 0
    shutil.rmtree(place.data)
    assert place.restore(key, tmp_path / "again") > 0
    with open_house(tmp_path / "again") as house:
        assert house.http.get(f"{API}/vault/objects/{place.digest}").content == BODY
        assert [row["name"] for row in house.ask("GET", "/catalog/versions")["items"]] == ["w"]
        assert house.http.put(f"{API}/vault/objects/{sha256(b'more').hexdigest()}", content=b"more").status_code == 201


def test_the_next_backup_copies_only_what_is_new(place: Place) -> None:
    place.new_key()
    first = place.back_up()
    second = place.back_up()
    assert second.number == 2 and second.new_bytes < first.new_bytes / 5
    with open_house(place.data) as house:
        house.store(os.urandom(300_000))
    third = place.back_up()
    assert 300_000 < third.new_bytes < 500_000
    assert place.target.numbers() == [1, 2, 3]


def test_a_backup_is_made_beside_a_running_server(place: Place, tmp_path: Path) -> None:
    with open_house(place.data) as house:
        key = place.new_key()
        place.back_up()
        house.store(b"after")
        place.restore(key, tmp_path / "again")


def test_without_a_recovery_key_nothing_is_backed_up(place: Place) -> None:
    with pytest.raises(ConflictError, match="no recovery key"):
        place.back_up()
    place.new_key()
    with pytest.raises(ConflictError, match="There is a recovery key"):
        place.new_key()


def test_another_key_opens_backups_from_then_on_and_the_older_one_those_before(place: Place, tmp_path: Path) -> None:
    older = place.new_key()
    place.back_up()
    newer = place.new_key(is_another=True)
    place.back_up()
    assert place.restore(older, tmp_path / "one", number=1) and place.restore(newer, tmp_path / "two")
    for key, number in ((older, 2), (newer, 1)):
        with pytest.raises(IntegrityError, match="does not open"):
            place.restore(key, tmp_path / "three", number=number)


def test_a_check_names_what_is_damaged(place: Place) -> None:
    key = place.new_key()
    place.back_up()
    good = place.check(key)
    assert good.damaged == {} and good.names == [] and good.bytes_read > len(BODY)
    packs = [path for path in place.safe.rglob("*") if path.is_file() and path.stat().st_size > len(BODY)]
    (pack,) = packs
    body = bytearray(pack.read_bytes())
    body[300_000] ^= 1
    pack.write_bytes(body)
    found = place.check(key)
    assert list(found.damaged) == [pack.relative_to(place.safe).as_posix()]
    assert found.names == ["default: raw/w@1/weights.bin"]
    for spoil in (body[:-10], b"", None):
        pack.write_bytes(spoil) if spoil is not None else pack.unlink()
        found = place.check(key)
        assert len(found.damaged) == 1 and found.names == ["default: raw/w@1/weights.bin"]


def test_what_was_put_in_the_place_of_a_backup_is_refused(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    place.back_up()
    place.back_up()
    (first, _), copies = ([place.safe / path for path in manifest_paths(number)] for number in (1, 2))
    kept = copies[0].read_bytes()
    for copy in copies:
        copy.write_bytes(first.read_bytes())
    with pytest.raises(IntegrityError, match="put in its place"):
        place.restore(key, tmp_path / "x")
    for at in (0, 20, 50, len(kept) // 2, len(kept) - 1):
        for copy in copies:
            copy.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
        with pytest.raises(IntegrityError):
            place.restore(key, tmp_path / "x")
    for copy in copies:
        copy.unlink()
    late = RecoveryKey(platform=key.platform, private=key.private, signer=key.signer, at_least=2)
    with pytest.raises(IntegrityError, match="newer ones are gone"):
        place.restore(late, tmp_path / "x")
    assert place.restore(late, tmp_path / "x", number=1)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["flipped", "gone", "of another backup"])
def test_a_manifest_has_a_second_copy(place: Place, tmp_path: Path, which: int, how: str) -> None:
    key = place.new_key()
    place.back_up()
    place.back_up()
    paths = [place.safe / path for path in manifest_paths(2)]
    kept, spoilt = paths[0].read_bytes(), paths[which]
    if how == "flipped":
        spoiled(spoilt)
    elif how == "gone":
        spoilt.unlink()
    else:
        spoilt.write_bytes((place.safe / manifest_paths(1)[0]).read_bytes())
    assert place.restore(key, tmp_path / "x")
    script = [sys.executable, "tools/restore.py", "--from", str(place.safe), "--recovery-key", str(tmp_path / "kit")]
    (tmp_path / "kit").write_text(key.to_text())
    subprocess.run([*script, "--into", str(tmp_path / "plain")], check=True, capture_output=True)
    assert set(place.check(key).damaged) == {manifest_paths(2)[which]}
    if how == "gone":  # the next backup writes it
        place.back_up()
    else:
        assert "1 other file" in run("repair", "--at", place.safe, "--data", place.data)
    assert [path.read_bytes() for path in paths] == [kept, kept] and place.check(key).damaged == {}
    spoilt.unlink()
    assert set(place.check(key).damaged) == {manifest_paths(2)[which]}, "that of another backup too"
    assert "1 other file" in run("repair", "--at", place.safe, "--data", place.data) and place.check(key).damaged == {}


def test_a_backup_that_takes_days_is_not_taken_for_dead(place: Place) -> None:
    place.new_key()
    clock, seen = ManualClock(), list[bool]()
    with opened_data(place.config, clock) as house:

        def slow(done: int, total: int) -> None:
            clock.advance(20 * 3600)
            rival = Busy(holder="another machine", now=to_micros(clock.now()))
            try:
                with place.target.busy(FORGETTING, MAKING, rival):
                    seen.append(True)
            except ConflictError:
                seen.append(False)

        backups.back_up(house, place.target, progress=slow)
    assert len(seen) > 1 and not any(seen)


def test_two_platforms_do_not_share_a_place(place: Place, tmp_path: Path) -> None:
    place.new_key()
    place.back_up()
    other = Place(tmp_path / "other")
    other.fill()
    other.new_key()
    other.target = place.target
    with pytest.raises(ConflictError, match="another platform"):
        other.back_up()
    with pytest.raises(NotFoundError):
        Target(LocalDriver(tmp_path / "nothing"), "nothing").numbers()
    with pytest.raises(ConfigError, match="no data directory"), opened_data(ServerConfig(data=tmp_path), CLOCK):
        pass


def test_a_restore_that_was_killed_goes_on_and_no_server_starts_on_its_half(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    place.back_up()
    into = tmp_path / "again"
    manifest = opening.open_manifest(place.target, key=key)

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        raise KilledError

    with opening.opened(place.target, manifest, CLOCK) as backup, pytest.raises(KilledError):
        restoring.restore(backup, into, CLOCK, progress=kill)
    with pytest.raises(LeptonError, match="has not ended"), open_house(into):
        pass
    place.back_up()
    with pytest.raises(ConflictError, match="Another backup is being restored"):
        place.restore(key, into)
    assert place.restore(key, into, number=1)
    with pytest.raises(ConflictError, match="not empty"):
        place.restore(key, into, number=1)
    with open_house(into):
        pass


def test_the_script_restores_plain_files_with_nothing_of_lepton(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    place.back_up()
    shutil.rmtree(place.data)
    (tmp_path / "kit.json").write_text(key.to_text())
    script = shutil.copy(Path(__file__).parents[2] / "tools" / "restore.py", tmp_path / "restore.py")

    def call() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", str(script), "--from", str(place.safe), "--into", str(tmp_path / "out")]
        return subprocess.run([*words, "--recovery-key", str(tmp_path / "kit.json")], capture_output=True, text=True)

    done = call()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/default/artifacts/raw/w@1/weights.bin").read_bytes() == BODY
    assert "freshness unproven" in done.stdout and "1 file, 0 damaged" in done.stdout
    assert call().returncode == 0
    (tmp_path / "out/default/artifacts/raw/w@1/weights.bin").unlink()
    (pack,) = (path for path in place.safe.rglob("*") if path.is_file() and path.stat().st_size > len(BODY))
    pack.write_bytes(pack.read_bytes()[:-1])
    done = call()
    assert done.returncode == 1 and "damaged: default/artifacts/raw/w@1/weights.bin" in done.stderr


def test_the_script_imports_nothing_of_lepton() -> None:
    text = (Path(__file__).parents[2] / "tools" / "restore.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert "lepton" not in imported and imported - sys.stdlib_module_names == {"blake3", "cryptography", "zstandard"}


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(cli, ["vault", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_take_a_platform_from_disaster_to_a_new_one(place: Place, tmp_path: Path) -> None:
    kit, data, into = tmp_path / "kit.json", ("--data", place.data), tmp_path / "new"
    assert "Keep it offline" in run("recovery-key", "--out", kit, *data)
    assert kit.stat().st_mode & 0o077 == 0
    assert "Backup 1 of" in run("backup", "--to", place.safe, *data)
    assert json.loads(run("backup", "--to", place.safe, "--json", *data))["number"] == 2
    assert run("backups", "--at", place.safe, *data).splitlines()[1].startswith("1\t")
    assert "are whole" in run("verify", *data)
    assert "are whole" in run("verify", "--at", place.safe, "--recovery-key", kit)
    assert "1 object," in run("drill", "--at", place.safe, *data)
    shutil.rmtree(place.data)
    assert "freshness unproven" in run("restore", "--from", place.safe, "--recovery-key", kit, "--into", into)
    with open_house(into) as house:
        assert house.http.get(f"{API}/vault/objects/{place.digest}").content == BODY


def test_the_commands_name_what_is_wrong(place: Place, tmp_path: Path) -> None:
    kit = tmp_path / "kit.json"
    run("recovery-key", "--out", kit, "--data", place.data)
    run("backup", "--to", place.safe, "--data", place.data)
    (pack,) = (path for path in place.safe.rglob("*") if path.is_file() and path.stat().st_size > len(BODY))
    pack.write_bytes(pack.read_bytes()[:-1])
    for words, text in (
        (("verify", "--at", place.safe, "--recovery-key", kit), "default: raw/w@1/weights.bin"),
        (("recovery-key", "--out", kit, "--data", place.data), "exists"),
        (("backup", "--to", place.safe, "--append-only", "--data", place.data), "not append-only"),
        (("restore", "--from", place.safe, "--into", tmp_path / "x"), "recovery key"),
        (("restore", "--from", tmp_path, "--recovery-key", kit, "--into", tmp_path / "x"), "No backups lie at"),
        (("restore", "--from", place.safe, "--recovery-key", pack, "--into", tmp_path / "x"), "cannot be read"),
        (("verify", "--at", place.safe, "--recovery-key", kit, "--backup", "7"), "no backup 7"),
    ):
        done = CliRunner().invoke(cli, ["vault", *map(str, words)])
        assert isinstance(done.exception, LeptonError) and text in done.exception.message, words


class DeadError(BaseException):
    """The process is gone."""


class MortalDriver(LocalDriver):
    """Lets so many writes happen."""

    left = 0

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        self.left -= 1
        if self.left < 0:
            raise DeadError
        return super().put(key, chunks)


def test_a_backup_that_dies_anywhere_is_none_and_the_next_goes_on(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    for writes in range(20):
        driver = MortalDriver(tmp_path / f"safe-{writes}")
        driver.left, place.target = writes, Target(driver, str(tmp_path / f"safe-{writes}"))
        try:
            place.back_up(is_new=True)
        except DeadError:
            driver.left = 1 << 60
            assert writes == 0 or place.target.numbers() == []
            made = place.back_up(is_new=True)
            assert made.new_packs < made.packs or writes < 4
        else:
            break
        assert place.check(key).damaged == {}
        assert place.restore(key, tmp_path / f"out-{writes}") > 0
    assert writes >= 6  # whose it is, which copy's, what is done, two packs, the manifest


def test_a_dump_is_the_same_database_again(place: Place, tmp_path: Path) -> None:
    key = place.new_key()
    place.back_up()
    place.restore(key, tmp_path / "again")
    told = []
    for folder in (place.data, tmp_path / "again"):
        database = open_database("", folder=folder, clock=CLOCK)
        told.append([line for line in database.read(lambda tx: list(dump(tx)))])
        database.close()
    ours, theirs = (
        [line for line in lines if b"restored" not in line and not line.startswith(b'["backup')] for lines in told
    )
    missing = [line for line in ours if line not in theirs]
    assert all(b"vault" in line or b"{" in line or b'"b"' in line for line in missing) and len(ours) > 40
    assert len(missing) <= 9  # what the backup added to its domain after the dump, where packs lie, owners, event


def test_a_backup_of_damage_says_so_and_holds_the_rest(place: Place, tmp_path: Path) -> None:
    with open_house(place.data) as house:
        other = house.store(b"small and whole")
        files = [{"path": "copy.bin", "digest": place.digest, "size_bytes": len(BODY)}]
        house.ask("POST", "/catalog/versions", {"kind": "raw", "name": "again", "files": files}, status=201)
    kit = tmp_path / "kit.json"
    run("recovery-key", "--out", kit, "--data", place.data)
    (pack,) = (p for p in (place.data / "vault").rglob("*") if p.is_file() and p.stat().st_size > len(BODY))
    for spoil in (lambda: pack.write_bytes(pack.read_bytes()[:-1]), pack.unlink):
        spoil()
        done = CliRunner().invoke(cli, ["vault", "backup", "--to", str(place.safe), "--data", str(place.data)])
        assert isinstance(done.exception, IntegrityError) and pack.name in done.exception.message
    for words in (("--data", place.data), ("--at", place.safe, "--recovery-key", kit)):
        done = CliRunner().invoke(cli, ["vault", "verify", *map(str, words)])
        assert isinstance(done.exception, IntegrityError)
        assert "raw/w@1/weights.bin" in done.exception.message and "raw/again@1/copy.bin" in done.exception.message
    words = ["restore", "--from", str(place.safe), "--recovery-key", str(kit), "--into", str(tmp_path / "new")]
    done = CliRunner().invoke(cli, ["vault", *words])
    assert isinstance(done.exception, IntegrityError) and "weights.bin" in done.exception.message
    with open_house(tmp_path / "new") as house:
        assert house.http.get(f"{API}/vault/objects/{other}").content == b"small and whole"
        assert house.store(b"and it takes more")


def test_an_object_that_lost_its_row_is_named(place: Place) -> None:
    with sqlite3.connect(place.data / "lepton.db") as database:
        database.execute("DELETE FROM vault_packs WHERE size_bytes > ?", (len(BODY),))
    database.close()
    done = CliRunner().invoke(cli, ["vault", "verify", "--data", str(place.data)])
    assert isinstance(done.exception, IntegrityError) and "raw/w@1/weights.bin" in done.exception.message


def test_the_platform_misses_a_backup_that_was_taken_away(place: Place) -> None:
    place.new_key()
    place.back_up()
    place.back_up()
    for path in manifest_paths(2):
        (place.safe / path).unlink()
    done = CliRunner().invoke(cli, ["vault", "drill", "--at", str(place.safe), "--data", str(place.data)])
    assert isinstance(done.exception, IntegrityError) and "Backup 2 was made" in done.exception.message
    assert "Backup 1 restores" in run("drill", "--at", place.safe, "--backup", "1", "--data", place.data)


def test_no_two_manifests_are_sealed_alike(place: Place) -> None:
    place.new_key()
    nonces = set()
    for number in (1, 2, 3):
        place.back_up()
        with opened_data(place.config, CLOCK) as house:
            for body in place.target.read(number).values():
                nonces.add(read_manifest(body, signer=house.verifier).ours[:12])
            assert opening.open_manifest(place.target, key=None, root=house.opens_with, number=number).number == number
    assert len(nonces) == 3


def test_what_was_damaged_and_sent_again_is_named_no_more(place: Place) -> None:
    (pack,) = (p for p in (place.data / "vault").rglob("*") if p.is_file() and p.stat().st_size > len(BODY))
    body = bytearray(pack.read_bytes())
    body[300_000] ^= 1
    pack.write_bytes(body)
    words = ["vault", "verify", "--data", str(place.data)]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, IntegrityError) and "raw/w@1/weights.bin" in done.exception.message
    with open_house(place.data) as house:
        assert house.store(BODY) == place.digest
        assert house.http.get(f"{API}/vault/objects/{place.digest}").content == BODY
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and "nothing of that is needed" in done.output and pack.name in done.output


def spoiled(path: Path, at: int = 200) -> None:
    """One byte of a file is another, and the file as long as it was; of a pack one of its first box."""
    body = bytearray(path.read_bytes())
    body[at % len(body)] ^= 1
    path.write_bytes(body)


def packs_in(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "domains").rglob("*") if path.is_file())


def cannot_be_read(house: House, digest: str) -> bool:
    """Whether it is known to be damaged at once, or is cut off where that is seen."""
    try:
        return bool(house.http.get(f"{API}/vault/objects/{digest}").json()["code"] == "damaged")
    except httpx.RemoteProtocolError:
        return True


def test_a_damaged_vault_is_whole_again_from_a_backup_beside_its_server(place: Place) -> None:
    place.new_key()
    place.back_up()
    kept = {path: path.read_bytes() for path in packs_in(place.data / "vault")}
    words = ("repair", "--from", place.safe, "--data", place.data)
    with open_house(place.data) as house:
        for spoil in (spoiled, Path.unlink, lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 5000)):
            for path in kept:
                spoil(path)
            assert cannot_be_read(house, place.digest)
            assert f"{len(kept)} of {len(kept)} packs were damaged" in run(*words)
            assert {path: path.read_bytes() for path in kept} == kept
            assert house.http.get(f"{API}/vault/objects/{place.digest}").content == BODY
    assert "0 of" in run(*words) and "whole" in run("verify", "--data", place.data)


def test_what_is_damaged_in_both_copies_is_put_together_from_both(place: Place) -> None:
    place.new_key()
    place.back_up()
    (large,) = (path for path in packs_in(place.data / "vault") if path.stat().st_size > len(BODY))
    copy = place.safe / large.relative_to(place.data / "vault")
    kept = large.read_bytes()
    spoiled(large, 100_000)
    spoiled(copy, 600_000)
    spoiled(copy, len(kept) - 20)  # its end too
    assert "1 of" in run("repair", "--from", place.safe, "--data", place.data) and large.read_bytes() == kept
    spoiled(large, 600_000)
    done = CliRunner().invoke(cli, ["vault", "repair", "--from", str(place.safe), "--data", str(place.data)])
    assert isinstance(done.exception, IntegrityError) and "1 of its" in done.exception.message


def test_a_damaged_backup_is_whole_again_from_the_vault_or_from_another_place(place: Place, tmp_path: Path) -> None:
    key, other = place.new_key(), tmp_path / "other"
    place.back_up()
    with open_house(place.data) as house:
        house.store(b"more")
    run("backup", "--to", other, "--new", "--data", place.data)
    place.back_up()
    kept = {path: path.read_bytes() for path in packs_in(place.safe)}
    for words in (("--data", place.data), ("--from", other, "--data", place.data)):
        for path in [*kept, *(packs_in(place.safe / "dumps") if "--from" in words else ())]:
            spoiled(path)
        run("backup", "--to", place.safe, "--data", place.data)  # of the right size: it does not see that
        assert place.check_fails(key)
        done = CliRunner().invoke(cli, ["vault", "repair", "--at", str(place.safe), *map(str, words)])
        if "--from" not in words:
            assert done.exception is None and place.check(key).damaged == {}
            assert {path: path.read_bytes() for path in kept} == kept
        else:  # what the other place never had stays damaged, and is named
            assert isinstance(done.exception, IntegrityError)


def test_a_drill_reads_the_files_of_workspaces(house: House, tmp_path: Path) -> None:
    data, safe = ("--data", house.config.data), tmp_path / "safe"
    content = os.urandom(300_000)
    house.http.put("/api/v1/vault/files/set/noise", content=content)
    run("recovery-key", "--out", tmp_path / "kit.json", *data)
    run("backup", "--to", safe, *data)
    assert "1 object, 293.0 KiB" in run("drill", "--at", safe, *data)
    told = list[tuple[int, int]]()
    target = Target(LocalDriver(safe), str(safe))
    with opened_data(ServerConfig(data=house.config.data), CLOCK) as beside:
        manifest = opening.open_manifest(target, key=None, root=beside.opens_with)
    restoring.drill(target, manifest, CLOCK, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (300_000, 300_000) and told[-2][0] == told[-2][1] > 300_000  # compared, after it was restored
    (pack,) = (path for path in safe.rglob("*") if path.is_file() and path.stat().st_size > len(content))
    body = bytearray(pack.read_bytes())
    body[100_000] ^= 1
    pack.write_bytes(body)
    done = CliRunner().invoke(cli, ["vault", "drill", "--at", str(safe), "--data", str(house.config.data)])
    assert done.exit_code != 0 and "are what they were" not in done.output


def test_a_damaged_file_is_whole_once_it_is_sent_again(house: House) -> None:
    content, url = os.urandom(300_000), "/api/v1/vault/files/noise"
    house.http.put(url, content=content)
    (pack,) = (p for p in (house.config.data / "vault").rglob("*") if p.is_file() and p.stat().st_size > len(content))
    body = bytearray(pack.read_bytes())
    body[1000] ^= 1  # in its first chunk
    pack.write_bytes(body)
    assert house.http.get(url).json()["code"] == "damaged"
    assert house.http.put(f"{url}-copy", content=content).status_code == 201
    assert house.http.get(f"{url}-copy").content == content == house.http.get(url).content
