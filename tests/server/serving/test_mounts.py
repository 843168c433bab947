"""Mounted applications find what ASGI promises them: their state, how and where they were asked, and a log."""

import json
import ssl
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from lepton.serve.calls import Head
from tests.server.serving.house import House, open_service, wait_until

CODE = """
from contextlib import asynccontextmanager
from pathlib import Path
from fastapi import FastAPI, Request, WebSocket
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from lepton.serve import Service

@asynccontextmanager
async def life(app):
    yield {"kept": ["at the start"]}

app = FastAPI(lifespan=life)

@app.get("/told")
def told(request: Request) -> dict:
    seen = list(request.state.kept)
    request.state.kept.append("shared")
    scope = request.scope
    return {"state": seen, "url": str(request.url), "server": scope["server"], "scheme": scope["scheme"],
            "made": str(request.url_for("told"))}

@app.get("/fails")
def fails():
    raise RuntimeError("broken on purpose")

@app.get("/later")
def later():
    def work():
        raise RuntimeError("broken in the background")
    return PlainTextResponse("well", background=BackgroundTask(work))

@app.websocket("/talk")
async def talk(line: WebSocket):
    await line.accept()
    await line.send_json({"scheme": line.scope["scheme"], "server": line.scope["server"], "state": line.state.kept[:1]})

@app.websocket("/sweet")
async def sweet(line: WebSocket):
    await line.accept(headers=[(b"set-cookie", b"a=b"), (b"x-own", b"seven"), (b"sec-websocket-accept", b"wrong")])
    async for text in line.iter_text():
        await line.send_text(text)

@app.websocket("/shut")
async def shut(line: WebSocket):
    await line.close(1008)

class Mounts(Service):
    def mounts(self):
        return {"/app": app, "/files": Path(__file__).parent / "files"}
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mounts")
    (folder / "mounts.py").write_text(CODE)
    (folder / "files").mkdir()
    (folder / "files" / "page.txt").write_text("seven!!")
    return folder


def test_state_of_the_lifespan_reaches_each_request_and_the_url_is_the_one_asked_for(code: Path) -> None:
    with open_service("mounts.py", code=code) as house:
        host, port = house.address
        first, second = (house.ask("GET", "/app/told?a=1")[1] for _ in range(2))
        assert first["state"] == ["at the start"] and second["state"] == ["at the start", "shared"]
        assert first["url"] == f"http://{host}:{port}/app/told?a=1" and first["server"] == [host, port]
        assert first["made"] == f"http://{host}:{port}/app/told"
        with house.wire() as wire:
            told = json.loads(wire.ask(b"GET /app/told HTTP/1.1\r\nHost: [::1]\r\n\r\n")[1])
            assert told["server"] == ["::1", 80]


def test_behind_tls_an_application_is_told_so(code: Path, pair: tuple[Path, Path]) -> None:
    cert, key = map(str, pair)
    with open_service("mounts.py", code=code, tls_cert=cert, tls_key=key) as house:
        _, port = house.address
        trusted = ssl.create_default_context(cafile=cert)
        line = HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        line.request("GET", "/app/told", headers={"host": "shop.example"})
        told = json.loads(line.getresponse().read())
        line.close()
        assert (told["scheme"], told["server"]) == ("https", ["shop.example", 443])
        assert told["made"] == "https://shop.example/app/told"
        with connect(f"wss://127.0.0.1:{port}/app/talk", ssl=trusted, proxy=None) as talk:
            assert json.loads(talk.recv(30)) == {
                "scheme": "wss",
                "server": ["127.0.0.1", port],
                "state": ["at the start"],
            }


def test_what_an_application_raises_is_in_the_log_also_after_its_answer(code: Path) -> None:
    def has(house: House, text: str) -> bool:
        return "Traceback" in house.log() and f"RuntimeError: {text}" in house.log()

    with open_service("mounts.py", code=code) as house:
        assert house.ask("GET", "/app/fails")[0] == 500
        wait_until(lambda: has(house, "broken on purpose"), "its traceback is there", 30)
        assert house.ask("GET", "/app/later")[:2] == (200, b"well")
        wait_until(lambda: has(house, "broken in the background"), "its traceback is there", 30)
        assert house.log().count("RuntimeError: broken on purpose") == 1


def test_head_of_a_file_tells_the_length_it_has(code: Path) -> None:
    with open_service("mounts.py", code=code) as house:
        for _ in range(2):
            status, body, headers = house.ask("HEAD", "/files/page.txt")
            assert (status, body, headers["content-length"]) == (200, b"", "7")
        with house.wire() as wire:
            for method, body in ((b"HEAD", b""), (b"GET", b"seven!!"), (b"HEAD", b""), (b"GET", b"seven!!")):
                wire.send(method + b" /files/page.txt HTTP/1.1\r\nHost: a\r\n\r\n")
                status, found, headers = wire.read(has_body=method == b"GET")
                assert (status, found, headers["content-length"]) == (200, body, "7"), "the connection goes on"


@pytest.mark.parametrize(
    ("host", "scheme", "server"),
    [
        ("a.example:8000", "http", ("a.example", 8000)),
        ("a.example", "https", ("a.example", 443)),
        ("[2001:db8::1]:99", "http", ("2001:db8::1", 99)),
        ("127.0.0.1", "http", ("127.0.0.1", 80)),
        ("", "http", ("localhost", 80)),
        ("a:b:c", "http", ("a:b:c", 80)),
    ],
)
def test_host_and_port_are_those_that_the_client_asked_for(host: str, scheme: str, server: tuple[str, int]) -> None:
    text = f"1.2.3.4 5 {scheme} /shop\r\nGET /a?b HTTP/1.1\r\nHost: {host}\r\n"
    head = Head.read(text.encode())
    assert (head.server, head.client, head.prefix, head.scheme) == (server, ("1.2.3.4", 5), "/shop", scheme)


def test_a_websocket_has_the_headers_of_its_application_and_is_told_when_its_worker_is_lost(code: Path) -> None:
    with open_service("mounts.py", code=code) as house:
        host, port = house.address
        with connect(f"ws://{host}:{port}/app/sweet", proxy=None) as line:
            assert line.response is not None
            assert (line.response.headers["set-cookie"], line.response.headers["x-own"]) == ("a=b", "seven")
            line.send("hello")
            assert line.recv(30) == "hello"
            house.processes["1"].kill()
            with pytest.raises(ConnectionClosed):
                line.recv(30)
            assert line.close_code == 1001


def test_a_websocket_that_its_application_does_not_accept_is_refused_in_json(code: Path) -> None:
    with open_service("mounts.py", code=code) as house:
        host, port = house.address
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://{host}:{port}/app/shut", proxy=None)
        answer = caught.value.response
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/json")
        assert json.loads(answer.body or b"")["code"] == "forbidden"
