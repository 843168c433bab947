"""Malformed requests: an error that names the fault and the fix, the right status, and nothing half done."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.server.house import API, House, error_of

JSON = {"content-type": "application/json"}
DEEP = '{"command": ["x"], "params": {"a": ' + "[" * 40 + "]" * 40 + "}}"


@pytest.fixture(autouse=True)
def nothing_is_half_done(shared_house: House) -> Iterator[None]:
    """Whatever a test here sends, it makes nothing."""
    yield
    for path in ("/jobs", "/catalog/versions", "/serve/endpoints", "/security/secrets"):
        assert shared_house.ask("GET", path)["items"] == []
    assert [found["name"] for found in shared_house.ask("GET", "/security/users")["items"]] == ["admin"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("{", 422),
        ("null", 422),
        ("[]", 422),
        ('"x"', 422),
        ("{} {}", 422),
        ('{"command": ["x"], "extra": 1}', 422),
        ('{"command": "x"}', 422),
        ('{"command": [1]}', 422),
        ('{"command": [""]}', 422),
        ('{"command": []}', 422),
        ('{"command": ["x"], "function": "f"}', 422),
        ('{"command": ["x"], "command": ["y"]}', 422),
        ('{"command": ["x"], "env": {"A": "1", "A": "2"}}', 422),
        ('{"command": ["x"], "workers": true}', 422),
        ('{"command": ["x"], "workers": 1.5}', 422),
        ('{"command": ["x"], "workers": 0}', 422),
        ('{"command": ["x"], "workers": 4097}', 422),
        ('{"command": ["x"], "cpus": "two"}', 422),
        ('{"command": ["x"], "cpus": NaN}', 422),
        ('{"command": ["x"], "cpus": Infinity}', 422),
        ('{"command": ["x"], "cpus": -Infinity}', 422),
        ('{"command": ["x"], "cpus": 1e999}', 422),
        ('{"command": ["x"], "params": {"a": 1e999}}', 422),
        ('{"command": ["x"], "params": {"a": %s}}' % ("9" * 30), 422),
        ('{"command": ["x"], "params": {"a": %s}}' % ("9" * 5000), 422),
        ('{"command": ["x"], "memory_bytes": 99999999999999999999}', 422),
        ('{"command": ["x"], "timeout_s": -1}', 422),
        ('{"command": ["x"], "retries": 9999}', 422),
        ('{"command": ["x\\u0000"]}', 422),
        ('{"command": ["\\ud800"]}', 422),
        ('{"command": ["x"], "params": {"\\udfff": 1}}', 422),
        ('{"command": ["x"], "name": "\\ud83d\\ude00"}', 422),
        ('{"command": ["x"], "name": "../etc"}', 422),
        ('{"command": ["x"], "name": "a..b"}', 422),
        ('{"command": ["x"], "name": "job_00000000000000000000000000"}', 422),
        ('{"command": ["x"], "name": "%s"}' % ("n" * 64), 422),
        ('{"command": ["x"], "name": "Upper"}', 422),
        ('{"command": ["x"], "name": ""}', 422),
        ('{"command": ["x"], "env": {"A=B": "1"}}', 422),
        ('{"command": ["x"], "env": {"": "1"}}', 422),
        ('{"command": ["x"], "cwd": "../up"}', 422),
        ('{"command": ["x"], "inputs": {"data": "nothing@1"}}', 404),
        ('{"command": ["x"], "inputs": {"data": "a@0"}}', 422),
        ('{"command": ["x"], "inputs": {"data": "../a"}}', 422),
        ('{"command": ["x"], "inputs": {"data": "ver_00000000000000000000000000"}}', 404),
        ('{"command": ["x"], "secrets": {"A": "nothing"}}', 422),
        ('{"function": "nothing"}', 404),
        (DEEP, 422),
        ("[" * 100_000, 422),
        ('{"a":' * 100_000, 422),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_job_that_cannot_be_is_refused(shared_house: House, body: str, status: int) -> None:
    error_of(shared_house.http.post(f"{API}/jobs", content=body.encode("utf-8", "surrogatepass"), headers=JSON), status)


def test_emoji_is_welcome_where_text_is_free(shared_house: House) -> None:
    answer = shared_house.http.post(
        f"{API}/jobs", json={"command": ["x", "\U0001f600"], "cpus": 99, "params": {"\U0001f600": "\U0001f600"}}
    )
    error_of(answer, 409, "capacity")


@pytest.mark.parametrize("data", [b'\xff{"a": 1}', b'{"command": ["\xc3\x28"]}', '{"command": ["x"]}'.encode("utf-16")])
def test_other_encodings_than_utf8_are_refused(shared_house: House, data: bytes) -> None:
    error_of(shared_house.http.post(f"{API}/jobs", content=data, headers=JSON), 422, "invalid")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "x" * 300,
        "application/xml",
    ],
)
def test_a_body_that_is_not_said_to_be_json_is_refused(shared_house: House, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = shared_house.http.post(f"{API}/jobs", content=b'{"command": ["x"]}', headers=headers)
    error_of(answer, 415, "media_type")


def test_json_with_a_charset_is_json(shared_house: House) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    error_of(shared_house.http.post(f"{API}/jobs", content=b'{"command": ["x"], "cpus": 99}', headers=headers), 409)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_huge_body_is_refused_whether_it_says_its_length_or_not(shared_house: House, is_chunked: bool) -> None:
    text = json.dumps({"command": ["x" * 100_000] * 20}).encode()
    content = iter([text[: 1 << 20], text[1 << 20 :]]) if is_chunked else text
    error_of(shared_house.http.post(f"{API}/jobs", content=content, headers=JSON), 413, "too_large")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs?limit=0", 422),
        ("/jobs?limit=1001", 422),
        ("/jobs?limit=ten", 422),
        ("/jobs?limit=99999999999999999999999", 422),
        ("/jobs?cursor=nonsense", 422),
        ("/jobs?cursor=" + "x" * 300, 422),
        ("/jobs?cursor=job_%00", 422),
        ("/jobs?name=%00", 422),
        ("/jobs?name=%ff%fe", 422),
        ("/jobs?state=" + "s" * 64, 422),
        ("/jobs?workspace=%00", 422),
        ("/jobs?workspace=..", 422),
        ("/jobs?workspace=Nowhere", 422),
        ("/jobs/..", 404),
        ("/jobs/%2e%2e", 404),
        ("/jobs/..%2f..%2fetc%2fpasswd", 404),
        ("/jobs/%00", 404),
        ("/jobs/job_%00", 404),
        ("/jobs/" + "x" * 4000, 404),
        ("/jobs/job_00000000000000000000000000", 404),
        ("/jobs/ep_00000000000000000000000000", 404),
        ("/jobs/", 404),
        ("/jobs/x/logs?rank=-1", 422),
        ("/jobs/x/logs?offset=1e5", 422),
        ("/jobs/x/logs?offset=99999999999999999999", 422),
        ("/jobs/x/logs?timeout_s=NaN", 422),
        ("/watch?since=-1", 422),
        ("/watch?since=99999999999999999999", 422),
        ("/watch?timeout_s=inf", 422),
        ("/events?after=x", 422),
        ("/events?subject=%00", 200),
        ("/serve/endpoints/%00", 404),
        ("/serve/endpoints/..%2fx", 404),
        ("/serve/endpoints/Upper", 404),
        ("/catalog/versions/%00", 422),
        ("/catalog/versions/a@b", 422),
        ("/catalog/versions/a@99999999999", 422),
        ("/catalog/versions/..%2fa", 404),
        ("/catalog/versions/nothing", 404),
        ("/catalog/versions/nothing?kind=%00", 422),
        ("/catalog/versions?kind=%00", 422),
        ("/catalog/lineage/%00", 422),
        ("/catalog/lineage/nothing", 404),
        ("/security/access?endpoint=x", 422),
        ("/security/users/%00/tokens", 422),
        ("/security/users/..%2fadmin/tokens", 404),
        ("/security/workspaces/nothing/members", 404),
        ("/vault/objects/..%2f..%2fkey", 404),
        ("/vault/objects/" + "A" * 64, 422),
        ("/vault/objects/%00", 422),
        ("/nothing", 404),
        ("/jobs/x/nothing", 404),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_odd_path_or_query_gets_a_plain_answer(shared_house: House, path: str, status: int) -> None:
    answer = shared_house.http.get(f"{API}{path}")
    if status < 400:
        assert answer.status_code == status
    else:
        error_of(answer, status)


def test_unknown_routes_and_methods_answer_like_everything_else(shared_house: House) -> None:
    for path in ("/", "/nothing", "/api/v2/jobs", "/docs", "/redoc", "/%ff", "//", "/api/v1//jobs"):
        error_of(shared_house.http.get(path), 404, "not_found")
    answer = shared_house.http.patch(f"{API}/jobs")
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]
    error_of(shared_house.http.request("BREW", f"{API}/jobs"), 400)
    error_of(shared_house.http.delete(f"{API}/watch"), 405)


@pytest.mark.parametrize(
    "header",
    ["if-match: " + "x" * 65, "idempotency-key: " + "k" * 201, "last-event-id: " + "9" * 21, "range: " + "b" * 101],
    ids=lambda value: value[:12],
)
def test_an_overlong_header_is_refused(shared_house: House, header: str) -> None:
    name, _, value = header.partition(": ")
    path = {"last-event-id": "/watch?timeout_s=0.01", "range": f"/vault/objects/{'a' * 64}"}.get(name, "")
    if path:
        answer = shared_house.http.get(f"{API}{path}", headers={name: value})
    else:
        target = f"{API}/jobs" if name == "idempotency-key" else f"{API}/jobs/job_{'0' * 26}/stop"
        answer = shared_house.http.post(
            target, json={"command": ["x"]} if target.endswith("jobs") else {}, headers={name: value}
        )
    error_of(answer, 422)


def raw(house: House, data: bytes) -> bytes:
    """What the server answers to bytes that need not be HTTP."""
    host, port = house.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(data)
        found = b""
        while chunk := line.recv(65_536):
            found += chunk
        return found


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nodd\x00name: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(8),
)
def test_what_is_not_http_gets_an_error_in_our_form(shared_house: House, data: bytes) -> None:
    answer = raw(shared_house, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"401", b"404"), answer[:300]
    assert set(json.loads(body)) == {"code", "message", "fix"}


def test_odd_header_bytes_do_no_harm(shared_house: House) -> None:
    for value in (b"\xff\xfe", b"Bearer \xff", b"Bearer", b"Bearer  ", b"\t", b"Bearer a b c"):
        answer = raw(
            shared_house,
            b"GET /api/v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: " + value + b"\r\n\r\n",
        )
        assert answer.split()[1] == b"401", answer[:200]
    token = shared_house.token.encode()
    for header in (b"if-match: \xff", b"idempotency-key: \xff\xfe"):
        body = b'{"command": ["x"], "cpus": 99}'
        answer = raw(
            shared_house,
            b"POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer " + token + b"\r\n" + header + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body,
        )
        assert answer.split()[1] == b"409", answer[:200]
