"""The load of the live show: a seeded stream of jobs of several teams, submitted over the SDK as time goes on."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lepton.core.errors import LeptonError
from lepton.sdk.client import AsyncClient
from lepton.sdk.find import find
from lepton.sdk.http import Http
from lepton.sdk.options import JobOptions

TEAMS = {"vision": 4, "speech": 3, "search": 2, "robots": 1}
"""Workspace -> its share of the jobs."""
SHAPES = {"one": 55, "few": 30, "gang": 15}
"""One GPU; 2, 4 or 8 on one node; whole nodes together."""
NODE_GPUS = 8
BREATH_S = 0.1
RESUME = 0.5
"""Of the jobs, those that may be stopped for others."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One job that somebody wants."""

    name: str
    team: str
    gpus: int
    """For each worker."""
    workers: int
    seconds: float
    resumes: bool
    """It may be stopped for another."""


def asks(seed: int, *, mean_s: float, largest: int) -> Iterator[Ask]:
    """Jobs without end, the same for the same seed; run times are log-normal, up to 2.5 times their mean.

    Args:
        largest: nodes of the largest gang, at least 2.
    """
    rng, number = random.Random(seed), 0
    gangs = [nodes for nodes in (2, 3, 4, 6, 8) if nodes <= largest]
    while True:
        team = rng.choices(list(TEAMS), list(TEAMS.values()))[0]
        shape = rng.choices(list(SHAPES), list(SHAPES.values()))[0]
        gpus = {"one": 1, "few": rng.choice((2, 4, 8)), "gang": NODE_GPUS}[shape]
        workers = rng.choice(gangs) if shape == "gang" else 1
        seconds = min(2.5 * mean_s, max(0.1 * mean_s, rng.lognormvariate(math.log(mean_s) - 0.32, 0.8)))
        yield Ask(f"{team}-{number:06}", team, gpus, workers, round(seconds, 3), rng.random() < RESUME)
        number += 1


class Load:
    """Submits jobs, each team with a client of its own, at `factor` times what the pool can just hold.

    Args:
        folder: data directory of the server that is asked; it may be killed and started again.
        gpus: of the whole pool.
    """

    def __init__(self, folder: Path, *, gpus: int, mean_s: float, largest: int, seed: int) -> None:
        self.submitted: dict[str, Ask] = {}
        """Id -> what was asked for, once the server has said yes."""
        self.refused: list[str] = []
        self.factor = 1.0
        self.is_flooded: Callable[[], bool] = lambda: False
        """Whether so many wait that no more should come."""
        self.clients = {team: client_of(folder, team) for team in TEAMS}
        self._asks = asks(seed, mean_s=mean_s, largest=largest)
        self._gpus = gpus
        self._rng = random.Random(seed + 1)
        some = [ask for ask, _ in zip(asks(seed, mean_s=mean_s, largest=largest), range(2000), strict=False)]
        self._cost_s = sum(ask.gpus * ask.workers * ask.seconds for ask in some) / len(some)
        """Mean GPU seconds of a job."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._stream: asyncio.Task[None] | None = None

    @property
    def rate(self) -> float:
        """Jobs a second that are submitted now."""
        return self.factor * self._gpus / self._cost_s

    async def prepare(self) -> None:
        """Make the teams' workspaces and queues; nothing is guaranteed to anybody yet."""
        for team, client in self.clients.items():
            await client.security.create_workspace(team)
            await client.pool.set_queue(team, workspaces=[team])

    def begin(self, factor: float) -> None:
        """Submit from now on."""
        self.factor = factor
        self._stream = asyncio.create_task(self._go_on())

    async def end(self) -> None:
        """Submit no more; return once every submission is answered."""
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        await asyncio.gather(*self._under_way)

    async def close(self) -> None:
        """Let go of the connections."""
        for client in self.clients.values():
            await client.close()

    async def _go_on(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            due += self._rng.expovariate(self.rate)
            await asyncio.sleep(max(0.0, due - clock()))
            while self.is_flooded():
                await asyncio.sleep(BREATH_S)
                due = clock()
            task = asyncio.create_task(self._submit(next(self._asks)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def burst(self, team: str, count: int, *, gpus: int, seconds: float) -> None:
        """Submit many equal jobs of one team at once."""
        made = [Ask(f"{team}-burst-{number:06}", team, gpus, 1, seconds, False) for number in range(count)]
        await asyncio.gather(*(self._submit(ask) for ask in made))

    async def _submit(self, ask: Ask) -> None:
        wish: JobOptions = {"name": ask.name, "queue": ask.team, "can_resume": ask.resumes}
        wish |= {"gpus": ask.gpus, "cpus": ask.gpus, "workers": ask.workers}
        try:
            job = await self.clients[ask.team].jobs.submit(["sleep", str(ask.seconds)], **wish)
        except LeptonError as fault:
            self.refused.append(f"{ask.name}: {fault}")
        else:
            self.submitted[job.id] = ask


def client_of(folder: Path, workspace: str) -> AsyncClient:
    """A client that finds the server of a data directory again when it has been started anew."""
    return AsyncClient(Http(find(environment={"LEPTON_DATA": str(folder)})), workspace)
