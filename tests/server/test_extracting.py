"""A part of a backup comes back as plain files, and nothing else."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from lepton.cli.main import cli
from lepton.core.errors import ConflictError, IntegrityError, NotFoundError
from lepton.store import domains
from lepton.vault.store.blobs import write
from lepton.vault.store.branches import Author
from lepton.vault.store.pages import Entry
from tests.server.house import House, open_house
from tests.server.test_schedules import run

BODIES = {name: os.urandom(200_000) for name in ("one", "two", "three", "lone", "branch")}


def publish(house: House, workspace: str, name: str, files: dict[str, bytes]) -> None:
    told = []
    for path, body in files.items():
        digest = house.store(body) if workspace == "default" else store_in(house, workspace, body)
        told.append({"path": path, "digest": digest, "size_bytes": len(body)})
    body = {"kind": "raw", "name": name, "files": told}
    house.ask("POST", f"/catalog/versions?workspace={workspace}", body, status=201)


def store_in(house: House, workspace: str, body: bytes) -> str:

    digest = sha256(body).hexdigest()
    assert house.http.put(f"/api/v1/vault/objects/{digest}?workspace={workspace}", content=body).status_code == 201
    return digest


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backup of two workspaces in `safe`, its platform in `data`, its key in `kit.json`."""
    folder = tmp_path_factory.mktemp("part")
    with open_house(folder / "data") as house:
        publish(house, "default", "w", {"a/one.bin": BODIES["one"], "two.bin": BODIES["two"]})
        publish(house, "default", "w", {"a/one.bin": BODIES["one"]})
        publish(house, "default", "ww", {"x": b"another"})
        house.ask("POST", "/security/workspaces", {"name": "red"}, status=201)
        publish(house, "red", "r", {"three.bin": BODIES["three"]})
        house.store(BODIES["lone"])
        platform = house.platform
        (id,) = (id for workspace, id in platform.database.read(domains.every) if workspace == "default")
        domain = platform.objects.vault.domain(id)
        batch = domain.chunks.writing()
        blob = write(batch, domain.cutter, [BODIES["branch"]])
        domain.branches.commit("main", {"d/f": Entry(blob), "dd": Entry(blob)}, batch, Author(by="ann"))
    run("recovery-key", "--out", folder / "kit.json", "--data", folder / "data")
    run("backup", "--to", folder / "safe", "--data", folder / "data")
    return folder / "safe"


def part(safe: Path, into: Path, *only: str, key: bool = True) -> dict[str, bytes]:
    words: list[object] = ["restore", "--from", safe, "--into", into]
    words += ["--recovery-key", safe.parent / "kit.json"] if key else ["--data", safe.parent / "data"]
    for path in only:
        words += ["--only", path]
    run(*words)
    files = (path for path in into.rglob("*") if path.is_file())
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ("red", {"red/artifacts/raw/r@1/three.bin": "three"}),
        ("default/artifacts/raw/w@1", {"a/one.bin": "one", "two.bin": "two"}),
        ("default/artifacts/raw/w@1/a", {"a/one.bin": "one"}),
        ("default/branches/main/d", {"default/branches/main/d/f": "branch"}),
        ("default/branches", {"default/branches/main/d/f": "branch", "default/branches/main/dd": "branch"}),
    ],
)
def test_one_part_and_nothing_else(safe: Path, tmp_path: Path, only: str, found: dict[str, str]) -> None:
    begin = "default/artifacts/raw/w@1/" if "w@1" in only else ""
    wanted = {f"{begin}{path}": BODIES[name] for path, name in found.items()}
    assert part(safe, tmp_path / "out", only, key="red" in only) == wanted


def test_a_workspace_has_its_versions_branches_and_lone_objects(safe: Path, tmp_path: Path) -> None:
    found = part(safe, tmp_path / "out", "default")
    (lone,) = (path for path in found if "/objects/" in path)
    assert found[lone] == BODIES["lone"] and len(found) == 7
    named = "default/objects/" + sha256(BODIES["one"]).hexdigest()
    assert part(safe, tmp_path / "one", named) == {named: BODIES["one"]}


def test_it_goes_on_where_it_was_stopped_and_replaces_nothing(safe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    part(safe, out, "default/artifacts")
    two = out / "default/artifacts/raw/w@1/two.bin"
    two.unlink()
    (out / ".restoring").write_bytes(b"half")
    assert part(safe, out, "default/artifacts")["default/artifacts/raw/w@1/two.bin"] == BODIES["two"]
    words = ["vault", "restore", "--from", str(safe), "--into", str(out), "--data", str(safe.parent / "data")]
    for spoil in (lambda: two.write_bytes(b"mine"), lambda: (two.unlink(), two.symlink_to("/etc/hostname"))):
        spoil()
        done = CliRunner().invoke(cli, [*words, "--only", "default/artifacts/raw/w@1"])
        assert isinstance(done.exception, ConflictError)
    done = CliRunner().invoke(cli, [*words, "--only", "default/artifacts/raw/v"])
    assert isinstance(done.exception, NotFoundError) and "--dry-run" in done.exception.fix
    listed = run(*words[1:], "--only", "red", "--dry-run")
    assert "red/artifacts/raw/r@1/three.bin" in listed and not (out / "red").exists()


def test_what_is_damaged_is_named_and_the_rest_is_written(safe: Path, tmp_path: Path) -> None:
    for pack in (path for path in (safe / "domains").rglob("*") if path.is_file() and path.stat().st_size > 500_000):
        body = bytearray(pack.read_bytes())
        body[100_000] ^= 1
        kept = pack.read_bytes()
        pack.write_bytes(body)
        words = ["vault", "restore", "--from", str(safe), "--into", str(tmp_path), "--only", "default"]
        done = CliRunner().invoke(cli, [*words, "--data", str(safe.parent / "data")])
        pack.write_bytes(kept)
        assert isinstance(done.exception, IntegrityError) and "one.bin" in done.exception.message
        assert (tmp_path / "default/artifacts/raw/w@1/two.bin").read_bytes() == BODIES["two"]
