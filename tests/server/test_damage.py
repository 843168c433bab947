"""What is damaged in the vault is told by name, and stands in the way of nothing else."""

import json
import os
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import DamagedError
from lepton.sdk import transfer
from tests.server.house import API, House, error_of
from tests.server.test_files import V, put, tar_of, tar_read

LARGE = 6_000_000
"""More than an archive holds in memory."""


def put_damaged(house: House, name: str, size: int, *, share: float = 0.5) -> bytes:
    """Store a file, and flip a bit of it where it lies, so far behind its beginning."""
    before, content = packs(house), os.urandom(size)
    put(house.http, name, content)
    (pack,) = packs(house) - before
    body = bytearray(pack.read_bytes())
    body[int(size * share)] ^= 1
    pack.write_bytes(body)
    return content


def packs(house: House) -> set[Path]:
    return {path for path in (house.config.data / "vault").rglob("*") if path.is_file() and path.stat().st_size > 5000}


def run(house: House, *words: object) -> Result:
    environment = {"LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}
    return CliRunner(env=environment).invoke(cli, ["vault", *map(str, words)])


def test_a_file_is_known_to_be_damaged_before_its_answer_begins(house: House) -> None:
    put_damaged(house, "set/a", 30_000)
    told = error_of(house.http.get(f"{V}/files/set/a"), 500, "damaged")
    assert "'set/a' of default" in told["message"] and "repair" in told["fix"]
    assert error_of(house.http.get(f"{V}/files/set/a", headers={"range": "bytes=5-9"}), 500, "damaged")
    house.ask("POST", "/security/workspaces", {"name": "other"}, status=201)
    copied = {"name": "set", "to": "set", "source": "default"}
    assert "'set/a'" in error_of(house.http.post(f"{V}/copies?workspace=other", json=copied), 500, "damaged")["message"]


def test_an_object_is_known_to_be_damaged_before_its_answer_begins(house: House) -> None:
    before = packs(house)
    digest = house.store(os.urandom(30_000))
    (pack,) = packs(house) - before
    pack.unlink()
    assert digest in error_of(house.http.get(f"{API}/vault/objects/{digest}"), 500, "damaged")["message"]


def test_what_the_sdk_uploads_again_heals(house: House, tmp_path: Path) -> None:
    before, content = packs(house), os.urandom(300_000)
    (tmp_path / "weights").write_bytes(content)
    with house.sdk() as client:
        client.catalog.upload([tmp_path / "weights"], kind="raw", name="w")
        for path in packs(house) - before:
            body = bytearray(path.read_bytes())
            body[len(body) // 2] ^= 1
            path.write_bytes(body)
        kept = packs(house)
        client.catalog.upload([tmp_path / "weights"], kind="raw", name="w")
        assert packs(house) > kept
        whole = packs(house)
        client.catalog.upload([tmp_path / "weights"], kind="raw", name="w")
        assert packs(house) == whole
    assert house.http.get(f"{API}/vault/objects/{sha256(content).hexdigest()}").content == content


def test_an_archive_leaves_out_what_is_damaged_and_names_it(house: House) -> None:
    put(house.http, "a", b"1")
    put_damaged(house, "b", 30_000)
    put_damaged(house, "c", LARGE, share=0.9)
    put(house.http, "d", b"4")
    wanted = {"names": ["a", "b", "c", "d"], "skip_damaged": True}
    found = tar_read(house.http.post(f"{V}/archives", json=wanted).content)
    assert list(found) == ["a", "d", ".lepton-draft/damaged"]
    assert (found["a"][0], found["d"][0]) == (b"1", b"4")
    assert list(json.loads(found[".lepton-draft/damaged"][0])) == ["b", "c"]
    told = error_of(house.http.post(f"{V}/archives", json={"names": ["c", "a"]}), 500, "damaged")
    assert "'c' cannot be read whole" in told["message"]
    with pytest.raises(httpx.RemoteProtocolError):  # nobody who did not ask for it gets less than all
        house.http.post(f"{V}/archives", json={"names": ["a", "c"]})
    assert house.http.put(f"{V}/folders/", content=tar_of({".lepton-draft/damaged": b"{}"})).status_code == 422


def test_a_copy_brings_all_that_is_whole_and_names_the_rest(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH_BYTES", 1 << 20)
    whole = {"set/a": b"1", "set/sub/e": b"5", "set/f": os.urandom(3 << 20)}
    for name, content in whole.items():
        put(house.http, name, content)
    put_damaged(house, "set/b", 30_000)
    put_damaged(house, "set/sub/c", 2 << 20, share=0.9)  # goes alone: its beginning arrives
    seen = list[tuple[int, int]]()
    with house.sdk() as client, pytest.raises(DamagedError) as caught:
        client.vault.download("set", tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert caught.value.details["files"] == 3 and set(caught.value.details["damaged"]) == {"set/b", "set/sub/c"}
    assert seen[-1][0] == seen[-1][1]
    there = {f"set/{path.relative_to(tmp_path / 'out')}": path for path in (tmp_path / "out").rglob("*")}
    assert {name: path.read_bytes() for name, path in there.items() if path.is_file()} == whole
    done = run(house, "cp", "-r", "lepton://default/set", tmp_path / "again")
    assert isinstance(done.exception, DamagedError) and "set/b, set/sub/c" in str(done.exception)
    told = run(house, "cp", "-r", "lepton://default/set", tmp_path / "third", "--json")
    assert told.exit_code == 1 and set(json.loads(told.stderr)["details"]["damaged"]) == {"set/b", "set/sub/c"}


def test_who_prints_a_file_learns_where_it_breaks(house: House) -> None:
    put_damaged(house, "c", 2 << 20, share=0.9)
    done = run(house, "cat", "lepton://default/c")
    assert isinstance(done.exception, DamagedError) and "'c' of default" in str(done.exception)
    assert len(done.stdout_bytes) > 1 << 20


def test_a_folder_that_is_sent_again_is_whole(house: House, tmp_path: Path) -> None:
    before = packs(house)
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        (tmp_path / "set" / name).write_bytes(os.urandom(30_000))
    words = ("cp", "-r", tmp_path / "set", "lepton://default/set")
    assert run(house, *words).exit_code == 0
    for pack in packs(house) - before:
        body = bytearray(pack.read_bytes())
        body[100] ^= 1
        pack.write_bytes(body)
    assert isinstance(run(house, "cp", "-r", "lepton://default/set", tmp_path / "out").exception, DamagedError)
    assert run(house, *words, "--again").exit_code == 0
    (tmp_path / "out" / "b").write_bytes(bytes(30_000))
    stamp = (tmp_path / "set" / "b").stat().st_mtime_ns
    os.utime(tmp_path / "out" / "b", ns=(stamp, stamp))
    assert run(house, "cp", "-r", "lepton://default/set", tmp_path / "out", "--again").exit_code == 0
    for name in ("a", "b"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "set" / name).read_bytes()
