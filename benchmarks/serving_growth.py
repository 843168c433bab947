"""How the echo's cost grows: with keys, replicas, idle connections and body size. Records as of `serving_rows`.

A front and replicas off the platform, on one core, with limits that suit the question.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import serving_peers as peers
from servers import SERVER_CORE, Served, free_port, measure
from serving_ours import SERVED, memory_mb, wait_for_answer
from serving_replicas import cpu_ns
from wrk import LOAD_CORE, Ask

Record = dict[str, Any]
KEYS = (1, 100, 1_000, 10_000, 100_000)
REPLICAS = (1, 2, 4, 8)
IDLE = (1, 100, 1_000, 10_000)
BODIES = (100, 1_000, 10_000, 100_000, 1_000_000, 16_000_000)
CROWD_SIZES = (1, 100, 1_000)
"""Endpoints on one front."""
REPEATS = 3
SECONDS = 2.0
MOST_CONNECTIONS = 12_000
ACCESS = """
import asyncio, sys
class Yes(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\n{}")
        self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Yes, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()
asyncio.run(main())
"""
"""Admits every token, as the platform's server would; what it costs is not counted."""
HOLD = """
import socket, sys
count, port = int(sys.argv[1]), int(sys.argv[2])
held = []
for number in range(count):
    line = socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + number % 16}", 0))
    line.sendall(b"GET /livez HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    assert line.recv(4096).startswith(b"HTTP/1.1 200"), number
    held.append(line)
print("held", flush=True)
sys.stdin.read()
"""
"""Opens connections, has one answer on each, and keeps them until its standard input ends."""


@dataclass(frozen=True, slots=True)
class End:
    """A front with its replicas."""

    folder: Path
    port: int
    front: int
    pids: tuple[int, ...]

    def served(self, ask: Ask) -> Served:
        """As a server to measure."""
        return Served("lepton", f"http://127.0.0.1:{self.port}", ask, lambda: self.pids)


@contextmanager
def end(*, replicas: int = 1, url: str = "", **spec: Any) -> Iterator[End]:
    """The echo, once it answers."""
    tests = import_module("tests.server.serving.house")
    with tempfile.TemporaryDirectory(prefix="lg-", dir="/tmp") as name:
        folder, port = Path(name), free_port()
        (folder / "code").symlink_to(SERVED)
        wish = {"code": tests.VERSION, "entry": "echo.py", "port": port, "replicas": replicas, **spec}
        params = {"endpoint": "ep_00000000000000000000000001", "name": "echo", "spec": wish}
        (folder / "settings.json").write_text(json.dumps({"params": params, "limits": {}}))
        house = tests.House(folder, {"OMP_NUM_THREADS": "1", "LEPTON_URL": url})
        try:
            pids = []
            for role in ("front", *map(str, range(1, replicas + 1))):
                pids.append(house.start(role).pid)
                os.sched_setaffinity(pids[-1], {int(SERVER_CORE)})
            found = End(folder, port, pids[0], tuple(pids))
            headers = {"Content-Type": "application/json", "Authorization": "Bearer key-0"}
            wait_for_answer(found.served(Ask("/predict", b"{}", headers)))
            yield found
        finally:
            house.close()


def point(row: str, at: int, place: End, ask: Ask, *, connections: int = 32) -> Iterator[Record]:
    """The runs of one point of a curve."""
    server = place.served(ask)
    measure(server, place.folder, connections=connections, seconds=1)
    for turn in range(REPEATS):
        found = measure(server, place.folder, connections=connections, seconds=SECONDS)
        sizes = {"front_rss_mb": memory_mb([place.front])["rss"], "pss_mb": memory_mb(place.pids)["pss"]}
        yield {"row": f"growth {row}", "at": at, "server": "lepton", "turn": turn, **found, **sizes}


def keys() -> Iterator[Record]:
    """The echo asked with one of so many tokens, at random, once the front has seen what it can remember of them."""
    ask = peers.ask_of("echo")
    port = free_port()
    with subprocess.Popen(["taskset", "-c", LOAD_CORE, sys.executable, "-c", ACCESS, str(port)]) as access:
        try:
            wait_for_port(port)
            for count in KEYS:
                with end(url=f"http://127.0.0.1:{port}", rate_per_s=1_000_000, quota_per_day=1_000_000_000) as place:
                    asked = replace(ask, keys=count)
                    lasting = min(8.0, count / 2_000)
                    measure(place.served(asked), place.folder, connections=32, seconds=lasting)
                    yield from point("keys", count, place, asked)
        finally:
            access.kill()


def replicas() -> Iterator[Record]:
    """The echo with so many replicas, all on one core."""
    for count in REPLICAS:
        with end(replicas=count) as place:
            yield from point("replicas", count, place, peers.ask_of("echo"))


def connections() -> Iterator[Record]:
    """The echo on 32 connections beside so many that are open and idle; and what these cost when nobody asks."""
    for count in IDLE:
        with end(max_connections=MOST_CONNECTIONS) as place, held(count, place.port):
            before, begun = cpu_ns([place.front]), monotonic()
            Event().wait(3)
            idle = (cpu_ns([place.front]) - before) / 1e9 / (monotonic() - begun)
            for record in point("connections", count, place, peers.ask_of("echo")):
                yield {**record, "idle_cores": round(idle, 5)}


@contextmanager
def held(count: int, port: int) -> Iterator[None]:
    """So many connections, open and idle, from several addresses."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-c", HOLD, str(count), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None and holding.stdin is not None
        if holding.stdout.readline() != "held\n":
            raise RuntimeError(f"{count} connections could not be opened")
        try:
            yield
        finally:
            holding.stdin.close()


def bodies() -> Iterator[Record]:
    """Bytes there and back, in so large a body."""
    for size in BODIES:
        with end(max_body_bytes=64 << 20) as place:
            ask = Ask("/bytes", b"x" * size, {"Content-Type": "application/octet-stream"})
            for record in point("bodies", size, place, ask, connections=32 if size < 1_000_000 else 4):
                peak = {"front_peak_mb": peak_mb(place.pids[0]), "replica_peak_mb": peak_mb(place.pids[1])}
                yield {**record, **peak}


def peak_mb(pid: int) -> float:
    """Most memory that a process has ever had resident."""
    rows = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return round(next(int(row[1]) for row in rows if row[0] == "VmHWM:") / 1024, 1)


def wait_for_port(port: int) -> None:
    """Until somebody listens there."""
    with ExitStack() as stack:
        pause, until = Event(), monotonic() + 20
        while monotonic() < until:
            try:
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                return
            except OSError:
                pause.wait(0.02)
    raise TimeoutError(port)


CURVES = {"keys": keys, "replicas": replicas, "connections": connections, "bodies": bodies}
