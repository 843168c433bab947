"""Does what a live pool tells waiting jobs come true? `TRACES=DIR python benchmarks/pool_told.py` prints a table.

Venus, September 2020, submitted to a live pool in virtual time whose world obeys at once: virtual clusters are queues
with their nodes as guarantees, of 135 nodes and of fewer; every job may be stopped and go on, or none. Of the jobs that
started a minute or more after their submit: how many started within what they were told at their submit, and the mean
Winkler score (alpha 0.2) beside that of the 10-90 % quantiles of the last 200 waits of the same queue and size
(waits of jobs that had to wait: who started at once is not among them).
"""

import heapq
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton.core.launch import Devices
from lepton.pool.intervals import ALPHA, SIZES, Usual
from lepton.pool.live.pool import LivePool
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import LIVE, OURS
from lepton.pool.quota import QueueSpec
from lepton.pool.shape import Machine
from lepton.pool.trace import Cluster, Trace
from lepton.pool.waits import SHORT_S, size_of
from lepton.store.traces import read_nodes, read_trace

LOOK_S = 60.0
"""A decision at least so often."""
POLICY = replace(LIVE, searches=OURS.searches)
"""A server looks for one job's victims in a decision and decides again at once; here that is one decision."""
ROUNDS = 20
CASES = ((135, True), (135, False), (125, True), (125, False), (120, True), (120, False))
"""Nodes; whether jobs may be stopped."""


@dataclass
class World:
    """A live pool and what runs in it."""

    trace: Trace
    pool: LivePool
    may_stop: bool
    told: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Job -> the first interval that it was told, as times."""
    first: dict[str, float] = field(default_factory=dict)
    """Job -> its first start."""
    ends: list[tuple[float, str, int]] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)

    def wants(self, job: int) -> Wants:
        """What a job of the trace asks for."""
        gpus = int(self.trace.gpus[job])
        sizes = [8] * (gpus // 8) + ([gpus % 8] if gpus % 8 or not gpus else [])
        return Wants(
            job=self.trace.id[job],
            workers=tuple(Devices(cpu_milli=1000, gpu_milli=1000 * size) for size in sizes),
            queue=self.trace.queues[self.trace.queue[job]],
            user=self.trace.users[self.trace.user[job]],
            program=str(self.trace.cpus[job]),
            is_pinned=not self.may_stop,
            can_resume=self.may_stop,
            since_s=float(self.trace.submit[job]),
        )

    def decide(self, now: float) -> None:
        """Decide, and let the world obey, until nothing is left to decide."""
        for _ in range(ROUNDS):
            plan = self.pool.decide(now)
            for stop in plan.stops:
                self.stop(stop.job, now)
            for job, places in plan.starts.items():
                entry = self.pool.jobs[job]
                self.first.setdefault(job, now)
                self.runs[job] = self.runs.get(job, 0) + 1
                left_s = self.left_s[job] - entry.truth.worked_s
                heapq.heappush(self.ends, (now + left_s, job, self.runs[job]))
                truth = replace(entry.truth, phase=Phase.HOLDS, places=places, began_s=now, saved_s=now)
                self.pool.put(entry.wants, truth, now)
            if not plan.stops and not plan.starts and self.pool.due_s(now) != 0.0:
                return

    def stop(self, job: str, now: float) -> None:
        """A job goes back to the queue with its work saved."""
        entry = self.pool.jobs[job]
        worked_s = entry.truth.worked_s + now - entry.truth.began_s
        self.runs[job] += 1
        self.pool.put(entry.wants, Truth(phase=Phase.QUEUED, worked_s=worked_s), now)

    def run(self) -> None:
        """The whole trace."""
        self.left_s = dict(zip(self.trace.id, map(float, self.trace.duration), strict=True))
        order, at, now = np.argsort(self.trace.submit, kind="stable"), 0, 0.0
        while at < len(order) or self.pool.jobs:
            due = [self.ends[0][0]] if self.ends else []
            due += [float(self.trace.submit[order[at]])] if at < len(order) else []
            now = min([*due, now + LOOK_S]) if self.pool.jobs else min(due)
            while self.ends and self.ends[0][0] <= now:
                _, job, run = heapq.heappop(self.ends)
                entry = self.pool.jobs.get(job)
                if entry is not None and self.runs[job] == run and entry.truth.phase is Phase.HOLDS:
                    self.pool.put(entry.wants, Truth(phase=Phase.GONE, ran_s=self.left_s[job]), now)
            come = []
            while at < len(order) and self.trace.submit[order[at]] <= now:
                come.append(self.wants(int(order[at])))
                self.pool.put(come[-1], Truth(phase=Phase.QUEUED), now)
                at += 1
            self.decide(now)
            for wants in come:
                said = self.pool.state_wait(wants.job, now) if wants.job not in self.first else None
                if said is not None:
                    self.told[wants.job] = (said[0] + said[1], said[0] + said[2])


def pool_of(cluster: Cluster, nodes: int) -> LivePool:
    """An idle pool of so many of the cluster's nodes, guarantees in proportion."""
    pool, whole = LivePool(POLICY), sum(cluster.nodes.values())
    devices = Devices(cpu_milli=8000, gpu_milli=8000)  # CPUs do not constrain: a worker asks for one
    guarantee = {
        name: QueueSpec(guarantee={"gpu_milli": 8000 * count * nodes // whole}) for name, count in cluster.nodes.items()
    }
    pool.put_rights(Rights(queues=guarantee), 0.0)
    pool.put_machines([Machine(name=f"n{at:03}", total=devices) for at in range(nodes)], 0.0)
    return pool


def usual(world: World) -> dict[str, tuple[float, float]]:
    """What the last 200 waits of a queue and size would have told."""
    trace, teller = world.trace, Usual()
    starting: list[tuple[float, str]] = []
    told = {}
    for job in np.argsort(trace.submit, kind="stable"):
        now, id, queue, gpus = (
            float(trace.submit[job]),
            trace.id[job],
            trace.queues[trace.queue[job]],
            int(trace.gpus[job]),
        )
        while starting and starting[0][0] <= now:
            at, other = heapq.heappop(starting)
            teller.started(other, at)
        if id in world.told:
            low_s, high_s = teller.state(id, queue, gpus, now)
            told[id] = (now + low_s, now + high_s)
            heapq.heappush(starting, (world.first[id], id))
    return told


def judged(world: World, told: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Share of starts inside, overall and by size, and mean Winkler score."""
    trace = world.trace
    at = {id: job for job, id in enumerate(trace.id)}
    rows = [
        (world.first[id], *told[id], size_of(int(trace.gpus[at[id]])))
        for id in told
        if world.first[id] - trace.submit[at[id]] >= SHORT_S
    ]
    start, low, high, size = np.array(rows).reshape(-1, 4).T
    inside = (low <= start) & (start <= high)
    score = (high - low) + 2 / ALPHA * (np.maximum(0, low - start) + np.maximum(0, start - high))
    by_size = {SIZES[each]: float(inside[size == each].mean()) for each in range(3) if (size == each).any()}
    return {"jobs": len(rows), "inside": float(inside.mean()), "by_size": by_size, "winkler_s": float(score.mean())}


def main() -> None:
    """Every case, as a line for people and one of JSON."""
    folder = Path(os.environ["TRACES"]) / "helios-venus-sept2020"
    trace, _ = read_trace(folder / "jobs.csv.gz")
    cluster = read_nodes(folder / "vc_nodes.csv", per_node=8)
    for nodes, may_stop in CASES:
        world = World(trace.only(trace.gpus <= 8 * nodes), pool_of(cluster, nodes), may_stop)
        world.run()
        ours, theirs = judged(world, world.told), judged(world, usual(world))
        waits = [world.first[id] - submit for id, submit in zip(world.trace.id, world.trace.submit, strict=True)]
        ratio = ours["winkler_s"] / theirs["winkler_s"]
        sizes = ", ".join(f"{size} {100 * share:.1f}" for size, share in ours["by_size"].items())
        print(
            f"{nodes} nodes, {'jobs may be stopped' if may_stop else 'nothing is stopped'}: mean wait"
            f" {np.mean(waits):.0f} s; {ours['jobs']} waited a minute: {100 * ours['inside']:.1f} % inside ({sizes}),"
            f" usual {100 * theirs['inside']:.1f} %; Winkler {ratio:.2f}",
            file=sys.stderr,
        )
        print(json.dumps({"nodes": nodes, "may_stop": may_stop, "ours": ours, "usual": theirs}), flush=True)


if __name__ == "__main__":
    main()
