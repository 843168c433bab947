"""How each cost grows: with finished jobs stored (10^3 to 10^6), and with jobs that run (10 to 1,000, simulated).

python benchmarks/growth.py [--largest 1000000] [--plot growth.svg]
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from house import House, fill, house
from wire import Wire, closed_loop

from lepton.api.app import make_app
from lepton.core.clock import ManualClock, to_micros
from lepton.core.event import Event, canonical, leaf_hash
from lepton.core.ids import make_id
from lepton.core.launch import Devices, NodeFacts
from lepton.engine.simulated import SimulatedEngine
from lepton.jobs.spec import JobSpec, Role
from lepton.server.build import build
from lepton.server.config import ServerConfig

Figures = dict[str, float]
STORED = (1_000, 10_000, 100_000, 1_000_000)
RUNNING = (10, 100, 1_000)
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def seed(path: Path, count: int) -> None:
    """Store that many finished jobs, each with one event, straight into the database of a stopped platform."""
    spec = json.dumps(JobSpec(roles=(Role(command=("true",)),)).to_json())
    status = json.dumps({"generation": 0, "ended_at": 0, "ending": {"rank": 0, "reason": "done", "code": 0}})
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    with connection:
        for number in range(count):
            at = BEGIN + timedelta(seconds=number)
            id, micros = make_id("job", at=at), to_micros(at)
            state = "done" if number % 10 else "failed"
            event = Event(subject=id, kind="job", workspace="default", verb="created", why="", actor="b", at=at)
            body = canonical(event)
            row = connection.execute(
                "INSERT INTO events (at, workspace, subject, kind, verb, body, leaf) "
                "VALUES (?,?,?,?,?,?,?) RETURNING seq",
                (micros, "default", id, "job", "created", body, leaf_hash(body)),
            ).fetchone()
            connection.execute(
                "INSERT INTO resources (id, kind, workspace, name, name_key, spec, status, state, owner, is_final, "
                "revision, created_at, updated_at) VALUES (?, 'job', 'default', ?, NULL, ?, ?, ?, '', 1, ?, ?, ?)",
                (id, f"n{number % 50}", spec, status, state, row[0], micros, micros),
            )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def stored(count: int) -> Figures:
    """Costs beside `count` finished jobs."""
    with TemporaryDirectory() as folder:
        with house(Path(folder)):
            pass
        seed(Path(folder) / "lepton.db", count)
        with house(Path(folder)) as home:
            found = asyncio.run(_reads(home))
            asyncio.run(fill(home.url, home.token))
            submit = ("POST", "/api/v1/jobs", {"command": ["true"]})
            took = asyncio.run(closed_loop(home.url, home.token, connections=16, seconds=4, request=submit))
            return {**found, "start s": home.start_s, "submissions/s": len(took) / 4, "PSS MB": home.cost().pss_mb}


async def _reads(home: House) -> Figures:
    wire = Wire(home.url, home.token)
    page = await wire.json("GET", "/api/v1/jobs?limit=100")
    deep = make_id("job", at=BEGIN + timedelta(seconds=500))
    paths = {
        "list 100 ms": "/api/v1/jobs?limit=100",
        "list 100 failed ms": "/api/v1/jobs?limit=100&state=failed",
        "list 100 by name ms": "/api/v1/jobs?limit=100&name=n7",
        "list 100 at the end ms": f"/api/v1/jobs?limit=100&cursor={deep}",
        "get ms": f"/api/v1/jobs/{page['items'][0]['id']}",
    }
    return {name: await _median_ms(wire, path) for name, path in paths.items()}


async def _median_ms(wire: Wire, path: str) -> float:
    took = []
    for _ in range(30):
        start = time.perf_counter()
        await wire.json("GET", path)
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


def simulated(count: int) -> Figures:
    """Costs beside `count` running jobs on a simulated pool: one more submission to running, and CPU while idle."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_simulated(Path(folder), count))


async def _simulated(folder: Path, count: int) -> Figures:
    nodes = [NodeFacts(name=f"n{number}", devices=Devices(cpu_milli=64_000)) for number in range(64)]
    engine = SimulatedEngine(clock=ManualClock(), nodes=nodes)
    platform = build(ServerConfig(data=folder, port=0), engine=engine)
    server = uvicorn.Server(uvicorn.Config(make_app(platform), port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    wire = Wire(url, str(platform.first_token))
    forever = {"command": ["serve"], "params": {"course": {"seconds": 1e9}}}
    start = time.perf_counter()
    for _ in range(count):
        last = await wire.json("POST", "/api/v1/jobs", forever)
    await _until(wire, last["id"], "running")
    filled = time.perf_counter() - start
    took = []
    for _ in range(10):
        start = time.perf_counter()
        job = await wire.json("POST", "/api/v1/jobs", forever)
        await _until(wire, job["id"], "running")
        took.append((time.perf_counter() - start) * 1000)
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.sleep(10)
    idle = (time.process_time() - cpu) / (time.perf_counter() - begun)
    server.should_exit = True
    await serving
    return {"submit to running ms": statistics.median(took), "jobs started/s": count / filled, "idle cores": idle}


async def _until(wire: Wire, job: str, state: str) -> None:
    while (await wire.json("GET", f"/api/v1/jobs/{job}"))["state"] != state:
        await asyncio.sleep(0.002)


def plot(path: Path, by_stored: dict[int, Figures], by_running: dict[int, Figures]) -> None:
    """One small chart a cost, against the number of jobs."""
    import matplotlib as mpl  # noqa: PLC0415  only the plot needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    charts = [(name, by_stored, "finished jobs stored") for name in next(iter(by_stored.values()), {})]
    charts += [(name, by_running, "jobs running (simulated)") for name in next(iter(by_running.values()), {})]
    figure, axes = plt.subplots(3, -(-len(charts) // 3), figsize=(15, 9), layout="constrained")
    for axis, (name, rows, what) in zip(axes.flat, charts, strict=False):
        axis.plot(list(rows), [row[name] for row in rows.values()], marker="o", color="#0b63ce")
        axis.set(xscale="log", title=name, xlabel=what)
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
    for axis in list(axes.flat)[len(charts) :]:
        axis.set_visible(False)
    figure.savefig(path)


def main() -> dict[str, Any]:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=STORED[-1])
    parser.add_argument("--plot", type=Path, default=Path(__file__).parent / "growth.svg")
    options = parser.parse_args()
    by_running = {count: simulated(count) for count in RUNNING}
    print(json.dumps(by_running, indent=1), flush=True)
    by_stored = {count: stored(count) for count in STORED if count <= options.largest}
    print(json.dumps(by_stored, indent=1), flush=True)
    plot(options.plot, by_stored, by_running)
    return {"stored": by_stored, "running": by_running}


if __name__ == "__main__":
    main()
