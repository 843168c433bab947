"""One more replica of a torch model, through server and engine; and what an endpoint costs that nobody asks.

A replica is ended with SIGKILL, and the server puts another in its place: timed from the end of the old one to when the
front has the new one, by the front's own gauge. The parts of that time are told by the files the engine leaves.
"""

import json
import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import Any

import serving_peers as peers
from servers import measure
from serving_ours import Platform, memory_mb
from serving_rows import Record, Run

from lepton.sdk.endpoints import Endpoint

KILLS = 3
"""Of each rank: one that dies more often soon after its start ends the whole gang."""
ZYGOTE_S = 60.0
IDLE_S = 15.0
SETTLE_S = 3.0


def replicas(run: Run) -> Iterator[Record]:
    """Time to ready and memory of another replica of the CNN in PyTorch, and of one of the echo."""
    for name, target in (("torch", "cnn.py:Cnn"), ("echo", "echo.py")):
        endpoint = run.platform.deploy(target, f"more-{name}", replicas=2)
        wait_for_zygotes(run.platform)
        for turn in range(KILLS):
            for rank in (1, 2):
                found = another(run.platform, endpoint, rank)
                yield {"row": "replica", "server": f"lepton, {name}", "turn": turn, "rank": rank, **found}
        ask = peers.ask_of("cnn" if name == "torch" else "echo")
        measure(run.platform.served(endpoint, ask), run.folder, connections=8, seconds=2)
        for rank, pid in run.platform.workers(endpoint).items():
            used = {f"{key}_mb": size for key, size in memory_mb([pid]).items()}
            yield {"row": "replica used", "server": f"lepton, {name}", "rank": rank, **used}
        endpoint.delete().wait("deleted")


def another(platform: Platform, endpoint: Endpoint, rank: int) -> dict[str, float]:
    """Kill a replica, and time the next one of its rank."""
    gauge = Gauge(endpoint, platform.token)
    try:
        old = platform.workers(endpoint)[rank]
        killed, wall = monotonic(), time()
        os.kill(old, signal.SIGKILL)
        gauge.wait(1)
        gone = monotonic()
        gauge.wait(2)
        ready = monotonic()
    finally:
        gauge.close()
    new = platform.workers(endpoint)[rank]
    started = float(record_of(platform, new)["started_at"]) - wall
    memory = memory_mb([new])
    return {
        "ready_ms": round((ready - killed) * 1000, 1),
        "noticed_ms": round((gone - killed) * 1000, 1),
        "started_ms": round(started * 1000, 1),
        "from_start_ms": round((ready - killed - started) * 1000, 1),
        **{f"{key}_mb": size for key, size in memory.items()},
    }


class Gauge:
    """How many replicas the front has, asked again and again on one connection."""

    def __init__(self, endpoint: Endpoint, token: str) -> None:
        place = endpoint.url.removeprefix("http://").partition(":")
        self._line = HTTPConnection(place[0], int(place[2]), timeout=10)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._pause = Event()

    def wait(self, count: int, timeout_s: float = 60.0) -> None:
        """Until there are so many."""
        until = monotonic() + timeout_s
        while self.read() != count:
            if monotonic() > until:
                raise TimeoutError(f"the front never had {count} replicas")
            self._pause.wait(0.001)

    def read(self) -> int:
        """How many there are now."""
        self._line.request("GET", "/lepton/metrics", headers=self._headers)
        text = self._line.getresponse().read().decode()
        found = [line.split()[1] for line in text.splitlines() if line.startswith("lepton_workers_ready ")]
        return int(float(found[0])) if found else 0

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def record_of(platform: Platform, pid: int) -> dict[str, Any]:
    """What the engine has noted of a worker that runs."""
    for file in (platform.folder / "data" / "engine").glob("*/worker.json"):
        found: dict[str, Any] = json.loads(file.read_text())
        if found["pid"] == pid:
            return found
    raise LookupError(pid)


def wait_for_zygotes(platform: Platform) -> None:
    """Until no warm zygote is on its way any more, by what the server's log says; or for so long as may be."""
    until, pause = monotonic() + ZYGOTE_S, Event()
    log = platform.folder / "server.log"
    while monotonic() < until and "warm zygote" not in log.read_text(errors="replace"):
        pause.wait(0.1)
    pause.wait(SETTLE_S)


def idle(run: Run) -> Iterator[Record]:
    """An endpoint of the echo that nobody asks: memory and CPU of its front and replica, and of the whole platform."""
    endpoint = run.platform.deploy("echo.py", "idle")
    measure(run.platform.served(endpoint, peers.ask_of("echo")), run.folder, connections=1, seconds=1)
    Event().wait(SETTLE_S)
    own = list(run.platform.workers(endpoint).values())
    parts = {
        "front": own[:1],
        "replica": own[1:],
        "front and replica": own,
        "whole platform": run.platform.pids(endpoint.job),
    }
    before = {name: cpu_ns(pids) for name, pids in parts.items()}
    begun = monotonic()
    Event().wait(IDLE_S)
    took = monotonic() - begun
    for name, pids in parts.items():
        used = (cpu_ns(pids) - before[name]) / 1e9 / took
        memory = {f"{key}_mb": size for key, size in memory_mb(pids).items()}
        yield {"row": "idle", "server": f"lepton, {name}", "cores": round(used, 5), "processes": len(pids), **memory}
    endpoint.delete().wait("deleted")


def cpu_ns(pids: list[int]) -> int:
    """What all threads of these processes have run, in nanoseconds."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(file.read_text().split()[0])
            except OSError:
                continue
    return total
