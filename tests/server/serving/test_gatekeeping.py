"""Who may ask, how often, over what: TLS, addresses, rates, quotas; and requests that come before any worker."""

import asyncio
import json
import os
import signal
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError, InvalidError
from lepton.sdk.find import Address
from lepton.sdk.http import Http
from tests.ports import free_port
from tests.server.serving.granting import open_platform
from tests.server.serving.house import House, Wire, open_house, open_service, wait_until

BODY = b'{"name": "Ada"}'
NEGATIVE = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [-1]}]}'
JSON = {"content-type": "application/json"}
LATE = """
from lepton.serve import Service, handler

class Late(Service):
    def init(self) -> None:
        {how}

    @handler
    def echo(self) -> int:
        return 1
"""


def greet(house: House, **headers: str) -> tuple[int, object, object]:
    return house.ask("POST", "/greet", BODY, content_type="application/json", **headers)


def test_tls_only_where_there_is_a_certificate(pair: tuple[Path, Path]) -> None:
    cert, key = map(str, pair)
    with open_service("shop.py:Plain", tls_cert=cert, tls_key=key) as house:
        host, port = house.address
        assert host == "https://127.0.0.1"
        trusted = ssl.create_default_context(cafile=cert)
        line = HTTPSConnection("127.0.0.1", port, timeout=10, context=trusted)
        for _ in range(3):
            line.request("POST", "/greet", BODY, JSON)
            answer = line.getresponse()
            assert (answer.status, json.loads(answer.read())) == (200, "Hello Ada")
        assert line.sock.version() in ("TLSv1.2", "TLSv1.3")
        line.close()
        with Wire(("127.0.0.1", port)) as wire:
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.is_closed()


def test_handshakes_that_never_end_count_as_connections(pair: tuple[Path, Path]) -> None:
    cert, key = map(str, pair)
    trusted = ssl.create_default_context(cafile=cert)

    def get(port: int) -> int:
        line = HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        try:
            line.request("GET", "/healthz")
            return line.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            line.close()

    with open_house(max_connections=20, tls_cert=cert, tls_key=key) as house, ExitStack() as stack:
        _, port = house.address
        silent = [stack.enter_context(Wire(("127.0.0.1", port))) for _ in range(20)]
        assert stack.enter_context(Wire(("127.0.0.1", port))).is_closed(), "one too many"
        assert get(port) == 0
        for wire in silent:
            wire.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: get(port) == 200, "their places are free again", 30)
        settled = [stack.enter_context(Kept(port, trusted)) for _ in range(20)]
        wait_until(lambda: get(port) == 503, "who is one too many is told while there is room for handshakes", 30)
        assert all(line.ask() == 200 for line in settled)


class Kept:
    """A TLS connection that stays."""

    def __init__(self, port: int, trusted: ssl.SSLContext) -> None:
        self._line = HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)

    def __enter__(self) -> "Kept":
        wait_until(lambda: self.ask() == 200, "one who came before has gone", 30)
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def ask(self) -> int:
        try:
            self._line.request("GET", "/healthz")
            answer = self._line.getresponse()
        except (OSError, HTTPException):
            self._line.close()  # the next request opens it again
            return 0
        answer.read()
        return answer.status


async def called(url: str, cacert: str) -> object:
    http = Http(Address(url, "token"))
    try:
        return await http.call(url, content=BODY, content_type="application/json", cacert=cacert)
    finally:
        await http.close()


def test_the_sdk_asks_an_endpoint_with_a_private_certificate_that_it_is_told(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = map(str, pair)
    with open_service("shop.py:Plain", tls_cert=cert, tls_key=key) as house:
        url = f"https://127.0.0.1:{house.address[1]}/greet"
        assert asyncio.run(called(url, cert)) == "Hello Ada"
        with pytest.raises(ConfigError) as told:
            asyncio.run(called(url, ""))
        assert "not trusted" in told.value.message and "--cacert" in told.value.fix
        (tmp_path / "none.pem").write_text("nothing")
        for wrong in (tmp_path / "none.pem", tmp_path / "missing.pem"):
            with pytest.raises(InvalidError, match="holds no certificates"):
                asyncio.run(called(url, str(wrong)))


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    with open_service("shop.py:Plain", is_waiting=False, tls_cert=str(bad), tls_key=str(bad)) as house:
        assert house.processes["front"].wait(20) != 0
        assert "cannot be used" in house.log()


def test_an_address_that_is_not_allowed_is_turned_away() -> None:
    with open_service("shop.py:Plain", allow=["10.0.0.0/8"]) as house:
        status, answer, headers = greet(house)
        assert (status, answer["code"], headers["connection"]) == (403, "forbidden", "close")  # type: ignore[index]
    with open_service("shop.py:Plain", allow=["10.0.0.0/8", "127.0.0.0/8"]) as house:
        assert greet(house)[0] == 200


def test_a_rate_is_kept_and_says_when_to_come_again() -> None:
    with open_service("shop.py:Plain", rate_per_s=1, burst=3) as house:
        found = [greet(house) for _ in range(5)]
        assert [status for status, _, _ in found] == [200, 200, 200, 429, 429]
        assert found[-1][1]["code"] == "rate"  # type: ignore[index]
        assert found[-1][2]["retry-after"] == "1"  # type: ignore[index]
        assert house.ask("GET", "/healthz")[0] == 200
        assert b'lepton_dropped_total{why="rate"} 2' in house.ask("GET", "/metrics")[1]


@pytest.mark.parametrize("is_platform", [True, False], ids=["platform", "alone"])
def test_tokens_that_nobody_judges_get_nobody_more_than_his_share(*, is_platform: bool) -> None:
    head = b"POST /blind HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%bContent-Length: 2\r\n\r\n{}"
    with open_platform() as platform:
        env = platform.env if is_platform else {}
        with open_service("nosy.py", env=env, quota_per_day=20) as house, house.wire() as wire:
            junk = [head % b"Authorization: Bearer junk%d\r\n" % number for number in range(15)]
            found = [wire.ask(one)[0] for one in junk for _ in range(4)]  # from the second time on its head is known
            assert (found.count(200), found.count(429)) == (20, 40)
            assert wire.ask(head % b"")[0] == 429
        assert platform.asked == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_quota_outlives_the_front(how: signal.Signals) -> None:
    with open_service("shop.py:Plain", quota_per_day=2) as house:
        assert [greet(house)[0] for _ in range(3)] == [200, 200, 429]
        house.processes["front"].send_signal(how)
        house.processes["front"].wait(15)
        (house.folder / "said.jsonl").unlink()
        house.start("front")
        status, answer, headers = greet(house)
        assert (status, answer["code"]) == (429, "quota")  # type: ignore[index]
        assert 0 < int(headers["retry-after"]) <= 86_400  # type: ignore[index]


def test_what_comes_before_the_first_worker_waits_for_it() -> None:
    with open_service("shop.py:Plain") as house:
        host, port = house.address
        os.kill(house.processes["1"].pid, signal.SIGKILL)
        house.processes["1"].wait(10)
        house.processes["front"].kill()
        house.processes["front"].wait(10)
        house.env["LEPTON_ADDRESS"] = f"{host}:{port}"
        house.start("front")

        def is_up() -> bool:
            line = HTTPConnection(host, port, timeout=5)
            try:
                line.request("GET", "/healthz")
                return line.getresponse().status == 200
            except OSError:
                return False
            finally:
                line.close()

        wait_until(is_up, "the front is back, without a worker")
        with ThreadPoolExecutor(3) as pool:
            asked = [
                pool.submit(greet, house),
                pool.submit(house.ask, "GET", "/items/7/a?q=1"),
                pool.submit(house.ask, "GET", "/nowhere"),
            ]
            house.start("1")
            assert [one.result()[0] for one in asked] == [200, 200, 404]
            assert asked[1].result()[1] == {"id": 7, "rest": "a", "q": "1", "limit": []}


def test_what_is_open_to_all_is_so_before_the_first_worker_too() -> None:
    port = free_port()
    wish = {"port": port, "deadline_ms": 60_000, "workers": 0, "is_waiting": False}
    body = b"Content-Type: application/json\r\n%bContent-Length: 2\r\n\r\n{}"

    def is_open() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    with open_platform() as platform, open_service("nosy.py", env=platform.env, **wish) as house, ExitStack() as stack:
        wait_until(is_open, "the front is there", 60)
        asked = {}
        for path in (b"open", b"mine", b"nowhere"):
            for token in (b"", b"Authorization: Bearer bad\r\n", b"Authorization: Bearer good\r\n"):
                wire = asked[path, token[22:-2]] = stack.enter_context(Wire(("127.0.0.1", port)))
                wire.socket.settimeout(60)
                wire.send(b"POST /%b HTTP/1.1\r\nHost: a\r\n" % path + body % token)
        wait_until(lambda: {"bad", "good"} <= set(platform.asked), "tokens are judged", 30)
        house.start("1")
        found = {key: wire.read() for key, wire in asked.items()}
        assert {key: status for key, (status, _, _) in found.items()} == {
            **{(b"open", token): 200 for token in (b"", b"bad", b"good")},
            **{(path, b""): 401 for path in (b"mine", b"nowhere")},
            **{(path, b"bad"): 403 for path in (b"mine", b"nowhere")},
            (b"mine", b"good"): 200,
            (b"nowhere", b"good"): 404,
        }


def test_who_has_no_token_learns_nothing_of_a_private_endpoint() -> None:
    with open_platform() as platform, open_service("shop.py:Plain", env=platform.env) as house:
        for method, path, status in (("GET", "/nowhere", 404), ("GET", "/greet", 405), ("GET", "/openapi.json", 200)):
            assert house.ask(method, path)[0] == 401
            for _ in range(2):  # the second time it is known
                assert house.ask(method, path, Authorization="Bearer bad")[0] == 403
                assert house.ask(method, path, Authorization="Bearer good")[0] == status
        status, page, headers = house.ask("GET", "/docs")
        assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert b'id="token"' in page and b"greet" not in page
        status, page, _ = house.ask("GET", "/docs", Authorization="Bearer good")
        assert status == 200 and b"greet" in page


def test_a_path_that_is_no_utf8_is_refused() -> None:
    with open_service("shop.py:Plain") as house:
        status, answer, _ = house.ask("GET", "/items/7/%ff?q=1")
        assert (status, "no UTF-8" in answer["message"]) == (422, True)


def test_a_trace_names_the_request() -> None:
    with open_service("shop.py:Plain") as house:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert greet(house, traceparent=trace)[2]["x-request-id"] == "0af7651916cd43dd8448eb211c80319c"  # type: ignore[index]
        assert greet(house, traceparent="nonsense")[2]["x-request-id"] != "nonsense"  # type: ignore[index]
        _, answer, _ = house.ask("POST", "/who", b"{}", content_type="application/json", traceparent=trace)
        assert answer["path"] == "/who"


def test_who_may_not_come_in_is_told_before_his_body_comes() -> None:
    head = b"POST /greet HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n%b\r\n{"
    with open_platform() as platform, open_service("shop.py:Plain", env=platform.env) as house:
        for token, wanted in ((b"", 401), (b"Authorization: Bearer bad\r\n", 403)):
            for _ in range(2):  # the second time it is known
                with house.wire() as wire:
                    status, _, headers = wire.ask(head % token)
                    assert (status, headers["connection"]) == (wanted, "close")
                    assert wire.is_closed()
        with house.wire() as wire:
            wire.send(head % b"Authorization: Bearer good\r\n")
            wait_until(lambda: platform.asked.count("good"), "it is asked about")
            assert wire.ask(BODY[1:])[:2] == (200, b'"Hello Ada"')
        assert platform.asked == ["bad", "good"]


def test_on_the_platform_no_caller_sees_what_a_handler_raised_but_what_it_meant_for_him() -> None:
    good = {"content_type": "application/json", "authorization": "Bearer good"}
    with open_platform() as platform, open_service("shop.py:Plain", env=platform.env) as house:
        found = [
            house.ask("POST", path, body, **good)
            for path, body in (
                ("/crash", b'{"how": "raise"}'),
                ("/double", b'{"x": -1}'),
                ("/count_to", b'{"to": 3, "fail_at": 0}'),
                ("/cancels_itself", b"{}"),
                ("/v2/models/double/infer", NEGATIVE),
            )
        ]
        for status, answer, headers in found:
            assert (status, answer["code"]) == (500, "handler")
            number = headers["x-request-id"].rpartition("-")[2]
            assert answer["message"] in (f"internal error in request {number}", "internal error")
        assert f"serve: request {found[0][2]['x-request-id'].rpartition('-')[2]} failed\nTraceback" in house.log()
        assert "RuntimeError: broken" in house.log() and "cannot count further" in house.log()
        status, answer, _ = house.ask("POST", "/count_to", b'{"to": 3, "fail_at": 1}', **good)
        assert status == 200 and b"event: error" in answer and b"internal error in request" in answer
        assert b"cannot count further" not in answer
        status, answer, _ = house.ask("POST", "/greet", b'{"name": "x", "lang": "fr"}', **good)
        assert (status, answer["message"]) == (404, "No language fr"), "it is meant for him"


def test_code_that_does_not_start_is_told_at_once_to_who_waits_and_forgotten_once_it_does(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    code = tmp_path / "code" / "late.py"
    code.write_text(LATE.format(how="raise RuntimeError('no such file: model.bin')"))
    wish = {"port": free_port(), "deadline_ms": 60_000}
    with open_service("late.py", code=code.parent, workers=0, is_waiting=False, **wish) as house:

        def ask() -> tuple[int, bytes]:
            line = HTTPConnection("127.0.0.1", wish["port"], timeout=50)
            try:
                line.request("POST", "/echo", b"{}", JSON)
                answer = line.getresponse()
                return answer.status, answer.read()
            finally:
                line.close()

        def is_open() -> bool:
            with socket.socket() as line:
                return line.connect_ex(("127.0.0.1", wish["port"])) == 0

        wait_until(is_open, "the front is there", 60)
        house.start("1").wait(60)
        status, body = ask()
        assert status == 503 and b"no such file: model.bin" in body
        code.write_text(LATE.format(how="pass"))
        house.start("1")
        wait_until(lambda: ask()[0] == 200, "the new code answers", 60)
