"""What a decision costs on a live pool that is kept up to date: `python benchmarks/pool_live.py` writes POOL-LIVE.md,
pool-live.json and pool-live.png beside it.

Nodes of 8 GPUs in racks of 32, all full; waiting jobs of 16 queues, 200 users, 1 to 64 GPUs. Then jobs end and others
come, one at a time, and each is followed by a decision: what is timed is entering the change and deciding, in CPU
seconds of this process. Needs numba (the extra `pool`).
"""

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib import pyplot

from lepton.core.launch import Devices
from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.quota import QueueSpec
from lepton.pool.shape import Machine

SIZES, SHARES = (1, 2, 4, 8, 16, 64), (0.6, 0.1, 0.1, 0.12, 0.06, 0.02)
RACK = 32
QUEUES = 16
EVENTS = 2000
GROWTH = (100, 1_000, 10_000, 100_000)


class Load:
    """Jobs as they come."""

    def __init__(self, pool: LivePool, seed: int = 1) -> None:
        self.pool, self.chance, self.now, self.count = pool, np.random.default_rng(seed), 1e6, 0

    def wants(self, gpus: int | None = None, rank: int = 4) -> Wants:
        """A job, of a size by chance unless one is given."""
        size = int(self.chance.choice(SIZES, p=SHARES)) if gpus is None else gpus
        each, workers = (size, 1) if size <= 8 else (8, size // 8)
        self.count += 1
        return Wants(
            job=f"j{self.count}",
            workers=(Devices(cpu_milli=1000, gpu_milli=1000 * each),) * workers,
            queue=f"q{self.chance.integers(QUEUES)}",
            user=f"u{self.chance.integers(200)}",
            rank=rank,
            can_resume=bool(self.chance.random() < 0.5),
            is_pinned=False,
            since_s=self.now,
        )

    def submit(self, wants: Wants) -> None:
        """It comes."""
        self.pool.put(wants, Truth(phase=Phase.QUEUED), self.now)

    def decide(self) -> None:
        """Decide, and let the world obey at once."""
        plan = self.pool.decide(self.now)
        for stop in plan.stops:
            self.pool.put(self.pool.jobs[stop.job].wants, Truth(phase=Phase.QUEUED), self.now)
        for job, places in plan.starts.items():
            self.pool.put(
                self.pool.jobs[job].wants, Truth(phase=Phase.HOLDS, places=places, began_s=self.now), self.now
            )


def pool_of(nodes: int) -> LivePool:
    """An idle pool."""
    devices = Devices(cpu_milli=96_000, gpu_milli=8000, memory_bytes=1 << 40)
    machines = [Machine(name=f"n{at:05}", total=devices, labels={"rack": f"r{at // RACK:04}"}) for at in range(nodes)]
    pool = LivePool()
    share = nodes * 8000 // (2 * QUEUES)
    pool.put_rights(Rights(queues={f"q{at}": QueueSpec(guarantee={"gpu_milli": share}) for at in range(QUEUES)}), 0.0)
    pool.put_machines(machines, 0.0)
    return pool


def filled(nodes: int, waiting: int) -> Load:
    """A full pool in which so many jobs wait."""
    load = Load(pool_of(nodes))
    held = 0
    while held < 8 * nodes:
        wants = load.wants()
        held += sum(worker.gpu_milli for worker in wants.workers) // 1000
        load.submit(wants)
    load.decide()
    load.now += 100.0
    for _ in range(waiting):
        load.submit(load.wants())
        load.now += 0.001
    for _ in range(20):
        load.now += 10.0
        load.decide()
    return load


def steady(load: Load, count: int = EVENTS) -> list[float]:
    """CPU seconds of each of so many changes with its decision: by turns a job ends and one comes."""
    running = [job for job, entry in load.pool.jobs.items() if entry.truth.phase is Phase.HOLDS]
    costs = []
    for at in range(count):
        load.now += 0.5
        wants = load.wants()
        job = running[int(load.chance.integers(len(running)))]
        begin = time.process_time()
        entry = load.pool.jobs.get(job) if at % 2 else None
        if entry is not None and entry.truth.phase is Phase.HOLDS:
            load.pool.put(entry.wants, Truth(phase=Phase.GONE, ran_s=100.0), load.now)
        else:
            load.submit(wants)
        load.decide()
        costs.append(time.process_time() - begin)
    return costs


def victims(nodes: int, gang: int) -> float:
    """CPU seconds to find whom to stop for a gang of whole nodes of a higher priority."""
    load = filled(nodes, 1000)
    load.now += 100.0
    load.submit(load.wants(8 * gang, rank=0))
    begin = time.process_time()
    plan = load.pool.decide(load.now)
    cost = time.process_time() - begin
    assert plan.stops, "somebody has to stop"
    return cost


def measure() -> dict[str, Any]:
    """All figures."""
    steady(filled(100, 100), 50)  # compiles
    costs = sorted(steady(filled(10_000, 100_000)))
    return {
        "p50_ms": 1e3 * median(costs),
        "p99_ms": 1e3 * costs[int(0.99 * len(costs))],
        "worst_ms": 1e3 * costs[-1],
        "victims_of_64_nodes_in_1000_ms": 1e3 * median(victims(1000, 64) for _ in range(5)),
        "by_waiting_ms": {many: 1e3 * median(steady(filled(1000, many), 400)) for many in GROWTH},
        "by_nodes_ms": {many: 1e3 * median(steady(filled(many, 1000), 400)) for many in GROWTH},
    }


def picture(found: dict[str, Any], path: Path) -> None:
    """Cost of a decision against waiting jobs and against nodes, beside n log n from the first point."""
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, label in (("by_waiting_ms", "waiting jobs, 1,000 nodes"), ("by_nodes_ms", "nodes, 1,000 waiting jobs")):
        axes.loglog(list(found[name]), list(found[name].values()), marker="o", label=label)
    sizes = np.array(GROWTH, float)
    first = found["by_waiting_ms"][GROWTH[0]]
    axes.loglog(
        sizes, first * sizes * np.log(sizes) / (sizes[0] * np.log(sizes[0])), "--", color="grey", label="n log n"
    )
    axes.set_xlabel("how many")
    axes.set_ylabel("one change and its decision, median ms of CPU")
    axes.legend()
    figure.savefig(path, dpi=120)


def report(found: dict[str, Any]) -> str:
    """The figures as a page."""
    rows = [
        ("10,000 nodes, 100,000 waiting: p50", found["p50_ms"], ""),
        ("p99", found["p99_ms"], "5"),
        ("worst of 2,000", found["worst_ms"], ""),
        ("victims for a gang of 64 nodes, 1,000 full nodes", found["victims_of_64_nodes_in_1000_ms"], "1,000"),
        *((f"{many:,} waiting, 1,000 nodes: p50", ms, "") for many, ms in found["by_waiting_ms"].items()),
        *((f"{many:,} nodes, 1,000 waiting: p50", ms, "") for many, ms in found["by_nodes_ms"].items()),
    ]
    lines = ["# A live decision", "", "Made by `python benchmarks/pool_live.py`, which says what is measured.", ""]
    lines += ["| | ms of CPU | goal |", "| --- | --- | --- |"]
    lines += [f"| {what} | {ms:.2f} | {goal} |" for what, ms, goal in rows]
    return "\n".join([*lines, "", "![cost against size](pool-live.png)", ""])


if __name__ == "__main__":
    here = Path(__file__).parent
    figures = measure()
    (here / "pool-live.json").write_text(json.dumps(figures, indent=1) + "\n")
    page = here / "POOL-LIVE.md"
    _, head, rest = page.read_text().partition("\n## ")  # by `pool_why.py`
    page.write_text(report(figures) + head + rest)
    picture(figures, here / "pool-live.png")
    print(report(figures))
