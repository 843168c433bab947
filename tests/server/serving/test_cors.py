"""Pages of other origins: their browsers' questions need no token, and every answer says who may read it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.ports import free_port
from tests.server.serving.granting import open_platform
from tests.server.serving.house import House, Wire, open_service, wait_until

PAGE, OTHER = "https://a.example", "https://b.example"


@pytest.fixture(scope="module")
def paged() -> Iterator[House]:
    with open_platform() as platform, open_service("paged.py", env=platform.env) as house:
        yield house


def preflight(house: House, path: str, origin: str, method: str, headers: str) -> tuple[int, dict[str, str]]:
    told = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": headers, "Origin": origin}
    status, _, found = house.ask("OPTIONS", path, **told)
    return status, dict(found)


def test_a_preflight_is_answered_without_a_token(paged: House) -> None:
    status, told = preflight(paged, "/echo", PAGE, "POST", "authorization, content-type")
    assert status == 204
    assert told["access-control-allow-origin"] == PAGE
    assert told["access-control-allow-methods"] == "GET, POST"
    assert {"authorization", "content-type"} <= set(told["access-control-allow-headers"].split(", "))
    assert told["access-control-max-age"] == "600" and told["vary"] == "Origin"
    for wrong in ((OTHER, "POST", "authorization"), (PAGE, "DELETE", "authorization"), (PAGE, "POST", "x-mine")):
        assert preflight(paged, "/echo", *wrong)[0] == 400
    assert "access-control-allow-origin" not in preflight(paged, "/echo", OTHER, "POST", "")[1]


def test_every_answer_says_who_may_read_it(paged: House) -> None:
    good = {"Authorization": "Bearer good", "content_type": "application/json"}
    for _ in range(3):  # the head is remembered
        status, answer, told = paged.ask("POST", "/echo", b'{"x": 3}', Origin=PAGE, **good)
        assert (status, answer, told["access-control-allow-origin"]) == (200, 3, PAGE)
        assert told["access-control-expose-headers"] == "X-Request-Id"
        told = paged.ask("POST", "/echo", b'{"x": 3}', Origin=OTHER, **good)[2]
        assert "access-control-allow-origin" not in told and told["vary"] == "Origin"
        assert "vary" not in paged.ask("POST", "/echo", b'{"x": 3}', **good)[2]
    assert paged.ask("POST", "/parts", b"{}", Origin=PAGE, **good)[2]["access-control-allow-origin"] == PAGE
    for path in ("/echo", "/none"):
        found, _, told = paged.ask("POST", path, b"{}", Origin=PAGE, content_type="application/json")
        assert (found, told["access-control-allow-origin"]) == (401, PAGE)


def test_a_mounted_application_answers_for_itself(paged: House) -> None:
    told = paged.ask("GET", "/app/docs", Origin=PAGE, Authorization="Bearer good")
    assert told[0] == 200 and "access-control-allow-origin" not in told[2]


def test_a_preflight_that_comes_before_any_worker_waits_for_it() -> None:
    port = free_port()
    ask = b"OPTIONS /%b HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\nAccess-Control-Request-Method: POST\r\n\r\n"

    def is_open() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    wish = {"workers": 0, "is_waiting": False, "port": port, "deadline_ms": 60_000}
    with ExitStack() as stack:
        platform = stack.enter_context(open_platform())
        house = stack.enter_context(open_service("paged.py", env=platform.env, **wish))
        wait_until(is_open, "the front is there", 60)
        asked = {}
        for key in ((b"echo", PAGE), (b"echo", OTHER), (b"none", PAGE), (b"app/x", PAGE)):
            asked[key] = stack.enter_context(Wire(("127.0.0.1", port)))
            asked[key].socket.settimeout(60)
            asked[key].send(ask % (key[0], key[1].encode()))
        house.start("1")
        found = {key: wire.read() for key, wire in asked.items()}
    assert {key: status for key, (status, _, _) in found.items()} == {
        (b"echo", PAGE): 204,
        (b"echo", OTHER): 400,
        (b"none", PAGE): 204,
        (b"app/x", PAGE): 401,
    }
    assert found[b"echo", PAGE][2]["access-control-allow-origin"] == PAGE
