"""What the platform itself costs: start, idle, submissions, lists, watchers. One `lepton up` a measurement."""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from tree import Cost, cost, in_session_of, run_cost, running
from wire import Wire, closed_loop, open_loop, quantile

LEPTON = [sys.executable, "-m", "lepton.cli.main"]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class House:
    """A platform that runs for one measurement."""

    folder: Path
    url: str
    token: str
    start_s: float
    mark: str

    def cost(self) -> Cost:
        """Of the server and its zygote; not of jobs."""
        return cost([pid for pid in in_session_of(f"BENCH_MARK={self.mark}") if not is_job(pid)])


def is_job(pid: int) -> bool:
    """Whether a process belongs to a job rather than to the platform."""
    try:
        return b"LEPTON_JOB=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return True


@contextmanager
def house(folder: Path, **env: str) -> Iterator[House]:
    """A platform on `folder`; the seconds until its first answer are noted."""
    mark = f"lepton-{os.getpid()}-{time.monotonic_ns()}"
    command = [*LEPTON, "up", "--data", str(folder), "--port", "0"]
    plain = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), **env}
    (folder / "url").unlink(missing_ok=True)
    start = time.perf_counter()
    with running(command, marker=mark, env=plain, log=folder / "log") as process:
        while not (folder / "url").exists() or not answers((folder / "url").read_text().strip()):
            if process.poll() is not None or time.perf_counter() - start > 60:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            os.sched_yield()
        took = time.perf_counter() - start
        url, token = (folder / "url").read_text().strip(), (folder / "token").read_text().strip()
        try:
            yield House(folder, url, token, took, mark)
        finally:
            end_jobs(folder)


def end_jobs(folder: Path) -> None:
    """Kill what the jobs of this platform still run: it would outlive the server, as it should."""
    for pid in in_session_of(f"LEPTON_FOLDER={folder}/"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether something answers HTTP there."""
    where = urlsplit(url)
    if not where.port:
        return False
    connection = HTTPConnection(str(where.hostname), where.port, timeout=5)
    try:
        connection.request("GET", "/api/v1/security/whoami")
        return connection.getresponse().status == 401
    except OSError:
        return False
    finally:
        connection.close()


def commands() -> Figures:
    """CPU of `import lepton` beyond bare Python, and of `lepton --help`."""
    bare = [run_cost([sys.executable, "-c", "pass"])[0] for _ in range(9)]
    imports = [run_cost([sys.executable, "-c", "import lepton"])[0] for _ in range(9)]
    helps = [run_cost([*LEPTON, "--help"])[0] for _ in range(9)]
    return {
        "import lepton, CPU s": statistics.median(imports) - statistics.median(bare),
        "lepton --help, CPU s": statistics.median(helps),
    }


def start_and_idle(seconds: float = 30.0) -> Figures:
    """Start to first answer (median of 5), memory, and CPU while nothing happens."""
    starts = []
    for _ in range(5):
        with TemporaryDirectory() as folder, house(Path(folder)) as home:
            starts.append(home.start_s)
    with TemporaryDirectory() as folder, house(Path(folder)) as home:
        asyncio.run(asyncio.sleep(3))
        before, begun = home.cost(), time.perf_counter()
        asyncio.run(asyncio.sleep(seconds))
        after = home.cost()
        idle = (after.cpu_s - before.cpu_s) / (time.perf_counter() - begun)
        started_cpu = before.cpu_s
    return {
        "up to first answer, s": statistics.median(starts),
        "up, CPU s": started_cpu,
        "resident, MB": after.rss_mb,
        "resident, PSS MB": after.pss_mb,
        "idle, cores": idle,
    }


def latencies(count: int = 30) -> Figures:
    """From POST to the worker process running, and to the job seen as done; one job at a time."""

    async def one(wire: Wire) -> tuple[float, float, float]:
        start, start_wall = time.perf_counter(), time.time()
        body = {"command": [sys.executable, "-S", "-E", "-c", "import time; print(time.time())"]}
        job = (await wire.json("POST", "/api/v1/jobs", body))["id"]
        acknowledged = time.perf_counter() - start
        while (await wire.json("GET", f"/api/v1/jobs/{job}"))["state"] != "done":
            await asyncio.sleep(0.002)
        done = time.perf_counter() - start
        _, log = await wire.send("GET", f"/api/v1/jobs/{job}/logs")
        return acknowledged, float(log) - start_wall, done

    async def many(url: str, token: str) -> list[tuple[float, float, float]]:
        wire = Wire(url, token)
        return [await one(wire) for _ in range(count)]

    with TemporaryDirectory() as folder, house(Path(folder)) as home:
        found = asyncio.run(many(home.url, home.token))
    acknowledged, began, done = (sorted(column) for column in zip(*found, strict=True))
    return {
        "submit to acknowledgement, ms": statistics.median(acknowledged) * 1000,
        "submit to running Python, ms": statistics.median(began) * 1000,
        "submit to running Python, p90 ms": quantile(began, 0.9) * 1000,
        "submit to done seen, ms": statistics.median(done) * 1000,
    }


async def fill(url: str, token: str) -> None:
    """Give the pool one job that holds every CPU, so that what follows stays queued."""
    wire = Wire(url, token)
    node = (await wire.json("GET", "/api/v1/pool/nodes"))["items"][0]["status"]["devices"]
    job = await wire.json("POST", "/api/v1/jobs", {"command": ["sleep", "600"], "cpus": node["cpu_milli"] / 1000})
    while (await wire.json("GET", f"/api/v1/jobs/{job['id']}"))["state"] != "running":
        await asyncio.sleep(0.01)


def submissions(seconds: float = 8.0) -> Figures:
    """Jobs accepted a second by one client with 16 connections, each committed before its 201."""
    rates, waits = [], []
    for _ in range(3):
        with TemporaryDirectory() as folder, house(Path(folder)) as home:
            asyncio.run(fill(home.url, home.token))
            request = ("POST", "/api/v1/jobs", {"command": ["true"]})
            before = home.cost().cpu_s
            took = asyncio.run(closed_loop(home.url, home.token, connections=16, seconds=seconds, request=request))
            rates.append(len(took) / seconds)
            waits.append((quantile(took, 0.99) * 1000, (home.cost().cpu_s - before) / len(took) * 1000))
    return {
        "submissions a second": statistics.median(rates),
        "their p99, ms": statistics.median(wait for wait, _ in waits),
        "server CPU a submission, ms": statistics.median(cpu for _, cpu in waits),
    }


def steady(rate: float = 200.0, seconds: float = 15.0) -> Figures:
    """p99 at 200 requests a second (reads of jobs, lists, submissions) beside a job that computes."""
    with TemporaryDirectory() as folder, house(Path(folder)) as home:
        wire_requests = asyncio.run(_prepare(home))
        took = asyncio.run(open_loop(home.url, home.token, rate=rate, seconds=seconds, requests=wire_requests))
    return {"API at 200/s, p50 ms": quantile(took, 0.5) * 1000, "API at 200/s, p99 ms": quantile(took, 0.99) * 1000}


async def _prepare(home: House) -> list[tuple[str, str, Any]]:
    wire = Wire(home.url, home.token)
    busy = {"command": [sys.executable, "-c", "while True: pass"], "cpus": 1}
    job = (await wire.json("POST", "/api/v1/jobs", busy))["id"]
    while (await wire.json("GET", f"/api/v1/jobs/{job}"))["state"] != "running":
        await asyncio.sleep(0.01)
    huge = {"command": ["true"], "cpus": 2}
    reads = [("GET", f"/api/v1/jobs/{job}", None), ("GET", "/api/v1/jobs?limit=20", None)]
    return [*reads * 2, ("POST", "/api/v1/jobs", huge)]


def watchers(count: int = 1000, lines: int = 50) -> Figures:
    """Followers of one job's log: all must get every byte; how long after it was written the last one has it."""

    async def follow(url: str, token: str, job: str, ready: asyncio.Semaphore) -> tuple[float, bytes]:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        head = f"GET /api/v1/jobs/{job}/logs?follow=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        ready.release()
        found, worst = b"", 0.0
        while size := int(await reader.readline(), 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            found += piece
            last = found.rstrip(b"\n").rpartition(b"\n")[2]
            worst = max(worst, time.time() - float(last))
        writer.close()
        return worst, found

    async def all_of(home: House) -> tuple[list[float], int, float]:
        go = home.folder / "go"
        script = (
            f"import os,time,sys,pathlib\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)\n"
            f"for _ in range({lines}): print(time.time(), flush=True); time.sleep(0.1)\n"
        )
        wire = Wire(home.url, home.token)
        job = (await wire.json("POST", "/api/v1/jobs", {"command": [sys.executable, "-c", script]}))["id"]
        ready = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(follow(home.url, home.token, job, ready)) for _ in range(count)]
        for _ in range(count):
            await ready.acquire()
        before, begun = home.cost(), time.perf_counter()
        go.touch()
        found = await asyncio.gather(*tasks)
        cpu = (home.cost().cpu_s - before.cpu_s) / (time.perf_counter() - begun)
        _, whole = await Wire(home.url, home.token).send("GET", f"/api/v1/jobs/{job}/logs")
        return [worst for worst, _ in found], sum(text == whole for _, text in found), cpu

    with TemporaryDirectory() as folder, house(Path(folder)) as home:
        worst, complete, cpu = asyncio.run(all_of(home))
    return {
        f"of {count} log followers, with every byte": complete,
        "their worst delay, median s": statistics.median(worst),
        "server cores meanwhile": cpu,
    }


ALL = (commands, start_and_idle, latencies, submissions, steady, watchers)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [part.__name__ for part in ALL]
    for part in ALL:
        if part.__name__ in wanted:
            print(json.dumps({part.__name__: part()}, indent=1), flush=True)
