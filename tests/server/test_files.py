"""Files of a workspace through the door: stored, listed, read, changed - and every change a version."""

import gzip
import hashlib
import io
import socket
import tarfile
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lepton.security.identity import worker_token
from lepton.server.files import At, Files, How
from lepton.vault.store.batch import Batch
from lepton.vault.store.branches import Author
from lepton.vault.store.tree import Tree
from tests.server.house import API, Body, House, error_of, wait_until

V = f"{API}/vault"
CSV = b"a,b\n1,2\n" * 3


def put(client: httpx.Client, name: str, data: bytes = CSV, *, status: int = 201, **options: Any) -> Body:
    headers = options.pop("headers", {})
    answer = client.put(f"{V}/files/{name}", content=data, params=options, headers=headers)
    assert answer.status_code == status, answer.text
    found: Body = answer.json()
    return found


def names(client: httpx.Client, **query: Any) -> list[str]:
    return [item["name"] for item in client.get(f"{V}/files", params=query).json()["items"]]


def read(client: httpx.Client, name: str, **query: Any) -> bytes:
    answer = client.get(f"{V}/files/{name}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content


def tar_of(files: dict[str, bytes], **facts: Any) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for fact, value in facts.items():
                setattr(member, fact, value)
            archive.addfile(member, io.BytesIO(data))
    return body.getvalue()


def named(name: str, form: int) -> bytes:
    """An archive of one file whose name has what `tarfile` would cut off."""
    return tarfile.TarInfo(name).tobuf(form) + bytes(1024)


def tar_read(body: bytes) -> dict[str, tuple[bytes, float, int]]:
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {m.name: (archive.extractfile(m).read(), m.mtime, m.mode) for m in archive}  # type: ignore[union-attr]


def test_what_is_stored_is_listed_and_read(house: House) -> None:
    http = house.http
    assert names(http) == []
    made = put(http, "set/one.csv", modified_at=1_700_000_000_123_456, mode=0o600)
    put(http, "set/deep/two é.csv", b"")
    put(http, "three", b"3")
    assert names(http) == ["set/", "three"] and names(http, folder="set") == ["set/deep/", "set/one.csv"]
    assert names(http, recursive=True) == ["set/deep/two é.csv", "set/one.csv", "three"]
    assert names(http, recursive=True, limit=1, after="set/deep/two é.csv") == ["set/one.csv"]
    (folder,) = [item for item in house.ask("GET", "/vault/files?totals=true")["items"] if item["name"] == "set/"]
    assert (folder["files"], folder["size_bytes"]) == (2, len(CSV))
    (one,) = [item for item in house.ask("GET", "/vault/files?folder=set")["items"] if item["sha256"]]
    assert one["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert (one["modified_at"], one["mode"], one["size_bytes"]) == (1_700_000_000_123_456, 0o600, len(CSV))
    assert read(http, "set/one.csv") == CSV and read(http, "set/deep/two é.csv") == b""
    assert read(http, "set/one.csv", ref=made["version"]) == read(http, "set/one.csv", ref=made["version"][:12]) == CSV


def test_parts_and_copies_are_asked_for_as_of_any_file(house: House) -> None:
    put(house.http, "f", CSV)
    url, tag = f"{V}/files/f", f'"{hashlib.sha256(CSV).hexdigest()}"'
    part = house.http.get(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["etag"]) == (206, CSV[2:5], tag)
    assert house.http.get(url, headers={"if-none-match": tag}).status_code == 304
    head = house.http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(CSV)), b"")
    error_of(house.http.get(url, headers={"range": "bytes=99-"}), 416, "range")


def test_a_change_can_depend_on_what_is_there(house: House) -> None:
    tag = f'"{hashlib.sha256(CSV).hexdigest()}"'
    put(house.http, "f", headers={"if-none-match": "*"})
    for headers in ({"if-none-match": "*"}, {"if-match": '"00"'}):
        assert put(house.http, "f", b"new", status=412, headers=headers)["code"] == "stale"
    error_of(house.http.delete(f"{V}/files/f", headers={"if-match": '"00"'}), 412, "stale")
    put(house.http, "f", b"new", headers={"if-match": tag})
    assert put(house.http, "g", status=412, headers={"if-match": "*"})["code"] == "stale"
    assert read(house.http, "f") == b"new" and names(house.http) == ["f"]


def test_a_folder_comes_and_goes_as_a_tar_archive_in_one_version(house: House) -> None:
    files = {f"img/{number}.bin": bytes([number]) * 700 for number in range(40)}
    body = tar_of(files, mtime=1_700_000_000.25, mode=0o640)
    made = house.http.put(f"{V}/folders/set", content=body)
    assert (made.status_code, made.json()["files"]) == (201, 40)
    assert len(house.ask("GET", "/vault/log")["items"]) == 1
    wanted = [f"set/img/{number}.bin" for number in (7, 3)]
    found = tar_read(house.http.post(f"{V}/archives", json={"names": wanted}).content)
    assert list(found) == wanted
    assert found["set/img/3.bin"] == (files["img/3.bin"], 1_700_000_000.25, 0o640)
    error_of(house.http.post(f"{V}/archives", json={"names": ["set/nothing"]}), 404)
    again = house.http.put(f"{V}/folders/", content=tar_of({"./top": b"x"}))
    assert again.status_code == 201 and read(house.http, "top") == b"x"


@pytest.mark.parametrize(
    "body",
    [
        tar_of({"a": b"1", "b": bytes(4000)})[:2000],
        b"not a tar",
        b"\x1f\x8b" + bytes(600),
        tar_of({"../out": b"1"}),
        tar_of({"/abs": b"1"}),
        tar_of({"a": b"1", "a/b": b"1"}),
        tar_of({"link": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        tar_of({"dev": b""}, type=tarfile.CHRTYPE),
        tar_of({"a": b"", "x" * 256: b""}),
        tar_of({"x" * (2 << 20): b""}),
        tar_of({"a": b"1"}, mtime=1e300),
        tar_of({"a": b"1", "b": b"2"})[:2048],  # its end is missing
        tar_of({"a": b"1", "b": b"2"})[:1100],  # it ends in a header
        tar_of({"a": b"1"})[:1024] + b"x" * 512 + bytes(1024),
        named("a\0b", tarfile.USTAR_FORMAT),
        named("a\0b" + "c" * 200, tarfile.GNU_FORMAT),
        named("a\0b" + "c" * 200, tarfile.PAX_FORMAT),
        tar_of({"sparse": b""}, pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}),
    ],
)
def test_an_archive_that_cannot_be_stores_nothing(house: House, body: bytes) -> None:
    answer = house.http.put(f"{V}/folders/set", content=body)
    assert answer.status_code in (409, 422) and answer.json()["fix"], answer.text
    assert names(house.http) == []


@pytest.mark.parametrize("kind", ["files", "objects"])
def test_what_breaks_off_is_not_kept(house: House, kind: str) -> None:
    place = urlsplit(house.url)
    path = "a" if kind == "files" else hashlib.sha256(bytes(1 << 20)).hexdigest()
    head = f"PUT {V}/{kind}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.token}\r\n"
    with socket.create_connection((place.hostname, place.port)) as line:
        line.sendall(f"{head}Content-Length: {1 << 20}\r\n\r\n".encode() + bytes(300_000))
        wait_until(lambda: house.platform.uploads._threads, "it is taken in")
    wait_until(lambda: house.platform.uploads._idle_semaphore._value, "its thread has ended")
    error_of(house.http.get(f"{V}/{kind}/{path}"), 404, "not_found")
    assert names(house.http) == []


def test_every_change_is_a_version_to_which_one_can_go_back(house: House) -> None:
    http = house.http
    first = put(http, "a", b"1", message="begin")["version"]
    second = put(http, "a", b"22")["version"]
    put(http, "b", b"3")
    gone = http.delete(f"{V}/files/a").json()["version"]
    log = house.ask("GET", "/vault/log")["items"]
    assert [line["version"] for line in log][::3] == [gone, first]
    assert (log[-1]["by"], log[-1]["message"], log[-1]["files"]) == ("admin", "begin", 1)
    assert [line["version"] for line in house.ask("GET", "/vault/log?name=a")["items"]] == [gone, second, first]
    assert [change["name"] for change in house.ask("GET", f"/vault/diff?base={first}")["items"]] == ["a", "b"]
    (change,) = house.ask("GET", "/vault/diff")["items"]
    assert (change["old"]["size_bytes"], change["new"]) == (2, None)
    error_of(http.get(f"{V}/files/a"), 404, "not_found")
    house.ask("POST", "/vault/undelete", {"name": "a"})
    assert read(http, "a") == b"22"
    house.ask("POST", "/vault/branches/main/rollback", {"ref": first})
    assert read(http, "a") == b"1" and names(http) == ["a"]
    assert read(http, "a", at=log[1]["at"]) == b"22"


SIDES = {"base": b"mine", "ours": b"3", "theirs": b"4"}


def test_branches_part_and_meet_again(house: House) -> None:
    http = house.http
    put(http, "a", b"1")
    house.ask("PUT", "/vault/branches/try", {}, status=201)
    house.ask("PUT", "/vault/tags/v1", {}, status=201)
    assert error_of(http.put(f"{V}/tags/v1", json={}), 409, "name_taken")
    put(http, "a", b"mine", branch="try")
    put(http, "b", b"2")
    assert names(http, ref="v1") == ["a"] and read(http, "a") == b"1" and read(http, "a", ref="try") == b"mine"
    house.ask("POST", "/vault/merges", {"ref": "try"})
    assert read(http, "a") == b"mine" and names(http) == ["a", "b"]
    put(http, "a", b"3")
    put(http, "a", b"4", branch="try")
    told = error_of(http.post(f"{V}/merges", json={"ref": "try"}), 409, "merge_conflict")["details"]
    digests = {side: hashlib.sha256(data).hexdigest() for side, data in SIDES.items()}
    assert told == {"conflicts": [{"path": "a", "kind": "both_changed", **digests}], "count": 1}
    house.ask("POST", "/vault/merges", {"ref": "try", "take": "theirs"})
    assert read(http, "a") == b"4"
    assert [item["name"] for item in house.ask("GET", "/vault/branches")["items"]] == ["main", "tags/v1", "try"]
    house.ask("DELETE", "/vault/branches/try", status=204)
    error_of(http.get(f"{V}/files", params={"ref": "try"}), 404)
    house.ask("POST", "/vault/branches/try/undelete")
    assert read(http, "a", ref="try") == b"4"
    error_of(http.delete(f"{V}/branches/main"), 409)
    error_of(http.post(f"{V}/merges", json={"into": "main", "ref": "main", "draft": True}), 422)
    assert put(http, "x", status=404, branch="nowhere")["code"] == "not_found"
    assert put(http, "x", status=409, branch="tags/v1")["code"] == "conflict"


def test_a_draft_is_seen_whole_or_not_at_all(house: House) -> None:
    http = house.http
    put(http, "a", b"1")
    house.ask("PUT", "/vault/branches/draft.x", {}, status=201)
    for part in ({"b": b"2"}, {"c": b"3"}):
        assert http.put(f"{V}/folders/?branch=draft.x", content=tar_of(part)).status_code == 201
    put(http, "d", b"4")
    assert names(http) == ["a", "d"]
    house.ask("POST", "/vault/merges", {"ref": "draft.x", "draft": True, "message": "copied"})
    assert names(http) == ["a", "b", "c", "d"]
    assert [line["message"] for line in house.ask("GET", "/vault/log")["items"]] == ["copied", "", ""]
    assert [item["name"] for item in house.ask("GET", "/vault/branches")["items"]] == ["main"]


def test_files_are_copied_and_moved_without_their_bytes(house: House) -> None:
    http = house.http
    http.put(f"{V}/folders/set", content=tar_of({"x": b"1", "y/z": b"2"}))
    assert house.ask("POST", "/vault/copies", {"name": "set", "to": "other"}, status=201)["files"] == 2
    house.ask("POST", "/vault/copies", {"name": "set/x", "to": "set/w", "is_move": True}, status=201)
    assert names(http, recursive=True) == ["other/x", "other/y/z", "set/w", "set/y/z"]
    error_of(http.post(f"{V}/copies", json={"name": "set", "to": "set/in", "is_move": True}), 422)
    error_of(http.post(f"{V}/copies", json={"name": "nothing", "to": "x"}), 404)
    error_of(http.post(f"{V}/copies", json={"name": "other/x", "to": "set/w/deeper"}), 409)
    error_of(http.delete(f"{V}/files/set"), 409)
    assert http.delete(f"{V}/files/set?recursive=true").json()["files"] == 2
    assert names(http, recursive=True) == ["other/x", "other/y/z"]


class Beside(Files):
    """Somebody else writes when a change has looked round, and is about to begin."""

    writes: Callable[[], object]

    def _change(self, at: At, edit: Callable[[Tree, Batch], Tree], author: Author) -> bytes:
        self.writes()
        return super()._change(at, edit, author)


def test_what_is_written_while_a_folder_is_moved_moves_with_it(house: House) -> None:
    house.http.put(f"{V}/folders/set", content=tar_of({"x": b"1", "y": b"2"}))
    files = Beside(house.platform.sealing, house.platform.allowance)

    def write() -> None:
        put(house.http, "set/x", b"acknowledged")
        put(house.http, "set/new", b"acknowledged too")

    files.writes = write
    at = At(workspace="default")
    assert files.copy(at, "set", at, "moved", Author(by="ann"), how=How(is_move=True)) == 3
    assert names(house.http, recursive=True) == ["moved/new", "moved/x", "moved/y"]
    assert (read(house.http, "moved/x"), read(house.http, "moved/new")) == (b"acknowledged", b"acknowledged too")


def test_only_who_may_look_sees_and_only_who_may_write_changes(house: House) -> None:
    for team in ("red", "blue"):
        house.ask("POST", "/security/workspaces", {"name": team}, status=201)
    red, looker = house.user("ann", red="editor"), house.user("bob", red="viewer", blue="editor")
    job = house.submit(workspace="blue", course={"seconds": 1e9})["id"]
    worker = house.visitor(worker_token(house.platform.keys.workers, job, 0))
    put(red, "f", workspace="red")
    assert read(looker, "f", workspace="red") == CSV
    assert put(looker, "f", status=403, workspace="red")["code"] == "forbidden"
    error_of(red.get(f"{V}/files?workspace=blue"), 404)
    put(worker, "w", b"from a job")
    assert read(looker, "w", workspace="blue") == b"from a job"
    copied = {"name": "f", "to": "f", "source": "red"}
    assert looker.post(f"{V}/copies?workspace=blue", json=copied).status_code == 201
    assert read(looker, "f", workspace="blue") == CSV
    error_of(red.post(f"{V}/copies?workspace=red", json={"name": "w", "to": "w", "source": "blue"}), 404)
    error_of(worker.post(f"{V}/copies", json=copied), 404)
    error_of(house.http.get(f"{V}/files?workspace=nowhere"), 404)


def test_who_moved_a_branch_is_in_the_audit_trail(house: House) -> None:
    put(house.http, "f", message="why not")
    events = house.ask("GET", "/events?workspace=default")["items"]
    (moved,) = [event for event in events if event["kind"] == "branch"]
    assert (moved["subject"], moved["verb"], moved["actor"], moved["why"]) == (
        "default@main",
        "made",
        "admin",
        "why not",
    )


@pytest.mark.parametrize(
    "name", ["a/", "a/%2e%2e/b", "%2e%2e", ".lepton-draft/x", "a//b", "e\u0301", "x" * 256, "%00", "a%0Ab", "a%5Cb"]
)
def test_names_that_cannot_be_are_refused(shared_house: House, name: str) -> None:
    answer = shared_house.http.put(f"{V}/files/{name}", content=b"1")
    assert answer.status_code in (404, 422), (name, answer.text)
    assert names(shared_house.http) == []


def test_a_line_break_behind_a_name_does_not_stand_for_the_name_without(house: House) -> None:
    put(house.http, "a", b"one")
    for answer in (
        house.http.put(f"{V}/files/a%0A", content=b"two"),
        house.http.get(f"{V}/files/a%0A"),
        house.http.delete(f"{V}/files/a%0A"),
    ):
        error_of(answer, 404, "not_found")
    assert read(house.http, "a") == b"one" and names(house.http) == ["a"]


def test_a_workspace_keeps_no_more_than_it_may(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    member = house.user("ann", lab="editor")
    body = {"workspace": "lab", "limit_bytes": 100_000}
    error_of(member.put(f"{V}/quota", json=body), 403)
    assert house.ask("PUT", "/vault/quota", body) == {"stored_bytes": 0, "limit_bytes": 100_000}
    noise = bytes(hashlib.shake_256(b"noise").digest(100_001))
    digest = hashlib.sha256(noise).hexdigest()
    assert put(member, "big", noise, status=413, workspace="lab")["code"] == "storage_quota"
    error_of(member.put(f"{V}/objects/{digest}?workspace=lab", content=noise), 413, "storage_quota")
    error_of(member.put(f"{V}/folders/?workspace=lab", content=tar_of({"a": noise})), 413, "storage_quota")
    put(house.http, "f", noise)
    copied = {"name": "f", "to": "f", "source": "default"}
    error_of(house.http.post(f"{V}/copies?workspace=lab", json=copied), 413, "storage_quota")
    for number in range(3):  # each would fit
        put(house.http, f"set/{number}", noise[number:40_000])
    copied = {"name": "set", "to": "set", "source": "default"}
    error_of(house.http.post(f"{V}/copies?workspace=lab", json=copied), 413, "storage_quota")
    assert names(member, workspace="lab") == []
    put(member, "fits", noise[:60_000], workspace="lab")
    put(member, "more", noise[59_000:], status=413, workspace="lab")
    used = member.get(f"{V}/quota?workspace=lab").json()
    assert 60_000 < used["stored_bytes"] < 65_000
    house.ask("PUT", "/vault/quota", {"workspace": "lab"})
    put(member, "more", noise[59_000:], workspace="lab")


def test_what_was_refused_or_cut_short_is_gone_at_once(house: House) -> None:
    def stored() -> tuple[int, int]:
        packs = [path for path in (house.config.data / "vault").rglob("packs/*/*") if path.is_file()]
        return house.ask("GET", "/vault/quota")["stored_bytes"], len(packs)

    put(house.http, "f", b"some")
    before = stored()
    noise = hashlib.shake_256(b"more than a pack").digest(36 << 20)
    house.ask("PUT", "/vault/quota", {"workspace": "default", "limit_bytes": 35 << 20})
    put(house.http, "big", noise, status=413)
    assert stored() == before
    house.ask("PUT", "/vault/quota", {"workspace": "default"})
    url = f"{V}/files/big?workspace=default&unpack=gzip"
    error_of(house.http.put(url, content=gzip.compress(noise, 1)[:-3]), 422, "invalid")
    assert stored() == before


def test_packed_files_are_unpacked_on_their_way_in_and_packed_on_their_way_out(house: House) -> None:
    body = b"some text\n" * 50_000
    url = f"{API}/vault/files/packed.txt?workspace=default"
    assert house.http.put(f"{url}&unpack=gzip", content=gzip.compress(body)).status_code == 201
    assert house.http.get(url).content == body
    assert gzip.decompress(house.http.get(f"{url}&pack=gzip").content) == body
    error_of(house.http.put(f"{url}&unpack=gzip", content=gzip.compress(body)[:-3]), 422, "invalid")
    error_of(house.http.put(f"{url}&unpack=gzip", content=b""), 422, "invalid")
    error_of(house.http.put(f"{url}&unpack=rar", content=b"x"), 422)
    assert house.http.get(url).content == body, "what was refused changed nothing"
    house.ask("PUT", "/vault/quota", {"workspace": "default", "limit_bytes": 1 << 20})
    error_of(house.http.put(f"{url}&unpack=gzip", content=gzip.compress(bytes(1 << 24))), 413, "storage_quota")
