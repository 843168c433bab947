"""Keys of another issuer: fetched when they are needed, with a floor between, and kept while none can be had."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import InvalidError
from lepton.security.jwts import Keys, Signer
from lepton.serve.outside import FLOOR_S, LONGEST_S, MAX_BYTES, OLD_S, RETRY_S, Outside, load
from lepton.serve.spec import EndpointSpec


def jwks(seed: int) -> str:
    return json.dumps({"keys": Signer(bytes([seed]) * 32, "x").keys})


def run(story: Callable[[Outside, ManualClock], Awaitable[None]], file: Path) -> None:
    clock = ManualClock()
    asyncio.run(story(Outside("https://id", "us", str(file), clock.monotonic), clock))  # type: ignore[arg-type]


def test_keys_are_fetched_once_for_all_who_wait_and_not_again_before_the_floor(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"

    async def story(outside: Outside, clock: ManualClock) -> None:
        file.write_text(jwks(1))
        assert outside.is_old and outside.keys is None
        assert await asyncio.gather(*(outside.fetch(Keys) for _ in range(10))) == [True] * 10
        first = outside.keys
        assert first is not None and not outside.is_old
        file.write_text(jwks(2))
        clock.advance(FLOOR_S - 1)
        assert not await outside.fetch(Keys)
        assert outside.keys is first
        clock.advance(1)
        assert await outside.fetch(Keys)
        assert outside.keys is not first
        clock.advance(OLD_S)
        assert outside.is_old

    run(story, file)


@pytest.mark.parametrize("text", [None, "", "{", '{"keys": []}', " " * (MAX_BYTES + 1)])
def test_keys_that_cannot_be_had_leave_the_last_ones(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jwks.json"

    async def story(outside: Outside, clock: ManualClock) -> None:
        file.write_text(jwks(1))
        await outside.fetch(Keys)
        known = outside.keys
        file.unlink()
        if text is not None:
            file.write_text(text)
        clock.advance(OLD_S)
        assert not await outside.fetch(Keys)
        assert outside.keys is known
        file.write_text(jwks(2))
        assert not await outside.fetch(Keys)
        clock.advance(RETRY_S)
        assert await outside.fetch(Keys)

    run(story, file)
    assert "cannot be had" in capsys.readouterr().err


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("location", "/jwks")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with suppress(OSError):
            if self.path == "/huge":
                self.wfile.write(b"200000\r\n" + b" " * (2 << 20) + b"\r\n")
            while self.path == "/drip" and not self.has_ended.wait(0.02):
                self.wfile.write(b"1\r\n \r\n")
            self.wfile.write(b"3\r\nabc\r\n0\r\n\r\n")

    has_ended = Event()

    def log_message(self, *_: object) -> None:
        pass


def test_a_url_is_fetched_and_leads_nowhere_else() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert asyncio.run(load(f"{url}/jwks")) == b"abc"
        for path, why in (("moved", "302"), ("drip", "not come whole"), ("huge", "more than")):
            with pytest.raises(OSError, match=why):
                asyncio.run(load(f"{url}/{path}", longest_s=0.5 if path == "drip" else LONGEST_S))
        Site.has_ended.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "wish",
    [
        {"jwt_issuer": "a"},
        {"jwt_issuer": "a", "jwt_audience": "b"},
        {"jwt_issuer": "a", "jwt_audience": "b", "jwt_keys": "http://id.example/jwks"},
        {"jwt_issuer": "a", "jwt_audience": "b", "jwt_keys": "relative.json"},
        {"jwt_issuer": "a\n", "jwt_audience": "b", "jwt_keys": "/a"},
        {"jwt_issuer": "a" * 1001, "jwt_audience": "b", "jwt_keys": "/a"},
        {"jwt_issuer": 7, "jwt_audience": "b", "jwt_keys": "/a"},
    ],
)
def test_a_wish_that_says_half_or_lets_keys_travel_in_the_open_is_refused(wish: dict[str, object]) -> None:
    model = "ver_00000000000000000000000001"
    with pytest.raises(InvalidError):
        EndpointSpec.from_json({"model": model, **wish})
    for place in ("/a", "https://id.example/jwks", "http://127.0.0.1:1/jwks"):
        EndpointSpec.from_json({"model": model, "jwt_issuer": "a", "jwt_audience": "b", "jwt_keys": place})
