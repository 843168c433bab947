"""The vault and the catalog through the front door: bytes under their hash, versions of them, where they come from."""

import asyncio
import hashlib
import socket

import httpx
import pytest

from lepton.api.bodies import UPLOADS_EACH
from tests.server.house import API, House, error_of, wait_until

DATA = b"0123456789" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
PATH = f"{API}/vault/objects/{DIGEST}"


def test_an_object_is_stored_once_and_read_whole_or_in_part(house: House) -> None:
    error_of(house.http.get(PATH), 404)
    assert house.http.head(PATH).status_code == 404
    assert house.http.put(PATH, content=DATA).status_code == 201
    assert house.http.put(PATH, content=iter([DATA[:7], DATA[7:]])).status_code == 200
    whole = house.http.get(PATH)
    assert whole.content == DATA and whole.headers["etag"] == f'"{DIGEST}"'
    assert house.http.head(PATH).headers["content-length"] == str(len(DATA))
    for given, wanted in (
        ("bytes=0-0", DATA[:1]),
        ("bytes=5-", DATA[5:]),
        ("bytes=-3", DATA[-3:]),
        ("bytes=9-99999", DATA[9:]),
    ):
        part = house.http.get(PATH, headers={"range": given})
        assert part.status_code == 206 and part.content == wanted
        assert part.headers["content-range"].endswith(f"/{len(DATA)}")


@pytest.mark.parametrize("given", ["bytes=10000-", "bytes=-0", "bytes=99999-100000"])
def test_a_range_outside_the_object_is_a_416_that_tells_its_size(house: House, given: str) -> None:
    house.store(DATA)
    answer = house.http.get(PATH, headers={"range": given})
    error_of(answer, 416, "range")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "given", ["bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=1--2", "bytes=5-4"]
)
def test_a_range_that_cannot_be_read_counts_as_none(house: House, given: str) -> None:
    house.store(DATA)
    answer = house.http.get(PATH, headers={"range": given})
    assert (answer.status_code, answer.content) == (200, DATA) and "content-range" not in answer.headers


def kept(house: House) -> list[str]:
    vault = house.config.data / "vault"
    files = (path for path in vault.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return [path.name for path in files if path.parent != vault]  # there lies only whose it is


def test_bytes_that_do_not_match_their_hash_leave_nothing(house: House) -> None:
    error_of(house.http.put(PATH, content=DATA[:-1]), 422, "integrity")
    error_of(house.http.put(PATH, content=b""), 422, "integrity")
    error_of(house.http.put(f"{API}/vault/objects/x", content=DATA), 422)
    assert kept(house) == []


def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated(house: House) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PUT {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.token}\r\n"
        line.sendall(f"{head}content-length: {len(DATA)}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 100")  # it has begun to read
        line.sendall(DATA[:5000])
    wait_until(lambda: kept(house) == [], "the broken upload is gone")
    assert house.http.put(PATH, content=DATA).status_code == 201


def test_slow_uploads_do_not_hold_up_the_door(house: House) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    lines = [socket.create_connection((host, int(port))) for _ in range(UPLOADS_EACH - 1)]
    for number, line in enumerate(lines):
        digest = hashlib.sha256(bytes([number])).hexdigest()
        line.sendall(
            f"PUT {API}/vault/objects/{digest} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.token}\r\n"
            f"content-length: 100\r\nexpect: 100-continue\r\n\r\n".encode()
        )
    for line in lines:
        assert line.recv(100).startswith(b"HTTP/1.1 100")  # it has begun to read
        line.sendall(b"0")
    assert house.http.get(f"{API}/jobs", timeout=5).status_code == 200
    house.store(DATA)
    for line in lines:
        line.close()
    wait_until(lambda: len(kept(house)) == 1, "only the whole one is kept")


def test_an_oversized_object_is_refused_whether_it_says_its_length_or_not(house: House) -> None:
    object.__setattr__(house.platform.config, "max_object_bytes", 1000)
    error_of(house.http.put(PATH, content=DATA), 413, "too_large")
    error_of(house.http.put(PATH, content=iter([DATA[:600], DATA[600:]])), 413, "too_large")
    assert kept(house) == []


def draft(house: House, **fields: object) -> dict[str, object]:
    digest = house.store(b"12345")
    return {"kind": "raw", "name": "v", "files": [{"path": "f", "digest": digest, "size_bytes": 5}], **fields}


def refuse(house: House, body: dict[str, object], status: int = 422) -> None:
    error_of(house.http.post(f"{API}/catalog/versions", json=body), status)
    assert house.ask("GET", "/catalog/versions")["items"] == []


def test_a_version_needs_its_objects_with_their_true_sizes(house: House) -> None:
    file = draft(house)["files"][0]  # type: ignore[index]
    refuse(house, draft(house, files=[{**file, "digest": "a" * 64}]))
    refuse(house, draft(house, files=[{**file, "size_bytes": 6}]))
    refuse(house, draft(house, files=[{**file, "size_bytes": -1}]))
    refuse(house, draft(house, files=[]))
    refuse(house, draft(house, files=[file, file]))
    refuse(house, draft(house, kind="thing"))
    refuse(house, draft(house, name="a..b"))
    refuse(house, draft(house, parents={"data": "ver_00000000000000000000000000"}))
    refuse(house, draft(house, parents={"data": "v@1"}))
    refuse(house, draft(house, job="job_00000000000000000000000000"), 404)
    refuse(house, draft(house, meta={"a": "\x00"}))


@pytest.mark.parametrize(
    "path", ["../f", "/f", "a/../f", "a//f", "./f", "f/", "", "a\\b", "a\nb", "a\x00", "..", "x" * 513]
)
def test_a_path_that_leads_out_of_the_version_is_refused(house: House, path: str) -> None:
    file = draft(house)["files"][0]  # type: ignore[index]
    refuse(house, draft(house, files=[{**file, "path": path}]))


def test_versions_are_numbered_found_by_name_and_traced(house: House) -> None:
    raw = house.version("photos", "raw")
    house.engine.advance(1)
    first = house.version("digits", "dataset", parents={"raw": raw["id"]})
    house.engine.advance(1)
    second = house.version("digits", "dataset", parents={"raw": raw["id"]}, meta={"rows": 3})
    assert [first["number"], second["number"]] == [1, 2]
    get = lambda ref: house.ask("GET", f"/catalog/versions/{ref}")["id"]  # noqa: E731
    assert [get("digits"), get("digits@1"), get(second["id"])] == [second["id"], first["id"], second["id"]]
    error_of(house.http.get(f"{API}/catalog/versions/digits@3"), 404)
    other = house.http.get(f"{API}/catalog/versions/digits@2?kind=model")
    error_of(other, 404)
    assert "'digits@2' is a version of kind dataset, not model" in other.text
    links = house.ask("GET", "/catalog/lineage/digits")["links"]
    assert [(link["role"], link["version"]["id"]) for link in links] == [("", second["id"]), ("raw", raw["id"])]
    latest = house.ask("GET", "/catalog/datasets?name=digits")["items"]
    assert [found["status"]["latest"] for found in latest] == [second["id"]]
    page = house.ask("GET", "/catalog/versions?limit=2")
    rest = house.ask("GET", f"/catalog/versions?limit=2&cursor={page['next']}")
    assert [found["id"] for found in page["items"] + rest["items"]] == [second["id"], first["id"], raw["id"]]
    assert rest["next"] is None


def test_a_workspace_neither_sees_nor_builds_on_versions_of_another(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "other"}, status=201)
    hidden = house.version("secret", workspace="other")
    editor = house.user("ed", default="editor")
    for path in (f"versions/{hidden['id']}", "versions/secret", f"lineage/{hidden['id']}"):
        error_of(editor.get(f"{API}/catalog/{path}"), 404)
    error_of(editor.get(f"{API}/catalog/versions?workspace=other"), 404)
    body = draft(house, parents={"data": hidden["id"]})
    error_of(editor.post(f"{API}/catalog/versions", json=body), 422)
    error_of(editor.post(f"{API}/jobs", json={"command": ["x"], "inputs": {"a": hidden["id"]}}), 404)
    error_of(editor.post(f"{API}/catalog/versions?workspace=other", json=draft(house)), 404)


def test_two_racing_creators_of_one_name_get_one_yes_and_one_no(house: House) -> None:
    model = house.version("m", "model")["id"]

    async def race() -> list[int]:
        async with httpx.AsyncClient(base_url=house.url, headers=house.http.headers, timeout=20) as client:
            posts = [
                client.post(f"{API}/{path}", json=body)
                for path, body in (
                    ("security/users", {"name": "twin"}),
                    ("security/workspaces", {"name": "twin"}),
                    ("serve/endpoints", {"name": "twin", "model": model}),
                )
                for _ in range(8)
            ]
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    statuses = asyncio.run(race())
    for kind in range(3):
        assert sorted(statuses[kind * 8 : kind * 8 + 8]) == [201] + [409] * 7


def test_a_bare_name_means_a_model_before_a_dataset_before_anything_else(house: House) -> None:
    house.version("digits", "raw")
    assert house.ask("GET", "/catalog/versions/digits")["kind"] == "raw"
    house.version("digits", "dataset")
    house.version("digits", "report")
    assert house.ask("GET", "/catalog/versions/digits")["kind"] == "dataset"
    house.version("digits", "model")
    assert house.ask("GET", "/catalog/versions/digits@1")["kind"] == "model"
    assert house.ask("GET", "/catalog/versions/digits?kind=report")["kind"] == "report"


def test_only_a_checkpoint_may_be_named_by_an_id(house: House) -> None:
    file = {"path": "a", "digest": house.store(DATA), "size_bytes": len(DATA)}
    body = {"name": house.submit(command=["true"])["id"], "files": [file]}
    house.ask("POST", "/catalog/versions", {**body, "kind": "checkpoint"}, status=201)
    error_of(house.http.post(f"{API}/catalog/versions", json={**body, "kind": "model"}), 422, "bad_name")
