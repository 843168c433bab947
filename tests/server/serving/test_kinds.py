"""Forms, URLs, binary bodies and files of a service, through a real front and a real replica."""

import base64
import json
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgpack
import numpy as np
import pytest

from tests.server.serving.house import House, Npy, open_service

FORM = "application/x-www-form-urlencoded"
PNG = b"\x89PNG\x00\xff"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_service("kinds.py") as made:
        yield made


def part(name: str, content: bytes, *, file: str | None = None, kind: str = "image/png") -> bytes:
    """One part of a form; `file` is its file's name."""
    told = f'; filename="{file}"\r\nContent-Type: {kind}' if file is not None else ""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode() + content + b"\r\n"


def multipart(house: House, path: str, *parts: bytes, end: bytes = b"--B--\r\n") -> tuple[int, Any]:
    return house.ask("POST", path, b"".join(parts) + end, content_type="multipart/form-data; boundary=B")[:2]


def post(house: House, path: str, body: Any, kind: str = "application/json", **more: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return house.ask("POST", path, data, content_type=kind, **more)[:2]


def test_several_files_of_one_name_are_a_list(house: House) -> None:
    one, two = part("files", b"1", file="a.png"), part("files", b"2", file="b.txt", kind="text/plain")
    wanted = ["a.png image/png 1", "b.txt text/plain 2"]
    assert multipart(house, "/files", one, two, part("note", b"hi")) == (200, [*wanted, "hi"])
    assert multipart(house, "/files", one) == (200, [wanted[0], "None"])
    status, answer = multipart(house, "/files", part("note", b"hi"))
    assert (status, answer["message"]) == (422, "files: is missing")
    body = {"files": [base64.b64encode(b"1").decode()]}
    assert post(house, "/files", body) == (200, [" application/octet-stream 1", "None"])


EVERYTHING = {
    "data": "é",
    "number": "5",
    "colour": "7",
    "word": "1",
    "at": "2026-01-02T03:04:05",
    "place": '{"x": 1, "on": "2026-02-03"}',
}
TOLD = {"at": "2026-01-02T03:04:05", "place": {"x": 1, "on": "2026-02-03"}, "rows": [1, 2]}


def test_fields_of_every_kind_come_in_a_form_a_url_json_and_msgpack(house: House) -> None:
    parts = [part(name, text.encode()) for name, text in EVERYTHING.items()]
    rows = [part("rows", b"1"), part("rows", b"2")]
    found = multipart(house, "/many", part("file", b"f", file="f"), *parts, *rows)
    assert found == (200, {"told": ["f", "é", 5, "SEVEN", 1], **TOLD})
    query = urlencode([*EVERYTHING.items(), ("rows", "1"), ("rows", "2")])
    wanted = (200, {"told": [None, "é", 5, "SEVEN", 1], **TOLD})
    assert post(house, "/many", query.encode(), FORM) == wanted
    plain = {"number": 5, "colour": 7, "word": 1, **TOLD}
    text = base64.b64encode("é".encode()).decode()
    assert post(house, "/many", {**plain, "data": text}) == wanted
    status, answer = post(house, "/many", msgpack.packb(plain), "application/msgpack")
    assert (status, msgpack.unpackb(answer)) == (200, {"told": [None, None, 5, "SEVEN", 1], **TOLD})


def test_what_is_left_out_or_left_empty_is_the_default_or_none(house: House) -> None:
    nothing = (200, {"told": [None, None, None, "RED", "x"], "at": None, "place": None, "rows": []})
    assert multipart(house, "/many", part("file", b"", file=""), part("number", b""), part("at", b"")) == nothing
    assert post(house, "/many", {"file": None, "data": None, "number": None}) == nothing
    assert post(house, "/many", {}) == nothing


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("number", "five", "number"),
        ("colour", "blue", "colour"),
        ("word", "2", "word"),
        ("at", "noon", "at"),
        ("place", "{", "place"),
        ("place", '{"y": 1}', "place.x: is missing"),
        ("rows", "a", "rows.0"),
        ("nobody", "x", "nobody: is unknown"),
    ],
)
def test_what_does_not_fit_is_a_422_that_names_the_field(house: House, name: str, value: str, word: str) -> None:
    status, answer = multipart(house, "/many", part(name, value.encode()))
    assert status == 422 and answer["message"].startswith(word)


def test_forms_that_are_broken_are_refused(house: House) -> None:
    for parts, end, word in (
        ((part("number", b"5"),), b"", "cut short"),
        ((part("number", b"\xff"),), b"--B--\r\n", "no UTF-8"),
    ):
        status, answer = multipart(house, "/many", *parts, end=end)
        assert (status, word in answer["message"]) == (422, True), answer
    many = [part("rows", b"1")] * 10_001
    for status, answer in (multipart(house, "/many", *many), post(house, "/many", b"rows=1&" * 10_001, FORM)):
        assert (status, "more than 10000 fields" in answer["message"]) == (422, True), answer
    status, answer = post(house, "/many", b"number=%ff", FORM)
    assert (status, "no UTF-8" in answer["message"]) == (422, True), answer
    twice = [
        multipart(house, "/many", part("number", b"5"), part("number", b"6")),
        post(house, "/many", b"number=5&number=6", FORM),
        house.ask("GET", "/place?x=4&x=5")[:2],
    ]
    for status, answer in twice:
        assert (status, "came 2 times" in answer["message"]) == (422, True), answer
    status, answer, _ = house.ask("GET", "/place?x=4&on=%ff")
    assert (status, "no UTF-8" in answer["message"]) == (422, True), answer


def test_an_object_is_taken_whole_from_a_form_and_from_a_url(house: House) -> None:
    parts = [part("count", b"2"), part("at", b'{"x": 3}'), part("tags", b"a"), part("tags", b"b")]
    picture = part("picture", PNG, file="p.png")
    at = {"x": 3, "on": None}
    wanted = {"count": 2, "at": at, "tags": ["a", "b"]}
    assert multipart(house, "/order", *parts, picture) == (200, {**wanted, "picture": "p.png"})
    body = {**wanted, "picture": base64.b64encode(PNG).decode()}
    assert post(house, "/order", body) == (200, {**wanted, "picture": ""})
    assert house.ask("GET", "/place?x=4&on=2026-01-01")[:2] == (200, {"x": 4, "on": "2026-01-01"})
    assert house.ask("GET", "/place?x=four")[1]["message"].startswith("x: ")
    fields = [part("a", b"1"), part("b", b"1"), part("b", b"2")]
    assert multipart(house, "/rest", *fields) == (200, {"a": 1, "b": 2})


def test_a_lone_file_comes_as_it_is_whatever_its_type(house: House) -> None:
    assert post(house, "/picture", PNG, "image/png") == (200, ["image/png", len(PNG)])
    assert post(house, "/picture", PNG, "application/octet-stream") == (200, ["application/octet-stream", len(PNG)])
    assert post(house, "/raw", PNG, "image/png") == (200, PNG)
    assert post(house, "/picture", b"text\xff", "text/plain") == (200, ["text/plain", 5])
    assert post(house, "/raw", b"text\xff", "text/plain") == (200, b"text\xff")
    assert post(house, "/alone", PNG, "image/png") == (200, "image/png")
    assert post(house, "/order", PNG, "image/png")[0] == 415
    assert multipart(house, "/picture", part("picture", b"text")) == (200, ["application/octet-stream", 4])


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("/single", [1, 2.5], [2.0, 5.0]),
        ("/single", 10**30, 2e30),
        ("/small", None, "none"),
        ("/small", [1.0, 255], "uint8 [1, 255]"),
        ("/untyped", [[1, 2], [3, 4]], "int64 (2, 2)"),
    ],
)
def test_arrays_are_of_the_dtype_that_was_asked_for(house: House, path: str, value: Any, wanted: Any) -> None:
    status, answer = post(house, path, {"x": value})
    assert status == 200, answer
    assert answer == wanted or np.isclose(answer, wanted)


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("/single", ["a"], "not of text values"),
        ("/single", "abc", "not of text values"),
        ("/single", [True], "not of bool values"),
        ("/single", [1e39], "too large"),
        ("/single", None, "not of mixed values"),
        ("/small", [256], "a value that is none"),
        ("/small", [-1], "a value that is none"),
        ("/small", [1.5], "a value that is none"),
        ("/untyped", ["a"], "an array of numbers"),
        ("/untyped", [[1], [2, 3]], "different lengths"),
        ("/untyped", {"a": 1}, "an array of numbers"),
    ],
)
def test_values_that_the_dtype_cannot_hold_are_refused(house: House, path: str, value: Any, word: str) -> None:
    status, answer = post(house, path, {"x": value})
    assert (status, answer["message"].startswith("x: "), word in answer["message"]) == (422, True, True), answer


def test_arrays_come_as_files_of_numpy_and_as_bytes_and_may_be_written_to(house: House) -> None:
    rows = np.arange(3)
    doubled = (rows * 2).astype("<f4")
    for array in (rows, rows.astype("<f8"), rows.astype(">f4"), rows.astype("f2")):
        status, answer = post(house, "/single", Npy.dump(array), "application/x-npy")
        assert status == 200 and Npy.load(answer).dtype == np.float32
        assert Npy.load(answer).tolist() == [0, 2, 4]
    raw = rows.astype("<f4").tobytes()
    assert post(house, "/single", raw, "application/octet-stream") == (200, [0.0, 2.0, 4.0])
    for inside in (raw, Npy.dump(rows), rows.tolist()):
        status, answer = post(house, "/single", msgpack.packb({"x": inside}), "application/msgpack")
        assert (status, msgpack.unpackb(answer)) == (200, [0.0, 2.0, 4.0])
    parts = [part("x", b"0"), part("x", b"1"), part("x", b"2")]
    assert multipart(house, "/single", *parts) == (200, [0.0, 2.0, 4.0])
    assert multipart(house, "/single", part("x", Npy.dump(rows), file="x.npy")) == (200, [0.0, 2.0, 4.0])
    assert post(house, "/whole", Npy.dump(rows), "application/x-npy") == (200, [3])
    assert post(house, "/whole", [1, 2]) == (200, [3])
    for bad in (Npy.dump(np.array(["a"])), Npy.dump(np.array([1e300])), Npy.dump(np.array([1j])), b"\x93NUMPYx"):
        assert post(house, "/single", bad, "application/x-npy")[0] == 422
    assert post(house, "/single", raw[:-1], "application/octet-stream")[0] == 422
    assert doubled.tolist() == [0, 2, 4]


def test_the_answer_is_of_the_kind_that_the_client_accepts(house: House) -> None:
    body, kind = json.dumps({"x": [1, 2]}).encode(), "application/json"
    wanted = np.array([2, 4], "<f4")

    def ask(accept: str, data: bytes = body, kind: str = kind, path: str = "/single") -> tuple[str, Any]:
        status, answer, headers = house.ask("POST", path, data, content_type=kind, accept=accept)
        assert status == 200, answer
        return headers["content-type"], answer

    assert Npy.load(ask("application/x-npy")[1]).tolist() == wanted.tolist()
    assert ask("application/octet-stream") == ("application/octet-stream", wanted.tobytes())
    assert msgpack.unpackb(ask("application/msgpack, */*;q=0.1")[1]) == [2.0, 4.0]
    for accept in ("*/*", "application/json, text/plain, */*", "text/html", "application/x-npy;q=0"):
        assert ask(accept) == ("application/json", [2.0, 4.0])
    assert ask("application/json;q=0.5, application/msgpack;q=0.4")[0] == "application/json"
    npy = Npy.dump(np.array([1.0, 2.0]))
    assert ask("application/json", npy, "application/x-npy") == ("application/json", [2.0, 4.0])
    assert ask("application/x-npy", b'{"x": [1]}', path="/untyped") == ("application/json", "int64 (1,)")


def test_a_heads_second_request_is_answered_as_its_first(house: House) -> None:
    head = b"POST /single HTTP/1.1\r\nHost: a\r\nAccept: application/octet-stream\r\nContent-Length: 11\r\n\r\n"
    with house.wire() as wire:
        for _ in range(3):
            assert wire.ask(head + b'{"x":[1,2]}')[1] == np.array([2, 4], "<f4").tobytes()


def test_a_batch_handler_that_returns_no_list_has_failed_and_the_log_says_how(house: House) -> None:
    for x, word in ((1, "str"), (2, "dict"), (3, "set")):
        status, answer = post(house, "/texts", {"x": x})
        assert (status, answer["code"]) == (500, "handler")
        assert f"was given 1 requests and returned a {word}" in answer["message"]
        assert f"returned a {word}" in house.log()
    assert post(house, "/texts", {"x": 9}) == (200, 9)


def test_every_line_end_in_a_servers_event_begins_a_line(house: House) -> None:
    status, answer = post(house, "/lines", {})
    two = b"data: a\ndata: b\n\n"
    assert (status, answer) == (
        200,
        two + two + b"data: a\ndata: \ndata: b\n\n" + b"data: a\ndata: \n\n" + b"data: a\n\n",
    )


# files


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is sent as a stream."""
    path = tmp_path_factory.mktemp("files") / "large.bin"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is sent at once."""
    path = tmp_path_factory.mktemp("files") / "small.txt"
    path.write_bytes(b"0123456789")
    return path


def get(house: House, path: Path, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    return house.ask(method, f"/file?name={quote(str(path))}", **headers)


@pytest.mark.parametrize("which", ["large", "small"])
def test_a_file_is_measured_named_and_told_of_by_head(house: House, which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    data = path.read_bytes()
    status, body, headers = get(house, path)
    assert (status, body == data, headers["content-length"]) == (200, True, str(len(data)))
    assert "transfer-encoding" not in headers
    assert headers["content-disposition"] == f'attachment; filename="{path.name}"'
    assert headers["last-modified"] == formatdate(int(path.stat().st_mtime), usegmt=True)
    status, body, told = get(house, path, "HEAD")
    assert (status, body) == (200, b"")
    assert {**told, "x-request-id": ""} == {**headers, "x-request-id": ""}
    with house.wire() as wire:  # and the connection is good for more
        for _ in range(2):
            line = f"GET /file?name={quote(str(path))} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            assert wire.ask(line)[:2] == (200, data)


@pytest.mark.parametrize("which", ["large", "small"])
def test_a_part_of_a_file_is_sent(house: House, which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    data = path.read_bytes()
    size = len(data)
    for text, start, end in (
        ("0-0", 0, 1),
        ("2-4", 2, 5),
        ("5-", 5, size),
        ("-3", size - 3, size),
        (f"1-{size * 2}", 1, size),
        (f"-{size * 2}", 0, size),
    ):
        status, body, headers = get(house, path, Range=f"bytes={text}")
        assert (status, body == data[start:end]) == (206, True)
        assert headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert headers["content-length"] == str(end - start)
    for text in (f"{size}-", f"{size}-{size + 1}", "-0"):
        status, _, headers = get(house, path, Range=f"bytes={text}")
        assert (status, headers["content-range"]) == (416, f"bytes */{size}")
    for text in ("bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-"):
        assert get(house, path, Range=text)[:2] == (200, data)


def test_a_file_that_the_client_has_is_not_sent_again(house: House, small: Path) -> None:
    _, data, headers = get(house, small)
    tag, date = headers["etag"], headers["last-modified"]
    early = formatdate(0, usegmt=True)
    for asked in ({"If_None_Match": f'"x", W/{tag}'}, {"If_None_Match": "*"}, {"If_Modified_Since": date}):
        status, body, told = get(house, small, **asked)
        assert (status, body, told["etag"]) == (304, b"", tag)
    for asked in ({"If_None_Match": '"x"', "If_Modified_Since": date}, {"If_Modified_Since": early}):
        assert get(house, small, **asked)[:2] == (200, data)
    for asked in ({"If_Match": '"x"'}, {"If_Match": f"W/{tag}"}, {"If_Unmodified_Since": early}):
        assert get(house, small, **asked)[0] == 412
    assert get(house, small, If_Match=f'"a, b", {tag}')[0] == 200
    for known, status in ((tag, 206), (date, 206), ('"x"', 200), (f"W/{tag}", 200), (early, 200)):
        assert get(house, small, Range="bytes=1-2", If_Range=known)[0] == status


def test_a_tag_that_a_handler_gives_its_file_counts(house: House, small: Path) -> None:
    path, data = f"/tagged?name={quote(str(small))}", small.read_bytes()
    assert house.ask("GET", path, If_None_Match='"one,two"')[0] == 304
    for asked, status in (
        ({"If_Match": 'W/"one,two"'}, 412),
        ({"If_Match": "*"}, 200),
        ({"If_None_Match": '"one"'}, 200),
    ):
        assert house.ask("GET", path, **asked)[0] == status
    assert house.ask("GET", path, Range="bytes=1-2", If_Range='W/"one,two"')[:2] == (200, data)


def test_a_files_name_may_be_of_any_letters(house: House, small: Path) -> None:
    headers = house.ask("GET", f"/inline?name={quote(str(small))}")[2]
    told = """inline; filename="Gr__e _2_.txt"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%222%22.txt"""
    assert headers["content-disposition"] == told
    assert headers["content-type"] == "text/plain"
    assert get(house, small.with_name("none"))[0] == 404
    empty = small.with_name("empty")
    empty.touch()
    assert get(house, empty)[:2] == (200, b"")


# documentation


def test_the_document_tells_of_forms_files_and_each_operation_once(house: House) -> None:
    document = house.ask("GET", "/openapi.json")[1]
    paths = document["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values() if len(operation) > 3]
    told = [name for name in names if name]
    assert len(told) == len(set(told)) and {"many_get", "many_post", "nothing_put"} <= set(told)
    files = paths["/files"]["post"]["requestBody"]["content"]
    assert files["multipart/form-data"]["schema"]["properties"]["files"]["items"]["format"] == "binary"
    assert files["application/json"]["schema"]["properties"]["files"]["items"]["contentEncoding"] == "base64"
    assert "multipart/form-data" in paths["/order"]["post"]["requestBody"]["content"]
    assert "application/octet-stream" in paths["/raw"]["post"]["requestBody"]["content"]
    assert "application/x-npy" in paths["/single"]["post"]["requestBody"]["content"]
    assert paths["/raw"]["post"]["responses"]["200"]["content"].keys() == {"application/octet-stream"}
    assert paths["/file"]["get"]["responses"]["200"]["content"].keys() == {"*/*"}
    assert "204" in paths["/nothing"]["put"]["responses"]
    place = {one["name"]: one["required"] for one in paths["/place"]["get"]["parameters"]}
    assert place == {"x": True, "on": False}
    named = json.dumps(document["paths"]).split('"#/components/schemas/')[1:]
    assert {name.partition('"')[0] for name in named} <= document["components"]["schemas"].keys()
    assert "#/$defs" not in json.dumps(document)
    assert house.ask("GET", "/docs")[0] == 200
