"""What the show is judged by: the events that the API tells, the jobs and nodes it shows, and what the machines saw.

All of it is read from outside; nothing of the scheduler is asked or imported.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from lepton.sdk.client import AsyncClient

HOLDS = ("placed", "running", "stopping")
FINAL = ("done", "failed", "cancelled")
PAGE = 1000


@dataclass(slots=True)
class Life:
    """One job as its events tell it."""

    state: str = "queued"
    nodes: tuple[str, ...] = ()
    """It was placed on last; kept after its end."""
    generation: int = 0
    steps: list[tuple[float, str]] = field(default_factory=list)
    """(seconds since 1970, verb)."""
    places: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """(seconds since 1970, nodes) of each placement."""
    faults: list[str] = field(default_factory=list)

    def note(self, event: Mapping[str, Any]) -> None:
        """Take over what happened next."""
        verb, at = event["verb"], datetime.fromisoformat(event["at"]).timestamp()
        self.steps.append((at, verb))
        before, arrow, after = verb.partition("->")
        if not arrow:
            if verb == "created" and len(self.steps) > 1:
                self.faults.append("made twice")
            return
        if before != self.state:
            self.faults.append(f"{verb} although it is {self.state}")
        self.state = after
        self.generation = event["data"].get("generation", self.generation)
        if after == "placed":
            self.nodes = tuple(event["why"].removeprefix("on ").split(", "))
            self.places.append((at, self.nodes))

    def first(self, verb: str) -> float | None:
        """When that happened first."""
        return next((at for at, step in self.steps if step == verb), None)


class Books:
    """Every job's life, followed over the API."""

    def __init__(self, clients: Mapping[str, AsyncClient]) -> None:
        self.clients = clients
        self.lives: dict[str, Life] = defaultdict(Life)
        self._seen: dict[str, int] = {}

    async def read(self) -> None:
        """Take over what has happened since the last reading."""
        for team, client in self.clients.items():
            after: int | None = self._seen.get(team, 0)
            while after is not None:
                page = await client.http.get("/events", workspace=team, after=after, limit=PAGE)
                for event in page["items"]:
                    self._seen[team] = event["seq"]
                    if event["kind"] == "job":
                        self.lives[event["subject"]].note(event)
                after = page["next"]

    def count(self) -> Counter[str]:
        """State -> jobs."""
        return Counter(life.state for life in self.lives.values())

    def holding(self, nodes: Iterable[str]) -> set[str]:
        """Jobs that hold something of these nodes."""
        wanted = set(nodes)
        return {id for id, life in self.lives.items() if life.state in HOLDS and wanted & set(life.nodes)}

    def starts(self, before: Mapping[str, int]) -> dict[str, int]:
        """How often each of these jobs has been started anew since its generation was as given."""
        return {id: self.lives[id].generation - generation for id, generation in before.items()}

    def placed_on(self, nodes: Iterable[str], *, since: float) -> list[str]:
        """Jobs that were placed on one of these after that time."""
        wanted = set(nodes)
        return [id for id, life in self.lives.items() if any(at > since and wanted & set(on) for at, on in life.places)]

    def moments(self, verb: str, *, since: float = 0.0) -> list[float]:
        """When that happened to any job, sorted."""
        found = (at for life in self.lives.values() for at, step in life.steps if step == verb and at >= since)
        return sorted(found)

    def delays(self, before: str, after: str, *, since: float, until: float) -> list[float]:
        """Seconds from the first `before` to the first `after` of each job that was created in that time, sorted."""
        found = []
        for life in self.lives.values():
            made, start, end = life.first("created"), life.first(before), life.first(after)
            if made is not None and since <= made < until and start is not None and end is not None:
                found.append(end - start)
        return sorted(found)


async def all_jobs(client: AsyncClient) -> dict[str, dict[str, Any]]:
    """Id -> fields of every job of a workspace."""
    found: dict[str, dict[str, Any]] = {}
    cursor = ""
    while True:
        page = await client.http.get("/jobs", workspace=client.workspace, limit=PAGE, cursor=cursor)
        found |= {job["id"]: job for job in page["items"]}
        cursor = page["next"] or ""
        if not cursor:
            return found


async def shown(clients: Mapping[str, AsyncClient]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """All jobs that did not change between two readings, so that they were so at one moment; and the nodes."""
    before = {id: job for client in clients.values() for id, job in (await all_jobs(client)).items()}
    nodes = await next(iter(clients.values())).pool.nodes()
    after = {id: job for client in clients.values() for id, job in (await all_jobs(client)).items()}
    still = {id: job for id, job in after.items() if before.get(id, {}).get("revision") == job["revision"]}
    return still, nodes


def overfilled(jobs: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every way in which these jobs hold more of a node than it has, or a GPU twice."""
    has = {node["name"]: node["status"]["devices"] for node in nodes}
    held: dict[str, Counter[str]] = defaultdict(Counter)
    owners: dict[tuple[str, int], str] = {}
    faults = []
    for job in jobs:
        if job["state"] not in HOLDS or not job["status"].get("placement"):
            continue
        devices = [role["devices"] for role in job["spec"]["roles"] for _ in range(role["count"])]
        for place, amount in zip(job["status"]["placement"], devices, strict=True):
            held[place["node"]].update({name: n for name, n in amount.items() if isinstance(n, int)})
            for gpu in place["gpus"]:
                other = owners.setdefault((place["node"], gpu), job["id"])
                if other != job["id"]:
                    faults.append(f"GPU {gpu} of {place['node']} is held by {other} and {job['id']}")
    for node, amounts in held.items():
        over = {name: n for name, n in amounts.items() if n > has.get(node, {}).get(name, 0)}
        faults += [f"{node} has {has.get(node)} and holds {over}"] if over else []
    return faults


@dataclass(frozen=True, slots=True)
class Stay:
    """One worker on a machine, as the machine saw it."""

    job: str
    generation: int
    rank: int
    node: str
    gpu_milli: int
    cpu_milli: int
    gpus: tuple[int, ...]
    began_s: float
    ended_s: float
    reason: str


def stays(fleet: Path) -> list[Stay]:
    """Every run of the fleet, read from its file."""
    file = sqlite3.connect(f"file:{fleet / 'runs.db'}?mode=ro", uri=True)
    rows = file.execute("SELECT key, node, gpu_milli, cpu_milli, gpus, began_s, ends_s, reason FROM runs").fetchall()
    file.close()
    found = []
    for key, node, gpu_milli, cpu_milli, gpus, *rest in rows:
        job, generation, rank = key.split(".")[:3]
        indices = tuple(int(gpu) for gpu in gpus.split(",") if gpu)
        found.append(Stay(job, int(generation), int(rank), node, gpu_milli, cpu_milli, indices, *rest))
    return found


def seen_overfilled(found: Iterable[Stay], *, gpu_milli: int, cpu_milli: int) -> list[str]:
    """Every moment at which a machine had more on it than it has, or a GPU two workers."""
    by_node: dict[str, list[tuple[float, int, Stay]]] = defaultdict(list)
    for stay in found:
        if stay.ended_s > stay.began_s:
            by_node[stay.node] += [(stay.began_s, 1, stay), (stay.ended_s, 0, stay)]
    faults = []
    for node, moments in by_node.items():
        gpus = cpus = 0
        owners: dict[int, Stay] = {}
        for at, begins, stay in sorted(moments, key=lambda moment: moment[:2]):
            sign = 1 if begins else -1
            gpus, cpus = gpus + sign * stay.gpu_milli, cpus + sign * stay.cpu_milli
            if gpus > gpu_milli or cpus > cpu_milli:
                faults.append(f"{node} at {at:.3f}: {gpus} GPU milli, {cpus} CPU milli")
            for gpu in stay.gpus:
                if begins and gpu in owners:
                    faults.append(f"{node} at {at:.3f}: GPU {gpu} given to {stay.job} and {owners[gpu].job}")
                if begins:
                    owners[gpu] = stay
                elif owners.get(gpu) is stay:
                    del owners[gpu]
    return faults


def doubled(found: Iterable[Stay]) -> list[str]:
    """Every job of which two starts went on at once."""
    starts: dict[str, dict[int, list[Stay]]] = defaultdict(lambda: defaultdict(list))
    for stay in found:
        starts[stay.job][stay.generation].append(stay)
    faults = []
    for job, generations in starts.items():
        numbers = sorted(generations)
        for one, next_one in pairwise(numbers):
            ended = max(stay.ended_s for stay in generations[one])
            began = min(stay.began_s for stay in generations[next_one])
            if began < ended:
                faults.append(f"{job}: start {next_one} began {ended - began:.3f} s before start {one} had ended")
    return faults


def unfinished(found: Iterable[Stay], workers: Mapping[str, int]) -> list[str]:
    """Every job of which not exactly one start ran through, with all its workers.

    Args:
        workers: job -> how many it has.
    """
    done: Counter[tuple[str, int]] = Counter((stay.job, stay.generation) for stay in found if stay.reason == "done")
    whole: Counter[str] = Counter(job for (job, _), ranks in done.items() if ranks == workers.get(job))
    return [f"{job} ran through {whole[job]} times" for job in workers if whole[job] != 1]
