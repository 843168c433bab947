"""What waits inside a replica, where nobody sees it: who would be late is refused at once, and it goes on."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.serving.house import House, open_service, wait_until

CODE = """
import asyncio
from threading import Event
from time import monotonic
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from lepton.serve import Service, handler

class Waiting(Service):
    def init(self):
        self.places = asyncio.Semaphore(2)

    @handler
    async def work(self) -> int:
        async with self.places:
            await asyncio.sleep(0.05)
        return 1

class Computing(Service):
    @handler
    async def work(self) -> int:
        until = monotonic() + 0.025
        while monotonic() < until:
            pass
        return 1

class Beside(Service):
    @handler
    async def other(self) -> int:
        return 1

    @handler
    def work(self) -> int:
        Event().wait(0.025)
        return 1

class Mounted(Service):
    def mounts(self):
        places = asyncio.Semaphore(2)

        async def work(request):
            async with places:
                await asyncio.sleep(0.05)
            return JSONResponse(1)

        return {"/": Starlette(routes=[Route("/work", work, methods=["POST"])])}

def app(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        return (b"piece" for _ in iter(int, 1))
    Event().wait(0.25)
    return [b"1"]

class Threaded(Service):
    def mounts(self):
        return {"/": app}
"""
CLIENTS = 100


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overload")
    (folder / "shop.py").write_text(CODE)
    return folder


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        yield pool


def told(house: House, clients: ThreadPoolExecutor) -> list[tuple[int, str, str]]:
    """Status, code and Retry-After of what as many clients are answered that ask at once."""
    found = clients.map(lambda _: house.ask("POST", "/work", b"{}"), range(CLIENTS))
    return [
        (status, body["code"] if status > 200 else "", headers.get("retry-after", ""))
        for status, body, headers in found
    ]


@pytest.mark.parametrize("name", ["Waiting", "Computing", "Beside", "Mounted", "Threaded"])
def test_who_would_be_late_is_refused_at_once_and_the_others_are_answered(
    code: Path, clients: ThreadPoolExecutor, name: str
) -> None:
    with open_service(f"shop.py:{name}", code=code, deadline_ms=1000) as house:
        assert house.ask("POST", "/work", b"{}")[0] == 200
        told(house, clients)  # nobody could know how this ends
        again = Counter(told(house, clients))
        assert again[503, "busy", "1"] > CLIENTS / 3
        assert again[200, "", ""] > 10
        wait_until(lambda: house.ask("POST", "/work", b"{}")[0] == 200, "it is as quick as before", 3)


def test_a_thread_of_an_application_ends_what_it_sends_to_nobody(code: Path, clients: ThreadPoolExecutor) -> None:
    with open_service("shop.py:Threaded", code=code, deadline_ms=3000) as house:
        for _ in range(12):
            with house.wire() as wire:
                wire.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.take(1000)
        assert house.ask("POST", "/work", b"{}")[0] == 200
