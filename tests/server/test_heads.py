"""Heads of requests that are too large or never whole are refused before anybody has said who they are."""

import json
import socket
from contextlib import suppress
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from lepton.cli import door
from tests.server.house import API, House, wait_until

LINE = f"GET {API}/openapi.json HTTP/1.1\r\nhost: x\r\n".encode()


def dial(house: House) -> socket.socket:
    at = urlsplit(house.url)
    wire = socket.create_connection((at.hostname, at.port), timeout=10)
    return wire


def send(wire: socket.socket, data: bytes, pieces: int = 1) -> None:
    """All of it, or as much as the server takes."""
    ends = [len(data) * number // pieces for number in range(pieces + 1)]
    for start, end in pairwise(ends):
        try:
            wire.sendall(data[start:end])
        except (BrokenPipeError, ConnectionResetError):
            return


def read_all(wire: socket.socket) -> bytes:
    """What the server says until it hangs up."""
    return b"".join(iter(lambda: wire.recv(65536), b""))


def refusal(said: bytes, status: int, code: str) -> None:
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert b"\r\nconnection: close" in head
    error = json.loads(body)
    assert error.keys() == {"code", "message", "fix"} and error["code"] == code and error["fix"]


@pytest.mark.parametrize(
    "data",
    [
        LINE + b"a: " + b"x" * (1 << 20),
        LINE + b"".join(b"h%d: %b\r\n" % (number, b"x" * 8000) for number in range(9)) + b"\r\n",
        LINE + b"".join(b"h%d: y\r\n" % number for number in range(200)) + b"\r\n",
        b"GET /" + b"x" * (1 << 20),
        LINE + b"transfer-encoding: chunked\r\n\r\n0\r\ntrailer: " + b"x" * (8 << 20),
        LINE + b"\r\n" + LINE + b"a: " + b"x" * (1 << 20),
    ],
    ids=["a header", "together", "too many", "the line", "a trailer", "of a second request"],
)
@pytest.mark.parametrize("pieces", [1, 50])
def test_a_head_that_is_too_large_is_refused(shared_house: House, data: bytes, pieces: int) -> None:
    with dial(shared_house) as wire:
        send(wire, data, pieces)
        if data.startswith(LINE + b"a") or data.startswith(LINE + b"h") or b"GET /x" in data:
            refusal(read_all(wire), 431, "too_large")
        else:  # after a whole request: its answer may be under way, and is then broken off
            with suppress(ConnectionResetError):
                read_all(wire)  # a server that reads on and on would time this out


def test_what_is_within_the_bounds_passes(shared_house: House) -> None:
    headers = {f"h{number}": "x" * 300 for number in range(190)}
    assert shared_house.http.get(f"{API}/security/whoami", headers=headers).status_code == 200
    long_body = {"command": ["true", "y" * 100_000]}
    for _ in range(2):  # on one connection, in pieces: a body is no head
        assert shared_house.http.post(f"{API}/jobs", json=long_body).status_code != 431


@pytest.mark.parametrize(
    ("sent", "is_told"), [(b"GET / HT", True), (LINE, True), (LINE + b"a: b", True), (b"\r\n", True), (b"", False)]
)
def test_a_head_that_never_ends_is_given_up(
    shared_house: House, monkeypatch: pytest.MonkeyPatch, sent: bytes, is_told: bool
) -> None:
    monkeypatch.setattr(door, "HEAD_S", 0.2)
    with dial(shared_house) as wire:
        wire.sendall(sent)
        said = read_all(wire)
    if is_told:
        refusal(said, 408, "timeout")
    else:
        assert said == b""


def test_a_second_head_that_never_ends_is_given_up_too(shared_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HEAD_S", 0.2)
    with dial(shared_house) as wire:
        wire.sendall(LINE + b"\r\n" + LINE)
        said = read_all(wire)
    assert said.startswith(b"HTTP/1.1 200 ")
    refusal(said[said.rindex(b"HTTP/1.1 ") :], 408, "timeout")


def test_nothing_of_a_connection_is_left_when_it_has_ended(
    shared_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LINGER_S", 0.01)
    before = set(shared_house._door.server_state.connections)
    with dial(shared_house) as wire:
        send(wire, LINE + b"a: " + b"x" * (1 << 17))
        read_all(wire)
        wait_until(lambda: set(shared_house._door.server_state.connections) <= before, "it has hung up")
