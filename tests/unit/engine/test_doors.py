"""A worker's door stays open while the worker is replaced, and no longer than it is wanted."""

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from lepton.core.launch import Launch
from lepton.engine.shim import records

if TYPE_CHECKING:
    from conftest import Local

GREETER = """
import os, socket
door = socket.socket(fileno=int(os.environ["LEPTON_DOOR"]))
door.listen(8)
print(f"listens {door.getsockname()[1]}.", flush=True)
while True:
    client, _ = door.accept()
    client.sendall(os.environ["WORD"].encode())
    client.close()
"""
SHOW = "import os; print(f\"door {os.environ.get('LEPTON_DOOR')}.\", flush=True)"


def greeter(local: "Local", key: str, word: str, door: str = "127.0.0.1:0") -> int:
    """Start a worker that greets who knocks; the port."""
    local.run(key, sys.executable, "-c", GREETER, env={"WORD": word}, door=door)
    return int(local.until_logged(key, ".").split()[1].strip("."))


def knock(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def hear(client: socket.socket) -> str:
    with client:
        return client.recv(100).decode()


def kill(local: "Local", key: str) -> None:
    os.kill(local.record(key, records.WORKER)["pid"], signal.SIGKILL)
    local.ended(key)


def test_who_knocks_while_the_worker_is_replaced_is_answered_by_its_successor(local: "Local") -> None:
    port = greeter(local, "j.0.0", "first")
    assert hear(knock(port)) == "first"
    kill(local, "j.0.0")
    waiting = [knock(port) for _ in range(3)]
    assert greeter(local, "j.0.0-1", "second") == port
    assert [hear(client) for client in waiting] == ["second"] * 3


def test_a_worker_that_is_asked_to_stop_takes_its_door_with_it(local: "Local") -> None:
    port = greeter(local, "j.0.0", "first")
    local.engine.stop("j.0.0", grace_s=5)
    local.ended("j.0.0")
    with pytest.raises(ConnectionRefusedError):
        knock(port)


def test_the_next_engine_holds_the_door_too(local: "Local") -> None:
    port = greeter(local, "j.0.0", "first")
    local.reopen()
    assert hear(knock(port)) == "first"
    kill(local, "j.0.0")
    waiting = knock(port)
    assert greeter(local, "j.0.0-1", "second", door=f"127.0.0.1:{port}") == port
    assert [hear(waiting), hear(knock(port))] == ["second"] * 2
    local.engine.stop("j.0.0-1", grace_s=5)
    local.ended("j.0.0-1")
    with pytest.raises(ConnectionRefusedError):
        knock(port)


HIDES = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"
"""PR_SET_DUMPABLE: only root may look into it."""
MOVES = "number = door.fileno(); door = door.dup(); os.dup2(0, number)"


@pytest.mark.parametrize(
    "line", [pytest.param(HIDES, marks=pytest.mark.skipif(not os.geteuid(), reason="root")), MOVES]
)
def test_a_door_that_cannot_be_copied_is_shut_until_the_worker_is_replaced(local: "Local", line: str) -> None:
    code = GREETER.replace("door.listen(8)", f"door.listen(8)\n{line}")
    local.run("j.0.0", sys.executable, "-c", code, env={"WORD": "first"}, door="127.0.0.1:0")
    port = int(local.until_logged("j.0.0", ".").split()[1].strip("."))
    local.reopen()
    assert hear(knock(port)) == "first"
    kill(local, "j.0.0")
    with pytest.raises(ConnectionRefusedError):
        knock(port)
    assert greeter(local, "j.0.0-1", "second", door=f"127.0.0.1:{port}") == port
    assert hear(knock(port)) == "second"


def test_another_address_is_another_door(local: "Local") -> None:
    port = greeter(local, "j.0.0", "first")
    kill(local, "j.0.0")
    assert greeter(local, "j.1.0", "second", door="127.0.0.2:0")
    with pytest.raises(ConnectionRefusedError):
        knock(port)


@pytest.mark.parametrize("door", ["", "localhost:0", "192.0.2.1:0", "127.0.0.1:TAKEN"])
def test_where_the_engine_has_no_door_to_lend_the_worker_sees_to_it_itself(local: "Local", door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        local.engine.start(
            Launch(
                key="j.0.0",
                job="j",
                command=(sys.executable, "-c", SHOW),
                door=door.replace("TAKEN", port),
                env={"LEPTON_DOOR": "1"},  # only the engine says it
            )
        )
        assert local.until_logged("j.0.0", ".").strip() == "door None."
