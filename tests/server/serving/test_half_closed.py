"""A client that has sent all it will (`nc -N`) is answered; one that has hung up is not, and nothing is done for it."""

import socket
from collections.abc import Iterator

import pytest

from tests.server.serving.house import House, Wire, open_service, wait_until

STATE = b"GET /state HTTP/1.1\r\nHost: a\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def busy() -> Iterator[House]:
    with open_service("shop.py:Busy", workers=1) as house:
        yield house


def wait(seconds: bytes, *, version: bytes = b"1.1") -> bytes:
    body = b'{"seconds": %b}' % seconds
    return b"POST /wait HTTP/%b\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (version, len(body), body)


def said_all(wire: Wire, asked: bytes) -> bytes:
    """What a client reads that sends this and then closes its half, until the other half is closed, too."""
    wire.send(asked)
    wire.socket.shutdown(socket.SHUT_WR)
    found = bytearray()
    while part := wire.socket.recv(1 << 16):
        found += part
    return bytes(found)


@pytest.mark.parametrize("asked", [wait(b"0.3"), wait(b"0.3") * 3, STATE, STATE * 150])
def test_what_has_come_whole_is_answered_to_a_client_that_sends_nothing_more(busy: House, asked: bytes) -> None:
    with busy.wire() as wire:
        found = said_all(wire, asked)
    count = asked.count(b"HTTP/1.1")
    answers = found.removeprefix(INTERIM)
    assert answers.startswith(b"HTTP/1.1 200 OK\r\n") and answers.count(b"HTTP/1.1 200 OK\r\n") == count


def test_half_a_request_is_not_answered_nor_is_one_of_the_old_http(busy: House) -> None:
    for asked in (wait(b"0.3")[:-1], wait(b"9", version=b"1.0")):
        with busy.wire() as wire:
            assert said_all(wire, asked) == b""


def test_who_hangs_up_is_told_from_who_only_sends_nothing_more(busy: House) -> None:
    before = busy.ask("GET", "/state")[1]["cancelled"]
    for number in range(1, 4):
        with busy.wire() as wire:
            wire.send(wait(b"30"))
            wait_until(lambda: busy.ask("GET", "/state")[1]["open"] == 1, "it is being worked on")
        wait_until(lambda: busy.ask("GET", "/state")[1]["cancelled"] == before + number, "it was cancelled", 2)  # noqa: B023
