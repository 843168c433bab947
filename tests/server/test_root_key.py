"""The root key lies in a file, in a variable, or wherever a command finds it; and nothing of it is ever told."""

import os
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError
from lepton.server.config import ServerConfig
from lepton.server.folder import root_key
from tests.server.house import API, open_house
from tests.server.test_schedules import call, run

KEY = os.urandom(32).hex()


def test_a_platform_lives_without_a_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, store = tmp_path / "data", tmp_path / "kms"
    monkeypatch.setenv("LEPTON_ROOT_KEY", KEY)
    with open_house(data) as house:
        digest = house.store(b"sealed under it")
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
    assert not any(KEY[:16].encode() in path.read_bytes() for path in data.rglob("*") if path.is_file())
    monkeypatch.delenv("LEPTON_ROOT_KEY")
    store.write_text(KEY)
    command = f"cat {store}"
    with open_house(data, key_command=command) as house:
        assert house.http.get(f"{API}/vault/objects/{digest}").content == b"sealed under it"
    monkeypatch.setenv("LEPTON_KEY_COMMAND", command)
    run("backup", "--to", tmp_path / "safe", "--data", data)
    monkeypatch.setenv("LEPTON_KEY_COMMAND", f"echo {'abcd' * 16}")
    with (
        pytest.raises(ConfigError, match="not the one that this database"),
        open_house(data, key_command="echo " + "abcd" * 16),
    ):
        pass
    assert not (data / "key").exists()


@pytest.mark.parametrize("key", ["00" * 32, "Ff" * 32])
def test_a_key_of_one_byte_over_and_over_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    data = tmp_path / "data"
    with pytest.raises(ConfigError, match="one byte"), open_house(data, key_command=f"echo {key}"):
        pass
    data.mkdir(exist_ok=True)
    (data / "key").write_text(key)
    with pytest.raises(ConfigError, match="one byte"), open_house(data):
        pass
    (data / "key").unlink()
    with open_house(data):
        pass
    monkeypatch.setenv("WEAK", key)
    done = call("rotate-root", "--key-variable", "WEAK", "--data", data)
    assert isinstance(done.exception, ConfigError) and "one byte" in done.exception.message


@pytest.mark.parametrize("command", ["false", "/no/such/program", "echo 12ab", "'", "echo " + "zz" * 32])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, command: str) -> None:
    with pytest.raises(ConfigError) as found:
        root_key(ServerConfig(data=tmp_path, key_command=command), {})
    assert "12ab" not in found.value.message and "zzzz" not in found.value.message
    with pytest.raises(ConfigError):
        root_key(ServerConfig(data=tmp_path), {"LEPTON_ROOT_KEY": KEY[:-2]})
    assert not (tmp_path / "key").exists()
