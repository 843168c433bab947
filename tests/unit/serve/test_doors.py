"""The sockets of a front: as many files as its connections need, and nobody cut off when they are shut."""

import asyncio
import socket
import subprocess
import sys
from functools import partial

import pytest

from lepton.serve.doors import hold_off, listen
from lepton.serve.http import Connection
from lepton.serve.spec import EndpointSpec
from tests.fuzz.front import GOOD, read_answers
from tests.fuzz.http2 import make_front

SPEC = EndpointSpec(model="ver_00000000000000000000000001")

CODE = """
import resource
from lepton.serve.doors import allow_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
allow_files({count})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "count", "soft", "word"), [(300, 200, 200, ""), (300, 400, 300, "300"), (300, 50, 64, "")]
)
def test_the_limit_of_files_is_raised_as_far_as_may_be(hard: int, count: int, soft: int, word: str) -> None:
    command = [sys.executable, "-c", CODE.format(hard=hard, count=count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == soft
    assert (word in done.stderr) if word else not done.stderr


async def shut() -> list[int]:
    """What those are answered who came when a door was shut, before the front had let them in."""
    lobby, worker = make_front()
    doors, address = await listen(partial(Connection, lobby), SPEC, None)
    host, _, port = address.rpartition(":")
    clients = [socket.create_connection((host, int(port)), timeout=5) for _ in range(20)]
    for client in clients:
        client.sendall(GOOD)
    closing = asyncio.ensure_future(doors.close())
    await closing
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(lobby.connections) == len(clients)
    while lobby.own.open or lobby.own._arrived:
        lobby.own._pump()
        worker.work()
    answers = [await asyncio.to_thread(client.recv, 4096) for client in clients]
    for client in clients:
        client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    return [status for answer in answers for status in read_answers(answer)]


def test_who_is_at_the_door_when_it_is_shut_is_let_in() -> None:
    assert asyncio.run(shut()) == [200] * 20


def test_a_door_that_is_about_to_be_shut_begins_no_connection_but_keeps_those_there_are() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname(), timeout=5) as early,
        socket.socket() as late,
    ):
        hold_off(door.fileno())
        late.settimeout(0.05)
        with pytest.raises(TimeoutError):
            late.connect(door.getsockname())
        early.sendall(b"x")
        inner, _ = door.accept()
        with inner:
            assert inner.recv(1) == b"x"
