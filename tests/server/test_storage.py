"""The platform's packs on a storage that its owner has: only the right one, moved without losing anything."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import ConfigError, ConflictError, IntegrityError, LeptonError, StorageUnreachableError
from lepton.engine.sandbox.layers import find
from lepton.vault.drivers.credentials import VARIABLES
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import PACKS_MARK
from tests.backends.process import Storage
from tests.backends.proxy import proxy
from tests.backends.seaweed import seaweed
from tests.server.house import API, House, error_of, open_house, wait_until

BODY = os.urandom(300_000)


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def run(*words: object) -> str:
    done = call(*words)
    assert done.exception is None, (words, done.output, done.exception)
    return done.output


def put(house: House, name: str, body: bytes = BODY) -> int:
    return house.http.put(f"{API}/vault/files/{name}?workspace=default", content=body).status_code


def get(house: House, name: str) -> bytes:
    answer = house.http.get(f"{API}/vault/files/{name}?workspace=default")
    assert answer.status_code == 200, answer.text
    return answer.content


def packs_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "domains").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def s3() -> Iterator[Storage]:
    with seaweed() as storage:
        yield storage


@pytest.fixture
def bucket(s3: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder of a bucket; its credentials are in the environment."""
    for field in ("user", "secret"):
        monkeypatch.setenv(VARIABLES[field], getattr(s3.credentials, field))
    return s3.url.replace("some/prefix", tmp_path.name)


def forget_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_a_platform_lives_on_s3_and_remembers_where(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, safe, kit = tmp_path / "data", tmp_path / "safe", tmp_path / "kit.json"
    with open_house(data, storage=bucket) as house:
        assert put(house, "a/b.bin") == 201
    forget_credentials(monkeypatch)
    with open_house(data) as house:  # the address and the credentials are in the database, these sealed
        assert get(house, "a/b.bin") == BODY
        assert put(house, "c.bin", BODY[::-1]) == 201
        part = house.http.get(f"{API}/vault/files/c.bin?workspace=default", headers={"range": "bytes=7-2006"})
        assert part.content == BODY[::-1][7:2007]
        assert "packs are whole" in run("verify", "--data", data)
        run("recovery-key", "--out", kit, "--data", data)
        run("backup", "--to", safe, "--data", data)
    assert not packs_in(data / "vault")
    assert bucket in run("storage", "--data", data)
    assert all(os.environ.get(VARIABLES["secret"], "retention") not in str(file) for file in data.iterdir())
    run("restore", "--from", safe, "--recovery-key", kit, "--into", tmp_path / "again")
    with open_house(tmp_path / "again") as house:
        assert get(house, "c.bin") == BODY[::-1]
    assert packs_in(tmp_path / "again" / "vault")


def test_a_restore_puts_content_on_a_storage(bucket: str, tmp_path: Path) -> None:
    data, safe, kit, again = (tmp_path / name for name in ("data", "safe", "kit.json", "again"))
    with open_house(data) as house:
        assert put(house, "a") == 201
    run("recovery-key", "--out", kit, "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("restore", "--from", safe, "--recovery-key", kit, "--into", again, "--storage", bucket)
    with open_house(again) as house:
        assert get(house, "a") == BODY
    assert not packs_in(again / "vault")
    fault = call("restore", "--from", safe, "--recovery-key", kit, "--into", tmp_path / "b", "--storage", bucket)
    assert isinstance(fault.exception, ConflictError), "a second platform on one storage would prune the first's packs"


def refused(kind: type[LeptonError], words: str, data: Path, **settings: Any) -> None:
    with pytest.raises(kind, match=words), open_house(data, **settings):
        pass


def test_only_the_platforms_own_storage_is_taken(tmp_path: Path) -> None:
    data, packs, away = tmp_path / "data", tmp_path / "packs", tmp_path / "away"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    packs.rename(away)  # it is not mounted
    refused(ConfigError, "do not lie at .*packs, where they were", data)
    assert not packs.exists(), "nothing is begun in what is not mounted"
    refused(ConfigError, "and not at", data, storage=str(tmp_path / "pakcs"))
    with open_house(tmp_path / "other", storage=str(tmp_path / "theirs")):
        pass
    refused(ConfigError, "another platform", data, storage=str(tmp_path / "theirs"))
    with open_house(data, storage=str(away)) as house:  # the same storage, mounted elsewhere
        assert get(house, "a") == BODY
    with open_house(data) as house:
        assert get(house, "a") == BODY
    (away / PACKS_MARK).write_bytes(b"\0")
    refused(IntegrityError, "damaged", data)
    (away / PACKS_MARK).unlink()
    with open_house(data) as house:  # its packs lie there: it is the one
        assert get(house, "a") == BODY


def test_no_storage_contains_the_data_directory(tmp_path: Path) -> None:
    data, kit, safe = tmp_path / "around" / "data", tmp_path / "kit.json", tmp_path / "safe"
    (tmp_path / "link").symlink_to(tmp_path / "around")
    for around in (tmp_path / "around", data, tmp_path / "link", f"file://{tmp_path}/around/"):
        refused(ConfigError, "contains the data directory", data, storage=str(around))
        assert not (tmp_path / "around" / PACKS_MARK).exists() and not (data / PACKS_MARK).exists()
    with open_house(data, storage=str(tmp_path / "packs")) as house:
        assert put(house, "a") == 201
    fault = call("storage", "--move-to", tmp_path / "around", "--data", data).exception
    assert isinstance(fault, ConfigError) and "contains the data directory" in fault.message
    run("recovery-key", "--out", kit, "--data", data)
    run("backup", "--to", safe, "--data", data)
    words = ("restore", "--from", safe, "--recovery-key", kit, "--into", tmp_path / "x" / "again")
    fault = call(*words, "--storage", tmp_path / "x").exception
    assert isinstance(fault, ConfigError) and not (tmp_path / "x" / PACKS_MARK).exists()


def test_backups_and_packs_keep_apart(tmp_path: Path) -> None:
    data, packs, safe = tmp_path / "data", tmp_path / "packs", tmp_path / "safe"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
    done = call("backup", "--to", packs, "--data", data)
    assert isinstance(done.exception, ConflictError) and "packs of a platform" in done.exception.message
    run("backup", "--to", safe, "--data", data)
    done = call("storage", "--move-to", safe, "--data", data)
    assert isinstance(done.exception, ConflictError) and "Backups lie" in done.exception.message
    with closing(sqlite3.connect(data / "lepton.db")) as database:
        told = database.execute("SELECT value FROM facts WHERE name = 'storage next'").fetchall()
    assert told in ([], [("",)]), "nothing of a refused place is kept"


def test_a_lost_storage_is_filled_again_from_a_backup(tmp_path: Path) -> None:
    data, packs, safe = tmp_path / "data", tmp_path / "packs", tmp_path / "safe"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
    run("backup", "--to", safe, "--data", data)
    shutil.rmtree(packs)
    assert isinstance(call("repair", "--from", safe, "--data", data).exception, ConfigError)
    done = call("repair", "--new", "--from", safe, "--data", data)  # the dump's own pack came after the backup's list
    assert "whole again" in done.output or isinstance(done.exception, IntegrityError)
    with open_house(data) as house:
        assert get(house, "a") == BODY


def test_two_servers_on_one_database_need_one_storage(tmp_path: Path, fresh_postgres: str) -> None:
    shared = {"database": fresh_postgres, "engine": "simulated"}
    with open_house(tmp_path / "a", **shared) as first:
        assert put(first, "a") == 201
        (tmp_path / "b").mkdir(mode=0o700)
        shutil.copy(tmp_path / "a" / "key", tmp_path / "b" / "key")
        refused(ConfigError, "do not lie at", tmp_path / "b", **shared)


def test_a_move_beside_a_running_server_loses_nothing_that_was_acknowledged(bucket: str, tmp_path: Path) -> None:
    data, kept, stop = tmp_path / "data", list[str](), Event()
    with open_house(data) as house:
        assert put(house, "first") == 201

        def write() -> None:
            number = 0
            while not stop.is_set():
                answer = house.http.put(
                    f"{API}/vault/files/n/{number}?workspace=default", content=b"%d" % number + BODY
                )
                if answer.status_code == 201:
                    kept.append(f"n/{number}")
                else:
                    error_of(answer, 503, "unavailable")
                    stop.set()
                number += 1

        writer = Thread(target=write)
        writer.start()
        said = run("storage", "--move-to", bucket, "--data", data)
        assert "Start the server again" in said
        writer.join(30)
        assert stop.is_set() and not writer.is_alive(), "it is told that its packs would count no more"
        assert get(house, "first") == BODY, "what there was is served"
    with open_house(data) as house:
        assert get(house, "first") == BODY
        for name in kept:
            assert get(house, name) == name.removeprefix("n/").encode() + BODY
        assert put(house, "later", BODY[::2]) == 201
    shutil.rmtree(data / "vault" / "domains")
    with open_house(data) as house:
        assert get(house, "later") == BODY[::2]
        assert "packs are whole" in run("verify", "--data", data)


def test_a_move_that_died_goes_on_and_a_move_back_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    with open_house(data) as house:
        for number in range(3):
            assert put(house, str(number), bytes([number]) * 100 + BODY) == 201
    whole, left = LocalDriver.put, 1

    def dying(self: LocalDriver, key: str, chunks: Any) -> Any:
        nonlocal left
        left -= key.startswith("domains/") and str(self.root) == str(away)
        if left < 0:
            raise StorageUnreachableError("gone", fix="")
        return whole(self, key, chunks)

    monkeypatch.setattr(LocalDriver, "put", dying)
    assert isinstance(call("storage", "--move-to", away, "--data", data).exception, StorageUnreachableError)
    monkeypatch.undo()
    assert len(packs_in(away)) == 1
    with open_house(data) as house:  # nothing has changed
        assert put(house, "3") == 201
    mark = json.loads((away / PACKS_MARK).read_text())
    assert "Start the server again" in run("storage", "--move-to", away, "--data", data)
    assert json.loads((away / PACKS_MARK).read_text()) == mark
    refused(ConfigError, "and not at", data, storage=str(data / "vault"))
    with open_house(data) as house:
        assert get(house, "2") == bytes([2]) * 100 + BODY
        assert put(house, "4", BODY[1:]) == 201
    run("storage", "--move-to", data / "vault", "--data", data)
    shutil.rmtree(away)
    with open_house(data) as house:
        assert get(house, "4") == BODY[1:]


def test_a_storage_that_does_not_answer_is_an_error_and_no_damage(s3: Storage, bucket: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with proxy(s3.port) as between:
        with open_house(data, storage=bucket.replace(f":{s3.port}", f":{between.port}")) as house:
            assert put(house, "a") == 201
        with open_house(data) as house:
            between.cut_after(0)
            for answer in (
                house.http.get(f"{API}/vault/files/a?workspace=default"),
                house.http.put(f"{API}/vault/files/b?workspace=default", content=BODY[1:]),
            ):
                error_of(answer, 503, "storage_unreachable")
            between.heal()
            assert get(house, "a") == BODY
            assert put(house, "b") == 201
            assert "packs are whole" in run("verify", "--data", data)


@pytest.mark.skipif(bool(find()["lacks"]), reason="this machine cannot hold a worker in every way")
def test_a_job_does_not_get_at_the_folder_that_content_lies_in(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    with open_house(tmp_path / "data", is_real=True, storage=str(packs)) as house:
        assert put(house, "a") == 201
        wait_until(lambda: house.ask("GET", "/pool/nodes")["items"], "the node is there")
        command = ["sh", "-c", f"find {packs} -type f; rm -rf {packs}/domains; echo tried"]
        job = house.submit(command=command, cpus=0.1)["id"]
        house.wait(job, "done")
        said = house.http.get(f"{API}/jobs/{job}/logs").text
        assert "tried" in said and "lepton-vault" not in said
        assert get(house, "a") == BODY and packs_in(packs)


def test_what_comes_in_a_storages_place_while_the_server_runs_is_not_taken_for_it(tmp_path: Path) -> None:
    data, packs, away = tmp_path / "data", tmp_path / "packs", tmp_path / "away"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
        packs.rename(away)
        for is_empty in (False, True):  # the mount point is gone; or it is an empty folder
            if is_empty:
                packs.mkdir()
            for answer in (
                house.http.get(f"{API}/vault/files/a?workspace=default"),
                house.http.put(f"{API}/vault/files/b?workspace=default", content=BODY[1:]),
            ):
                error_of(answer, 503, "storage_unreachable")
        assert not list(packs.iterdir()), "nothing was written there"
        packs.rmdir()
        away.rename(packs)
        assert get(house, "a") == BODY
        assert put(house, "b", BODY[1:]) == 201
    packs.rename(away)
    packs.mkdir()
    refused(ConfigError, "where they were", data)
    one = packs_in(away)[0]
    (packs / one.relative_to(away)).parent.mkdir(parents=True)
    shutil.copy(one, packs / one.relative_to(away))
    refused(ConfigError, "where they were", data)  # one of its packs is not all of them
    shutil.rmtree(packs)
    shutil.copytree(away, packs)  # another disk, with the same content
    with open_house(data) as house:
        assert get(house, "b") == BODY[1:]


def test_a_move_proves_what_it_leaves_and_trusts_nothing_that_lies_there(tmp_path: Path) -> None:
    data, away, safe = tmp_path / "data", tmp_path / "away", tmp_path / "safe"
    with open_house(data) as house:
        assert put(house, "a") == 201
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
    run("backup", "--to", safe, "--data", data)
    for inside in (data / "vault" / "sub", safe / "domains", data):
        fault = call("storage", "--move-to", inside, "--data", data).exception
        assert isinstance(fault, ConflictError) and "lie in each other" in fault.message, inside
    run("storage", "--move-to", away, "--data", data)
    for left in packs_in(data / "vault"):  # what was left rots
        left.write_bytes(bytes(left.stat().st_size))
    run("storage", "--move-to", data / "vault", "--data", data)
    assert "packs are whole" in run("verify", "--data", data)
    large = max(packs_in(data / "vault"), key=lambda path: path.stat().st_size)
    body = large.read_bytes()
    large.write_bytes(body[:1000] + bytes([body[1000] ^ 1]) + body[1001:])
    fault = call("storage", "--move-to", tmp_path / "third", "--data", data).exception
    assert isinstance(fault, IntegrityError) and "repair" in fault.fix
    assert not packs_in(tmp_path / "third")
