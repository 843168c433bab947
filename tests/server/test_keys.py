"""Keys are changed without touching a pack, and destroyed so that nothing can be read again."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lepton.core.errors import ConfigError, ConflictError, IntegrityError, InvalidError, NotFoundError
from lepton.server import erasing
from lepton.store import domains
from lepton.vault.backup.target import manifest_paths
from tests.server.house import API, House, open_house
from tests.server.test_schedules import refused, run

SECRET = os.urandom(300_000)


def put(house: House, workspace: str, body: bytes) -> str:
    url = f"{API}/vault/objects/{sha256(body).hexdigest()}"
    assert house.http.put(f"{url}?workspace={workspace}", content=body).status_code in (200, 201)
    return url


def packs(data: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (data / "vault" / "domains").rglob("*") if path.is_file()}


def sealed_keys(house: House, workspace: str) -> list[bytes]:
    """The sealed keys of a workspace, as they are in the database."""

    def work(tx: object) -> list[bytes]:
        tenant, domain = domains.find(tx, workspace) or (b"", b"")  # type: ignore[arg-type]
        sql = "SELECT sealed FROM vault_keys WHERE owner IN (?, ?) OR holder IN (?, ?)"
        return [bytes(row[0]) for row in tx.rows(sql, (tenant, domain) * 2)]  # type: ignore[attr-defined]

    return house.platform.database.read(work)


def test_keys_are_rotated_beside_a_server_and_no_pack_changes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_house(data) as house:
        first = put(house, "default", SECRET)
        before, keys = packs(data), sealed_keys(house, "default")
        assert f"{len(keys)} keys of 1 workspace." in run("rotate-key", "default", "--data", data)
        assert not set(sealed_keys(house, "default")) & set(keys) and packs(data) == before
        assert house.http.get(first).content == SECRET
        second = put(house, "default", b"more")
        run("rotate-key", "--all", "--data", data)
        assert (house.http.get(first).content, house.http.get(second).content) == (SECRET, b"more")
        refused(NotFoundError, "no content", "rotate-key", "nowhere", "--data", data)
        refused(InvalidError, "whose keys", "rotate-key", "--data", data)
    with open_house(data) as house:
        assert house.http.get(first).content == SECRET


def test_what_was_erased_is_nowhere_in_the_data_directory_and_the_certificate_says_where_it_is(tmp_path: Path) -> None:
    data, safe, paper = tmp_path / "data", tmp_path / "safe", tmp_path / "erased.json"
    with open_house(data) as house:
        house.ask("POST", "/security/workspaces", {"name": "red"}, status=201)
        gone, kept = put(house, "red", SECRET), put(house, "default", b"of another")
        keys = sealed_keys(house, "red")
        assert len(keys) == 5  # tenant, domain, chunk ids, cutter, pack
        refused(ConfigError, "is in use by process", "erase", "red", "--certificate", paper, "--data", data)
        assert house.http.get(gone).content == SECRET
    run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
    run("backup", "--to", safe, "--data", data)
    assert "1 pack of red would" in run("erase", "red", "--dry-run", "--data", data)
    everything = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert all(key in everything for key in keys)
    run("erase", "red", "--certificate", paper, "--data", data)
    everything = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert not any(key in everything for key in keys)
    signer = json.loads((tmp_path / "kit.json").read_text())["signer"]
    for whose in (("--recovery-key", tmp_path / "kit.json"), ("--signer", signer), ("--data", data)):
        said = run("certificate", paper, *whose)
        assert (
            "genuine: 5 keys of red destroyed" in said and f"{safe} up to backup 1, kept until somebody forgets" in said
        )
    (tmp_path / "forged.json").write_text(paper.read_text().replace('"keys": 5', '"keys": 6'))
    refused(IntegrityError, "not what was signed", "certificate", tmp_path / "forged.json", "--data", data)
    refused(IntegrityError, "not what was signed", "certificate", paper, "--signer", "ab" * 32)
    refused(InvalidError, "no public key", "certificate", paper, "--signer", "ab")
    refused(InvalidError, "cannot be read", "certificate", tmp_path / "nowhere", "--signer", signer)
    with open_house(data) as house:
        assert house.http.get(gone).status_code == 404 and house.http.get(kept).content == b"of another"
        assert house.http.get(put(house, "red", SECRET)).content == SECRET  # under new keys
        assert not set(sealed_keys(house, "red")) & set(keys)
    fault = refused(NotFoundError, "no content", "erase", "blue", "--certificate", tmp_path / "x", "--data", data)
    assert "lepton vault keys" in fault.fix
    refused(NotFoundError, "no content", "erase", "blue", "--certificate", tmp_path / "x", "--data", data)
    refused(InvalidError, "exists", "erase", "red", "--certificate", paper, "--data", data)
    words = ("restore", "--from", safe, "--recovery-key", tmp_path / "kit.json", "--into", tmp_path / "out")
    run(*words, "--only", f"red/objects/{sha256(SECRET).hexdigest()}")  # as the certificate says
    run("backup", "--to", safe, "--data", data)
    run("verify", "--at", safe, "--data", data)


def test_what_was_erased_comes_out_of_no_backup_with_the_platforms_own_key(tmp_path: Path) -> None:
    data, safe, kit, paper = (tmp_path / name for name in ("data", "safe", "kit.json", "erased.json"))
    with open_house(data) as house:
        for workspace in ("red", "blue"):
            house.ask("POST", "/security/workspaces", {"name": workspace}, status=201)
            put(house, workspace, SECRET)
    run("recovery-key", "--out", kit, "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("erase", "red", "--certificate", paper, "--data", data)
    with open_house(data) as house:
        put(house, "red", b"since")
    run("backup", "--to", safe, "--data", data)
    digest = sha256(SECRET).hexdigest()
    words = ("restore", "--from", safe, "--data", data, "--into", tmp_path / "out")
    for only in ("red", f"red/objects/{digest}"):
        for number in (1, 2):
            fault = refused(ConflictError, "was erased", *words, "--backup", number, "--only", "blue", "--only", only)
            assert str(paper) in fault.message and f"{safe}: backups 1, 2" in fault.message
            assert f"lepton vault forget --at {safe} --backup 1 --backup 2" in fault.fix
    assert not (tmp_path / "out").exists()
    run(*words, "--backup", 2, "--only", "blue")
    run(*words, "--only", "red")  # of the newest: what was stored since
    assert [path.read_bytes() for path in (tmp_path / "out" / "red").rglob("*") if path.is_file()] == [b"since"]
    said = run(*words, "--backup", 1, "--only", "red", "--recovery-key", kit)
    assert "red was erased" in said and (tmp_path / "out" / "red" / "objects" / digest).read_bytes() == SECRET
    run("forget", "--at", safe, "--backup", 1, "--data", data)
    fault = refused(ConflictError, "was erased", *words, "--backup", 2, "--only", "red")
    assert f"{safe}: backup 2" in fault.message


def test_a_killed_erasure_leaves_no_certificate_and_the_next_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, certificate, seen = tmp_path / "data", tmp_path / "erased.json", list[list[str]]()
    with open_house(data) as house:
        house.version()
    whole = erasing.erase

    def looks(*words: Any) -> Any:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        return whole(*words)

    monkeypatch.setattr(erasing, "erase", looks)
    (tmp_path / "erased.json.draft").touch()  # what a killed one leaves
    run("erase", "default", "--certificate", certificate, "--data", data)
    assert seen == [["data", "erased.json.draft"]], "there is room for it, and it is not there yet"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "erased.json"]
    assert "default" in certificate.read_text()


def test_a_recovery_key_learns_of_later_backups(tmp_path: Path) -> None:
    data, safe, kit = tmp_path / "data", tmp_path / "safe", tmp_path / "kit.json"
    with open_house(data) as house:
        house.store(b"x")
    run("recovery-key", "--out", kit, "--data", data)
    for _ in range(2):
        run("backup", "--to", safe, "--data", data)
    assert "backup 2" in run("recovery-key", "--refresh", kit, "--data", data)
    for path in manifest_paths(2):
        (safe / path).unlink()
    words = ("restore", "--from", safe, "--recovery-key", kit, "--into", tmp_path / "new")
    refused(IntegrityError, "newer ones are gone", *words)
    kit.write_text(json.dumps({**json.loads(kit.read_text()), "platform": "ab" * 16}))
    refused(ConflictError, "another platform", "recovery-key", "--refresh", kit, "--data", data)
    refused(InvalidError, "not said", "recovery-key", "--data", data)


def test_a_recovery_key_that_was_replaced_is_not_refreshed(tmp_path: Path) -> None:
    data, safe, names = tmp_path / "data", tmp_path / "safe", [tmp_path / f"kit{number}" for number in range(4)]
    with open_house(data) as house:
        house.store(b"x")
    assert "replaces" not in run("recovery-key", "--out", names[0], "--data", data)
    run("backup", "--to", safe, "--data", data)
    said = run("recovery-key", "--another", "--out", names[1], "--data", data)
    assert "replaces the one before, which opens backups up to 1 only" in said
    run("backup", "--to", safe, "--data", data)
    run("recovery-key", "--another", "--out", names[2], "--data", data)
    told = json.loads(run("recovery-key", "--another", "--out", names[3], "--data", data, "--json"))
    assert told["replaced_opens_up_to"] == 2
    before = [path.read_text() for path in names]
    for path, opens in zip(names, ("up to 1,", "up to 2,", "up to 2,"), strict=False):
        fault = refused(ConflictError, "was replaced", "recovery-key", "--refresh", path, "--data", data)
        assert opens in fault.message and "no newer" in fault.message
    for path, number in ((names[0], 1), (names[1], 2)):
        run("verify", "--at", safe, "--recovery-key", path, "--backup", number)
    assert [path.read_text() for path in names] == before
    assert "backup 2" in run("recovery-key", "--refresh", names[3], "--data", data)
    other = json.loads(before[0]) | {"key": "ab" * 32}
    names[0].write_text(json.dumps(other))
    refused(
        ConflictError, "not the one that backups are sealed for", "recovery-key", "--refresh", names[0], "--data", data
    )


def test_keys_are_listed_with_how_often_they_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_house(data) as house:
        put(house, "default", SECRET)
    run("rotate-key", "default", "--data", data)
    (row,) = (row for row in json.loads(run("keys", "--data", data, "--json")) if row["workspace"] == "default")
    assert row["changed"] == 1 and row["packs"] == 1 and row["size_bytes"] > len(SECRET)
    assert "default" in run("keys", "--data", data)
