"""Files that are no good archive, through the command line: the job fails, and `why` says it in one line."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walk.house import House, opened_house


@pytest.fixture(scope="module")
def running() -> Iterator[House]:
    with opened_house() as house:
        house.up()
        yield house
        house.end()


def truncated(path: Path) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(bytes(range(250)) * 400))
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


def climbing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/1.png", b"x")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"a/{number}.png", bytes(1 << 20))


def empty(path: Path) -> None:
    with zipfile.ZipFile(path, "w"):
        pass


BAD = {
    "noise.zip": (lambda path: path.write_bytes(b"no archive at all" * 100), "invalid: noise.zip"),
    "cut.tar.gz": (truncated, "invalid: cut.tar.gz"),
    "empty.zip": (empty, "invalid: "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_fails_its_job_and_why_names_the_fault(running: House, tmp_path: Path, name: str) -> None:
    make, wanted = BAD[name]
    file = tmp_path / name
    make(file)
    known = len(running.client.catalog.list(kind="dataset"))
    added = running.lepton("data", "add", str(file), "--name", "bad", "--json")
    listed = running.client.jobs.list(limit=1)[0].wait(check=False)
    assert listed.state == "failed", added
    why = running.lepton("jobs", "why", listed.id)
    assert why.returncode == 0
    assert len(why.stdout.splitlines()) == 1
    assert why.stdout.startswith("failed: worker 0: failed with code 1 (" + wanted), why.stdout
    assert wanted in json.loads(running.lepton("jobs", "get", listed.id, "--json").stdout)["status"]["ending"]["detail"]
    assert len(running.client.catalog.list(kind="dataset")) == known


def test_a_bomb_fails_its_job_before_it_has_unpacked(running: House, tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.zip")
    client = running.client
    raw = client.catalog.upload([tmp_path / "bomb.zip"], kind="raw", name="bomb")
    wish = {"raw": raw.id, "name": "bomb", "max_unpacked_bytes": 1 << 20}
    made = client._portal.run(client._inner.http.post("/data/ingest", wish))
    why = client.jobs.get(made["id"]).wait(check=False).why()
    assert why.startswith("worker 0: failed with code 1 (too_large: bomb.zip unpacks to more than 1048576 bytes")


def test_a_path_that_climbs_out_is_a_faulty_row_and_writes_nothing(running: House, tmp_path: Path) -> None:
    climbing(tmp_path / "climb.zip")
    assert running.lepton("data", "add", str(tmp_path / "climb.zip"), "--name", "climb").returncode == 0
    dataset = running.client.catalog.get("climb", kind="dataset")
    assert (dataset.meta["rows"], dataset.meta["faulty"]) == (1, 1)
    assert not [path for path in running.folder.rglob("1.png")]
