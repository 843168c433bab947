"""The root key is changed: all that lies under it is sealed anew, and nothing is lost whenever that dies."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner

from lepton.cli.main import cli
from lepton.core.clock import SystemClock
from lepton.core.errors import ConfigError, ConflictError, InvalidError, LeptonError
from lepton.security.key import derive
from lepton.server import rotating
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.server.people import open_secret
from lepton.vault.store.blobs import read, read_blob
from tests.server.house import API, House, open_house

BODY = os.urandom(5000)
CLOCK = SystemClock()


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, ["vault", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(kind: type[LeptonError], text: str, *words: object) -> None:
    done = CliRunner().invoke(cli, ["vault", *map(str, words)])
    assert isinstance(done.exception, kind) and text in done.exception.message, (done.output, done.exception)


def fill(house: House) -> str:
    house.ask("POST", "/security/workspaces", {"name": "red"}, status=201)
    house.ask("PUT", "/security/secrets/token", {"value": "a word"})
    house.http.put(f"{API}/vault/files/x?workspace=red", content=BODY)
    return house.store(BODY)


def holds(data: Path) -> None:
    """What was stored is there, and the secret opens."""
    with opened_data(ServerConfig(data=data), CLOCK) as house:
        rows = house.database.read(lambda tx: tx.rows("SELECT domain, blob FROM holdings"))
        assert rows
        for domain, blob in rows:
            chunks = house.vault.domain(bytes(domain)).chunks
            assert b"".join(map(bytes, read(chunks, read_blob(bytes(blob))))) == BODY
        key = derive(house.root, "secrets")
        assert house.database.read(lambda tx: open_secret(tx, "default", "token", key=key)) == "a word"


def everything(data: Path) -> bytes:
    return b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


def sealed(data: Path) -> list[bytes]:
    """What is sealed under the root key."""
    with opened_data(ServerConfig(data=data), CLOCK) as house:
        found = house.database.read(lambda tx: tx.rows("SELECT sealed FROM vault_keys WHERE kind = 1"))
        secrets = house.database.read(lambda tx: tx.rows("SELECT spec FROM resources WHERE kind = 'secret'"))
    return [*(bytes(row[0]) for row in found), *(json.loads(row[0])["sealed"].encode() for row in secrets)]


def test_a_root_key_is_rotated_and_everything_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, safe, kit = tmp_path / "data", tmp_path / "safe", tmp_path / "kit"
    monkeypatch.setenv("LEPTON_STORAGE_USER", "ann")
    with open_house(data) as house:
        digest = fill(house)
        refused(ConfigError, "is in use by process", "rotate-root", "--data", data)
        job = house.submit(course={"seconds": 1000})
        house.wait(job["id"], "running")
        keys = house.http.get("/.well-known/jwks.json").text
    run("recovery-key", "--out", kit, "--data", data)
    run("schedule", "--to", safe, "--every", "6h", "--data", data)
    run("backup", "--to", safe, "--data", data)
    site, old, was = run("site-key", "--data", data), (data / "key").read_text(), sealed(data)
    packs = {path: path.read_bytes() for path in (data / "vault" / "domains").rglob("*") if path.is_file()}
    assert len(was) >= 4 and all(box in everything(data) for box in was)
    told = json.loads(run("rotate-root", "--data", data, "--json"))
    assert told == {"tenants": 3, "secrets": 1, "credentials": 1}
    assert (data / "key").read_text() != old and not (data / "key.next").exists()
    assert not set(sealed(data)) & set(was) and not any(box in everything(data) for box in was)
    assert {path: path.read_bytes() for path in packs} == packs
    assert run("site-key", "--data", data) == site
    with open_house(data) as house:
        assert house.http.get(f"{API}/vault/objects/{digest}").content == BODY
        assert house.http.get(f"{API}/vault/files/x?workspace=red").content == BODY
        assert house.http.get("/.well-known/jwks.json").text == keys
        events = house.platform.database.read(lambda tx: tx.rows("SELECT body FROM events WHERE verb = 'rotated'"))
        assert len(events) == 1 and b"secrets 1" in bytes(events[0][0]) and b"owner" in bytes(events[0][0])
    run("drill", "--at", safe, "--data", data)  # a backup from before
    run("backup", "--to", safe, "--data", data)
    run("rotate-root", "--data", data)  # once more
    run("backup", "--to", safe, "--data", data)
    for number in (1, 2, 3):
        run("verify", "--at", safe, "--backup", number, "--data", data)
        run("verify", "--at", safe, "--backup", number, "--recovery-key", kit)
        into = tmp_path / f"into-{number}"
        run("restore", "--from", safe, "--recovery-key", kit, "--backup", number, "--into", into)
        holds(into)
    run("restore", "--from", safe, "--into", tmp_path / "out", "--only", "red/branches/main", "--data", data)
    (data / "key").write_text(old)
    refused(ConfigError, "not the one that this database", "keys", "--data", data)


def test_what_a_killed_rotation_left_half_written_goes_with_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_house(data):
        pass
    left = data / ".key.next.12345"
    left.write_text("ab" * 20)
    with open_house(data):
        assert not left.exists()


def test_a_root_key_moves_between_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, one, two = tmp_path / "data", os.urandom(32).hex(), os.urandom(32).hex()
    with open_house(data) as house:
        fill(house)
    (tmp_path / "kms").write_text(one)
    words = ("rotate-root", "--data", data)
    refused(ConfigError, "not a root key", *words, "--key-command", "echo 12")
    refused(InvalidError, "not said", *words, "--key-command", "true", "--file")
    holds(data)
    run(*words, "--key-command", f"cat {tmp_path / 'kms'}")
    assert not (data / "key").exists(), "the old key"
    refused(ConfigError, "The root key of", "keys", "--data", data)
    with pytest.raises(ConfigError, match="there is no key file"), open_house(data):
        pass
    assert not (data / "key").exists(), "no key is made where one was"
    monkeypatch.setenv("LEPTON_KEY_COMMAND", f"cat {tmp_path / 'kms'}")
    run("keys", "--data", data)
    refused(InvalidError, "not said", *words)
    monkeypatch.setenv("NEW_KEY", two)
    run(*words, "--key-variable", "NEW_KEY")
    refused(ConfigError, "not the one", "keys", "--data", data)
    monkeypatch.delenv("LEPTON_KEY_COMMAND")
    monkeypatch.setenv("LEPTON_ROOT_KEY", two)
    holds(data)
    refused(ConflictError, "already", *words, "--key-variable", "NEW_KEY")
    run(*words, "--file")
    done = CliRunner().invoke(cli, ["vault", "keys", "--data", str(data)])
    assert isinstance(done.exception, ConfigError) and "start without" in done.exception.fix
    monkeypatch.delenv("LEPTON_ROOT_KEY")
    holds(data)


def test_a_root_key_is_not_rotated_under_a_server_on_another_machine(tmp_path: Path, fresh_postgres: str) -> None:
    data, config = tmp_path / "data", ServerConfig(data=tmp_path / "data", database=fresh_postgres)
    with open_house(data, database=fresh_postgres) as house:
        digest = fill(house)
        assert house.clock
        with opened_data(config, house.clock) as beside, pytest.raises(ConflictError, match="A server runs"):
            rotating.rotate(beside, None)
        assert (data / "key.next").exists(), "the key that was not taken"
    old = (data / "key").read_text()
    with opened_data(config, CLOCK) as beside:
        rotating.rotate(beside, None)
    with open_house(data, database=fresh_postgres) as house:
        assert house.http.get(f"{API}/vault/objects/{digest}").content == BODY
    assert not (data / "key.next").exists()
    (data / "key").write_text(old)
    with pytest.raises(ConfigError, match="not the one that this"), open_house(data, database=fresh_postgres):
        pass


STEPS = {"execute", "commit", "fsync", "rename", "replace", "unlink", "open"}
"""Of the library below: whatever writes, or ends a write, is a call of one of these."""


def dies_at(step: int, data: Path, key: bytes | None) -> bool:
    """Rotate in a process of its own that is killed before its call number `step`; whether it was."""
    child = os.fork()
    if child == 0:
        left = step

        def count(frame: FrameType, event: str, called: Any) -> None:
            nonlocal left
            if event == "c_call" and called.__name__ in STEPS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            with opened_data(ServerConfig(data=data), CLOCK) as house:
                house.database.write(lambda tx: sys.setprofile(count))  # its writer's thread
                sys.setprofile(count)
                rotating.rotate(house, key)
        finally:
            sys.setprofile(None)
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kind", ["file", "variable"])
def test_killed_between_any_two_writes_the_old_key_or_the_new_one_opens_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with open_house(tmp_path / "data") as house:
        fill(house)
    old, new = (tmp_path / "data" / "key").read_text().strip(), os.urandom(32)
    seen, is_killed = list[bool](), True
    while is_killed:
        data = tmp_path / f"at-{len(seen)}"
        shutil.copytree(tmp_path / "data", data)
        is_killed = dies_at(len(seen), data, None if kind == "file" else new)
        if kind == "file":
            holds(data)
            changed = (data / "key").read_text().strip() != old
        else:
            monkeypatch.setenv("LEPTON_ROOT_KEY", new.hex())
            try:
                holds(data)
                changed = True
            except ConfigError:
                changed = False
                monkeypatch.setenv("LEPTON_ROOT_KEY", old)
                holds(data)
                assert (data / "key").read_text().strip() == old
            monkeypatch.delenv("LEPTON_ROOT_KEY")
        shutil.rmtree(data)
        seen.append(changed)
    before = seen.index(True)
    assert all(seen[before:]) and before > 15 and len(seen) - before > 3, "once it is changed it stays so"
