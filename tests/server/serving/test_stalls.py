"""What lies in one frame with a call that hangs is done by another replica, and nothing is done twice."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.serving.house import Wire, open_service, wait_until

COUNT = 12


def ask(number: int) -> bytes:
    body = b'{"number": %d}' % number
    head = b"POST /work HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


OTHER = b"POST /other HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
"""Of `Threaded`: a coroutine, which is begun although what came before it waits for the thread."""


@pytest.mark.parametrize("name", ["Plain", "Batched", "Async", "Threaded"])
def test_others_do_what_waits_behind_a_call_that_hangs_and_nothing_is_done_twice(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    env = {"STALLS_FOLDER": str(tmp_path)}
    with ExitStack() as stack:
        house = stack.enter_context(open_service(f"stalls.py:{name}", workers=2, env=env, deadline_ms=120_000))
        wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "both are there", 60)
        front = house.processes["front"].pid
        wires = [stack.enter_context(Wire(house.address)) for _ in range(COUNT)]
        beside = [stack.enter_context(Wire(house.address)) for _ in range(COUNT)]
        for wire in wires:
            wire.socket.settimeout(60)
        os.kill(front, signal.SIGSTOP)  # so that it reads all of them in one turn, the one that hangs first
        for number, wire in enumerate(wires):
            wire.send(ask(number))
            if name == "Threaded" and number:
                beside[number].send(OTHER)
        os.kill(front, signal.SIGCONT)
        others = [wire.read() for wire in wires[1:]]
        assert {status for status, _, _ in others} == {200}
        assert name != "Threaded" or {wire.read()[0] for wire in beside[1:]} == {204}
        text = house.ask("GET", "/metrics")[1].decode()
        assert int(text.partition("\nlepton_retries_total ")[2].split()[0]) > 0, "some were in one frame with it"
        (tmp_path / "gate").write_bytes(b"")
        status, stuck, _ = wires[0].read()
        assert status == 200
        assert {body for _, body, _ in others} == {min(body for _, body, _ in others)} != {stuck}
        again = [wire.ask(ask(COUNT + number))[:2] for number, wire in enumerate(wires)]
        assert {status for status, _ in again} == {200}
        assert stuck in {body for _, body in again}, "it is given requests again"
        begun = (tmp_path / "begun").read_text().split()
        assert sorted(map(int, begun)) == list(range(2 * COUNT))
