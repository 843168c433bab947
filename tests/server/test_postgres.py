"""A platform on Postgres is backed up and comes back; a command that is not told of its database touches nothing."""

from pathlib import Path

import pytest

from lepton.core.errors import ConfigError, ConflictError
from tests.server.house import API, open_house
from tests.server.test_schedules import refused, run

BODY = b"what is kept\n" * 5000


def test_a_platform_on_postgres_is_backed_up_and_comes_back(
    tmp_path: Path, fresh_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, safe, kit, back = (tmp_path / name for name in ("data", "safe", "kit.json", "back"))
    with open_house(data, database=fresh_postgres) as house:
        put = house.http.put(f"{API}/vault/files/a.txt?workspace=default", content=BODY)
        assert put.status_code == 201, put.text
        monkeypatch.setenv("LEPTON_DATABASE", fresh_postgres)
        run("recovery-key", "--out", kit, "--data", data)
        assert "Backup 1 " in run("backup", "--to", safe, "--data", data)
        run("backup", "--to", safe, "--data", data)
    run("verify", "--at", safe, "--data", data)
    assert "are what they were" in run("drill", "--at", safe, "--recovery-key", kit)
    refused(ConflictError, "is not empty", "restore", "--from", safe, "--recovery-key", kit, "--into", back)
    monkeypatch.delenv("LEPTON_DATABASE")
    run("restore", "--from", safe, "--recovery-key", kit, "--into", back)
    with open_house(back) as house:
        assert house.http.get(f"{API}/vault/files/a.txt?workspace=default").content == BODY
    monkeypatch.setenv("LEPTON_DATABASE", fresh_postgres)
    refused(ConfigError, "a database of its own", "verify", "--data", back)


def test_a_command_that_is_not_told_of_the_database_makes_no_other(tmp_path: Path, fresh_postgres: str) -> None:
    data = tmp_path / "data"
    with open_house(data, database=fresh_postgres, storage=str(tmp_path / "packs")):
        pass
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for words in (("rotate-root",), ("backup", "--to", tmp_path / "safe"), ("recovery-key", "--out", tmp_path / "kit")):
        fault = refused(ConfigError, "has its database at postgresql://", *words, "--data", data)
        assert "LEPTON_DATABASE" in fault.fix
    with pytest.raises(ConfigError, match="has its database at"), open_house(data):
        pass
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    assert "password" not in (data / "database").read_text()
