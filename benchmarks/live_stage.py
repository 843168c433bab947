"""A pool on which the live show takes place: its fleet, servers, load and books, and the look after each act."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from live_books import FINAL, Books, doubled, overfilled, seen_overfilled, shown, stays, unfinished
from live_load import Load
from live_servers import LEPTON, MACHINE, Fleet, Server

LOOK_S = 0.1
PATIENCE_S = 180.0
BEGIN = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large the show is."""

    nodes: int
    seed: int
    mean_s: float
    """Mean run time of a job."""
    calm_s: float
    rest_s: float
    """Of load between two acts."""
    fails: int
    """Machines that fail."""
    largest: int
    """Nodes of the largest gang."""


@dataclass(slots=True)
class Stage:
    """One pool, its load and its books."""

    plan: Plan
    fleet: Fleet
    servers: list[Server]
    load: Load
    books: Books
    gone: set[str] = field(default_factory=set)
    """Machines that have failed."""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    async def until(self, holds: Callable[[], Any], what: str) -> float:
        """Read the books until something holds; the time at which it did."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            await self.books.read()
            if holds():
                return time.time()
            if time.monotonic() > give_up:
                raise TimeoutError(f"waited in vain until {what}: {dict(self.books.count())}")
            await asyncio.sleep(LOOK_S)

    async def go_on(self, seconds: float) -> None:
        """Read the books for so long."""
        end = time.time() + seconds
        await self.until(lambda: time.time() >= end, "the time is over")

    def is_flooded(self) -> bool:
        """Whether more jobs wait than there are machines."""
        return self.books.count()["queued"] > len(self.fleet.all)

    async def check(self, act: str) -> None:
        """Hold what is shown and what the machines saw against the rules."""
        known = list(self.load.submitted)
        jobs, nodes = await shown(self.load.clients)
        await self.books.read()
        seen = stays(self.fleet.folder)
        wrong = overfilled(jobs.values(), nodes)
        wrong += seen_overfilled(seen, gpu_milli=MACHINE.gpu_milli, cpu_milli=MACHINE.cpu_milli) + doubled(seen)
        wrong += [f"{id} is unknown" for id in known if id not in self.books.lives]
        wrong += [f"{id}: {fault}" for id, life in self.books.lives.items() for fault in life.faults]
        wrong += self.load.refused
        self.faults += [f"{act}: {each}" for each in wrong]
        say(f"  checked {len(jobs)} jobs and {len(seen)} runs: {len(wrong) or 'nothing'} wrong")

    async def finish(self) -> None:
        """No more load; everything runs to its end, once."""
        await self.load.end()
        await self.until(
            lambda: all(self.books.lives[id].state in FINAL for id in self.load.submitted), "every job has ended"
        )
        states = self.books.count()
        workers = {id: ask.workers for id, ask in self.load.submitted.items()}
        self.faults += [f"end: {states}"] if set(states) != {"done"} else []
        self.faults += unfinished(stays(self.fleet.folder), workers)
        names = [ask.name for ask in self.load.submitted.values()]
        self.faults += ["end: a job was made twice"] if len(set(names)) != len(self.books.lives) else []
        for server in self.servers:
            self.faults += server.faults()

    def fault(self, what: str, jobs: Sequence[str]) -> None:
        """Note that something happened to jobs that must happen to none."""
        self.faults += [f"{what}: {len(jobs)} jobs, first {jobs[0]}"] if jobs else []

    async def wish(self, what: str, nodes: Sequence[str]) -> None:
        """cordon, uncordon or drain: the first by `lepton pool`, the others over the SDK."""
        await self.lepton("pool", what, nodes[0])
        pool = next(iter(self.load.clients.values())).pool
        await asyncio.gather(*(getattr(pool, what)(node) for node in nodes[1:]))

    async def lepton(self, *words: str) -> None:
        """Run a command; what it says is shown."""
        env = {**os.environ, "LEPTON_DATA": str(self.servers[-1].data)}
        run = await asyncio.create_subprocess_exec(*LEPTON, *words, env=env, stdout=subprocess.PIPE)
        said, _ = await run.communicate()
        say(f"$ lepton {' '.join(words)}")
        for line in said.decode().splitlines():
            say(f"  {line}")
        if run.returncode:
            self.faults.append(f"lepton {' '.join(words)} ended with {run.returncode}")

    async def up(self) -> set[str]:
        """Names of the nodes that the pool takes to be there."""
        client = next(iter(self.load.clients.values()))
        return {node["name"] for node in await client.pool.nodes() if node["state"] == "up"}

    async def until_up(self, holds: Callable[[set[str]], bool], what: str) -> float:
        """As `until`, of the nodes that are up."""
        give_up = time.monotonic() + PATIENCE_S
        while not holds(await self.up()):
            if time.monotonic() > give_up:
                raise TimeoutError(f"waited in vain until {what}")
            await asyncio.sleep(LOOK_S)
        return time.time()


def say(text: str) -> None:
    """For who looks on."""
    print(f"{time.monotonic() - BEGIN:6.1f}  {text}", file=sys.stderr, flush=True)
