"""A server under measurement, whoever made it: where it answers, what it is asked, and what its processes cost."""

import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import wrk
from tree import TICKS
from wrk import Ask

SERVER_CORE = os.environ.get("SERVER_CORE", "0")
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """One server that answers."""

    name: str
    url: str
    ask: Ask
    pids: Callable[[], Sequence[int]]
    """Every process of it that is alive now."""
    note: str = ""
    why: Callable[[], str] | None = None
    """Tells what it has refused, if anybody was."""

    def asked(self, ask: Ask, name: str = "") -> "Served":
        """The same server, asked something else."""
        return replace(self, ask=ask, name=name or self.name)


def cpu_s(pids: Sequence[int]) -> float:
    """User and system time of these processes so far, and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def measure(server: Served, folder: Path, *, connections: int, seconds: float) -> Figures:
    """Load it for a while: CPU microseconds a request of all its processes, rate, times."""
    pids = server.pids()
    before, begun = cpu_s(pids), monotonic()
    found = wrk.run(server.url, server.ask, folder, connections=connections, seconds=seconds)
    spent, took = cpu_s(pids) - before, monotonic() - begun
    told: Figures = {
        "connections": connections,
        "requests": found.count,
        "cpu_us": round(spent / max(1, found.count) * 1e6, 2),
        "cores": round(spent / took, 3),
        "per_s": round(found.per_s, 1),
        "p50_ms": round(found.p50_ms, 4),
        "p99_ms": round(found.p99_ms, 3),
        "errors": found.errors,
    }
    return {**told, "why": server.why()} if found.errors and server.why else told


def answer(server: Served, timeout_s: float = 20.0) -> tuple[int, bytes]:
    """Status and body of one answer."""
    where = urlsplit(server.url)
    host, port = str(where.hostname), where.port
    line = http.client.HTTPConnection(host, port, timeout=timeout_s)
    if where.scheme == "https":
        line = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl._create_unverified_context())
    try:
        line.request(server.ask.method, server.ask.path, server.ask.body, dict(server.ask.headers))
        got = line.getresponse()
        return got.status, got.read()
    finally:
        line.close()


def wait_for(server: Served, process: "subprocess.Popen[bytes]", seconds: float, log: Path) -> float:
    """Seconds until it answered with 200.

    Raises:
        RuntimeError: it has ended, or never did.
    """
    begun, pause = monotonic(), Event()
    told = ""
    while monotonic() - begun < seconds:
        if process.poll() is not None:
            told = f"it ended with {process.returncode}"
            break
        try:
            status, body = answer(server)
            if status == 200:
                return monotonic() - begun
            told = f"{status} {body[:200]!r}"
        except (OSError, http.client.HTTPException) as fault:
            told = str(fault)
        pause.wait(0.05)
    raise RuntimeError(f"{server.name} does not answer: {told}; {log.read_text(errors='replace')[-800:]}")


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
