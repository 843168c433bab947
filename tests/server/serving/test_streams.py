"""Streams whose generators never wait: they wait for their client, others have their turn, and they end with it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.server.serving.house import House, open_service, wait_until

PATHS = ["/text", "/answer", "/plain", "/v1/chat/completions"]
MOST_BYTES = 64 << 20
"""That may be on its way to a client that does not read; what is made in a second is many times more."""


@pytest.fixture(scope="module")
def rows() -> Iterator[House]:
    with open_service("rows.py:Rows") as house:
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 200, "it is loaded", 30)
        yield house


def request_of(path: str, size: int, *, is_stream: bool = True) -> bytes:
    message = {"model": "endless", "messages": [{"role": "user", "content": "x" * size}], "stream": is_stream}
    body = json.dumps(message if path.startswith("/v1") else {"size": size}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def state(house: House) -> tuple[int, int]:
    given, count = house.ask("GET", "/state")[1]
    return given, count


def is_still(house: House) -> bool:
    """Whether nothing was given between two looks."""
    before, _ = state(house)
    house.ask("GET", "/healthz")
    return bool(before == state(house)[0])


@pytest.mark.parametrize(
    ("path", "size"), [*((path, size) for path in PATHS for size in (100, 10_000)), ("/plain", 4_000_000)]
)
def test_a_stream_that_nobody_reads_stands_still_and_ends_with_its_client(rows: House, path: str, size: int) -> None:
    before, _ = state(rows)
    with rows.wire() as wire:
        wire.send(request_of(path, size))
        assert wire.read(has_body=False)[0] == 200
        wait_until(lambda: all(is_still(rows) for _ in range(5)), "it waits for its client", 60)
        given, count = state(rows)
        assert count == 1
        assert (given - before) * size < MOST_BYTES
    wait_until(lambda: state(rows)[1] == 0, "its generator is closed", 30)


def test_answers_that_are_too_much_for_one_frame_all_come(rows: House) -> None:
    sizes = [3, 270 << 20, 40 << 20, 40 << 20, 200 << 20, 5]
    with ThreadPoolExecutor(len(sizes)) as pool:
        bodies = [json.dumps({"size": size}).encode() for size in sizes]
        asked = [pool.submit(rows.ask, "POST", "/large", body, content_type="application/json") for body in bodies]
        wait_until(lambda: b"lepton_requests_held 6\n" in rows.ask("GET", "/metrics")[1], "all wait", 30)
        assert rows.ask("POST", "/release", b"{}", content_type="application/json")[0] == 204
        for size, answer in zip(sizes, asked, strict=True):
            status, body, _ = answer.result()
            assert (status, len(body), body[:1], body[-1:]) == (200, size, b"x", b"x")


def test_others_are_answered_while_an_endless_stream_is_read(rows: House) -> None:
    with rows.wire() as wire:
        wire.send(request_of("/text", 1))
        assert wire.read(has_body=False)[0] == 200
        for _ in range(20):
            wire.line()
            assert state(rows)[1] == 1
    wait_until(lambda: state(rows)[1] == 0, "its generator is closed", 30)


def test_others_are_answered_while_an_endless_answer_is_gathered(rows: House) -> None:
    with rows.wire() as wire:
        wire.send(request_of("/v1/chat/completions", 1, is_stream=False))
        wait_until(lambda: state(rows)[1] == 1, "it is being gathered", 30)
    wait_until(lambda: state(rows)[1] == 0, "its generator is closed", 30)


def test_a_talk_that_never_waits_leaves_others_their_turn(rows: House) -> None:
    host, port = rows.address
    with connect(f"ws://{host}:{port}/talk", close_timeout=1) as socket:
        heard: Any = socket.recv(30)
        assert heard == "x" * 1000 and state(rows)[1] == 1
    wait_until(lambda: state(rows)[1] == 0, "it has ended", 60)
