"""Objects of the vault: read by who may look into a workspace that holds them, and by nobody else."""

import hashlib
import os
import shutil
import sqlite3
from pathlib import Path

import httpx
import pytest

from lepton.core.errors import IntegrityError
from lepton.security.identity import worker_token
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.plain import PlainObjects
from tests.older import since
from tests.server.house import API, Body, House, error_of, open_house, wait_until
from tests.server.test_schedules import refused, run

SECRET = b"the weights of another team"
DIGEST = hashlib.sha256(SECRET).hexdigest()
OBJECT = f"{API}/vault/objects/{DIGEST}"


@pytest.fixture
def teams(house: House) -> dict[str, httpx.Client]:
    """Editors of two workspaces, and a worker of a job in each."""
    found = {}
    for team in ("red", "blue"):
        house.ask("POST", "/security/workspaces", {"name": team}, status=201)
        found[team] = house.user(f"{team}-ed", **{team: "editor"})
        job = house.submit(workspace=team, course={"seconds": 1e9})["id"]
        found[f"{team}-worker"] = house.visitor(worker_token(house.platform.keys.workers, job, 0))
    return found


def publish(client: httpx.Client, team: str, name: str = "w") -> httpx.Response:
    files = [{"path": "f", "digest": DIGEST, "size_bytes": len(SECRET)}]
    return client.post(f"{API}/catalog/versions?workspace={team}", json={"kind": "raw", "name": name, "files": files})


def same_refusal(one: Body, other: Body) -> bool:
    return one == {**other, "message": other["message"].replace("a" * 64, DIGEST)}


def test_a_hash_alone_opens_nothing(house: House, teams: dict[str, httpx.Client]) -> None:
    nothing = error_of(teams["blue"].get(f"{API}/vault/objects/{'a' * 64}"), 404)
    assert teams["red"].put(f"{OBJECT}?workspace=red", content=SECRET).status_code == 201
    for step in ("uploaded", "published"):
        for who in ("blue", "blue-worker"):
            assert same_refusal(error_of(teams[who].get(OBJECT), 404, "not_found"), nothing), step
            assert same_refusal(error_of(teams[who].get(OBJECT, headers={"range": "bytes=0-"}), 404), nothing)
            assert teams[who].head(OBJECT).status_code == 404
            assert teams[who].get(OBJECT, headers={"if-none-match": "*"}).status_code == 404
        for who in ("red", "red-worker"):
            assert teams[who].get(OBJECT).content == SECRET
        assert publish(teams["red"], "red").status_code == 201
    assert house.http.get(OBJECT).content == SECRET


def test_naming_a_hash_in_a_version_opens_nothing_and_tells_nothing(teams: dict[str, httpx.Client]) -> None:
    before = error_of(publish(teams["blue"], "blue"), 422)
    teams["red"].put(f"{OBJECT}?workspace=red", content=SECRET)
    assert error_of(publish(teams["blue"], "blue"), 422) == before
    files = [{"path": "f", "digest": DIGEST, "size_bytes": 1}]
    wrong = {"kind": "raw", "name": "w", "files": files}
    assert error_of(teams["blue"].post(f"{API}/catalog/versions?workspace=blue", json=wrong), 422) == before
    error_of(teams["blue"].get(OBJECT), 404)


def test_who_has_the_bytes_may_store_them_again_and_learns_nothing(teams: dict[str, httpx.Client]) -> None:
    assert teams["red"].put(f"{OBJECT}?workspace=red", content=SECRET).json() == {"digest": DIGEST, "is_new": True}
    answers = [teams["blue"].put(f"{OBJECT}?workspace=blue", content=SECRET) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert [answer.json()["is_new"] for answer in answers] == [True, False]
    assert teams["blue-worker"].get(OBJECT).content == SECRET
    assert publish(teams["blue"], "blue").status_code == 201
    error_of(teams["blue"].put(f"{API}/vault/objects/{'b' * 64}?workspace=blue", content=SECRET), 422, "integrity")


def test_bytes_are_stored_only_where_one_may_write(house: House, teams: dict[str, httpx.Client]) -> None:
    error_of(teams["blue"].put(f"{OBJECT}?workspace=red", content=SECRET), 404)
    error_of(house.http.put(f"{OBJECT}?workspace=nowhere", content=SECRET), 404)
    assert teams["blue-worker"].put(OBJECT, content=SECRET).status_code == 201  # a worker is always in its job's
    assert teams["blue"].get(OBJECT).status_code == 200
    error_of(teams["red"].get(OBJECT), 404)


def test_who_leaves_a_workspace_reads_its_objects_no_more(house: House, teams: dict[str, httpx.Client]) -> None:
    teams["red"].put(f"{OBJECT}?workspace=red", content=SECRET)
    house.ask("PUT", "/security/workspaces/red/members/red-ed", {"role": ""})
    house.ask("PUT", "/security/workspaces/blue/members/red-ed", {"role": "viewer"})
    error_of(teams["red"].get(OBJECT), 404)


def test_what_an_older_lepton_kept_in_the_clear_is_read_and_sealed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with open_house(data) as old:
        digest = old.version()["files"][0]["digest"]
        body = old.http.get(f"{API}/vault/objects/{digest}").content
    with sqlite3.connect(data / "lepton.db") as database:
        for statement in (*since(3), "DELETE FROM facts WHERE name = 'storage'"):
            database.execute(statement)
    database.close()
    shutil.rmtree(data / "vault")
    plain = PlainObjects(LocalDriver(data / "vault"))
    assert plain.put(body) == digest
    assert "All read: 0 packs are whole" in run("verify", "--data", data)
    (lies,) = (data / "vault" / "objects").rglob("[0-9a-f]" * 62)
    lies.write_bytes(b"spoiled")
    fault = refused(IntegrityError, "Not whole: default: ", "verify", "--data", data)
    assert "damaged" not in fault.message
    lies.write_bytes(body)
    with open_house(data) as new:
        ann = new.user("ann", default="viewer")
        assert ann.get(f"{API}/vault/objects/{digest}").content == body
        wait_until(lambda: not list((data / "vault" / "objects").rglob("[0-9a-f]" * 62)), "it is sealed")
        assert ann.get(f"{API}/vault/objects/{digest}").content == body
    assert all(body not in file.read_bytes() for file in data.rglob("*") if file.is_file())


def test_a_workspace_that_names_what_another_holds_has_it_for_itself(house: House) -> None:
    for team in ("red", "blue"):
        house.ask("POST", "/security/workspaces", {"name": team}, status=201)
    both = house.user("both", red="editor", blue="editor")
    assert both.put(f"{OBJECT}?workspace=red", content=SECRET).status_code == 201
    assert publish(both, "blue").status_code == 201
    rows = house.platform.database.read(lambda tx: tx.rows("SELECT workspace, domain FROM holdings ORDER BY workspace"))
    assert [row[0] for row in rows] == ["blue", "red"] and rows[0][1] != rows[1][1]
    assert house.user("blue-only", blue="viewer").get(OBJECT).content == SECRET


def test_nothing_of_an_object_lies_in_the_data_directory_in_the_clear(house: House) -> None:
    assert house.http.put(OBJECT, content=SECRET).status_code == 201
    kept = [file.read_bytes() for file in house.config.data.rglob("*") if file.is_file()]
    assert len(kept) > 3 and not any(SECRET[:12] in body for body in kept)


def test_a_copy_that_is_there_is_not_sent_again(house: House) -> None:
    house.store(SECRET)
    tag = f'"{DIGEST}"'
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        for method in ("GET", "HEAD"):
            answer = house.http.request(method, OBJECT, headers={"if-none-match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert house.http.get(OBJECT, headers={"if-none-match": '"x"'}).content == SECRET
    error_of(house.http.get(OBJECT, headers={"if-none-match": "x"}), 422)
    part = {"range": "bytes=0-2"}
    assert house.http.get(OBJECT, headers={**part, "if-range": tag}).content == SECRET[:3]
    assert house.http.get(OBJECT, headers={**part, "if-range": '"x"'}).content == SECRET


def large_packs(data: Path, least: int) -> list[Path]:
    return [path for path in (data / "vault").rglob("*") if path.is_file() and path.stat().st_size > least]


def test_what_is_damaged_is_whole_again_when_it_is_sent_again(house: House) -> None:
    body = os.urandom(400_000)
    digest = house.store(body)
    half = house.store(body[:200_000])  # shares chunks with it
    spoilers = (
        lambda pack: pack.write_bytes(b"\0" * pack.stat().st_size),
        Path.unlink,
        lambda pack: os.truncate(pack, 90_000),
    )
    for spoil in spoilers:
        for pack in large_packs(house.config.data, 300_000):
            spoil(pack)
        assert read_whole(house, digest) != body
        answer = house.http.put(f"{API}/vault/objects/{digest}", content=body)
        assert (answer.status_code, answer.json()["is_new"]) == (200, False)
        assert read_whole(house, digest) == body and read_whole(house, half) == body[:200_000]
    before = len(large_packs(house.config.data, 0))
    assert house.http.put(f"{API}/vault/objects/{digest}", content=body).status_code == 200
    assert len(large_packs(house.config.data, 0)) == before  # what is whole is not stored twice
    error_of(house.http.put(f"{API}/vault/objects/{digest}", content=body[1:]), 422, "integrity")


def read_whole(house: House, digest: str) -> bytes:
    try:
        return house.http.get(f"{API}/vault/objects/{digest}").content
    except httpx.RemoteProtocolError:  # the answer had begun
        return b""
