"""Who holds how much of the pool and who waits, counted by what has changed since the last look, not by what lives."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from sys import intern
from typing import Any, Self

from lepton.core.clock import to_micros
from lepton.core.launch import Devices
from lepton.core.resource import Resource
from lepton.jobs.life import HOLDS_DEVICES, State
from lepton.pool.quota import DEFAULT
from lepton.server.memory import settle
from lepton.store import events, resources
from lepton.store.database import Tx

PAGE = 1000
MOST = 1_000_000
"""Living jobs that are read at once."""
SPARE = 1000
"""Waits that may be remembered of jobs that wait no longer, beside one for each that does."""
Account = tuple[str, str]
"""`pool`, `node`, `queue`, `user` or `workspace`, and its name."""
POOL = ("pool", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A living job, as the pool sees it."""

    revision: int
    queue: str
    user: str
    workspace: str
    state: str
    since: int
    """When it came into its state, in microseconds."""
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(node, amounts) of each worker that has its place."""

    @classmethod
    def of(cls, job: Resource) -> Self:
        """What the pool sees of a job."""
        holds = job.state in HOLDS_DEVICES
        return cls(
            revision=job.revision,
            queue=intern(job.spec.get("queue") or DEFAULT),
            user=intern(job.status.get("user", "")),
            workspace=intern(job.workspace),
            state=intern(job.state),
            since=to_micros(job.updated_at),
            places=tuple(_places(job)) if holds else (),
        )

    def accounts(self) -> tuple[Account, ...]:
        """Where all that it holds counts."""
        return POOL, ("queue", self.queue), ("user", self.user), ("workspace", self.workspace)


def _places(job: Resource) -> Iterator[tuple[str, tuple[int, ...]]]:
    roles: list[Mapping[str, Any]] = job.spec["roles"]
    each = [(Devices(**role.get("devices", {})).amounts(), role.get("count", 1)) for role in roles]
    ranks = (amounts for amounts, count in each for _ in range(count))
    return zip((intern(place["node"]) for place in job.status.get("placement") or ()), ranks, strict=False)


class Census:
    """One caller at a time; `sync` first, within committed reads only."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        """State -> living jobs in it."""
        self.holders: Counter[Account] = Counter()
        """Node or queue -> jobs that hold something there."""
        self.waiting: Counter[str] = Counter()
        """Queue -> jobs that wait in it."""
        self._held: dict[Account, list[int]] = defaultdict(lambda: [0] * len(Devices().amounts()))
        self._jobs: dict[str, Standing] = {}
        self._in: dict[str, dict[str, None]] = defaultdict(dict)
        """Queue -> living jobs in it, in the order in which they changed last."""
        self._since: dict[str, list[tuple[int, str]]] = defaultdict(list)
        """Queue -> heap of (since when, job) of who waits in it, and of who did once."""
        self._seq: int | None = None

    def held(self, of: Account) -> Devices:
        """What is held there, or by whom."""
        found = self._held.get(of)
        return Devices.of(found) if found else Devices(cpu_milli=0)

    @property
    def seq(self) -> int:
        """Number of the last event that is taken in."""
        return self._seq or 0

    def living(self, queue: str) -> list[str]:
        """The jobs that live in a queue."""
        return list(self._in[queue])

    def waits_since(self, queue: str) -> int | None:
        """When the one that has waited longest in a queue came, in microseconds; None if nobody waits."""
        heap = self._since[queue]
        while heap and not self._waits(queue, *heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def _waits(self, queue: str, since: int, id: str) -> bool:
        job = self._jobs.get(id)
        return job is not None and (job.state, job.queue, job.since) == (State.QUEUED, queue, since)

    def sync(self, tx: Tx) -> None:
        """Take in what has changed since the last time; at first, all that lives."""
        newest = events.newest(tx)
        if self._seq is None:
            for row in resources.alive_rows(tx, "job", limit=MOST):  # read one by one, and forgotten
                self._put(resources.read(row))
            settle(len(self._jobs))
        while self._seq is not None and self._seq < newest:
            found = events.subjects_after(tx, self._seq, kind="job", limit=PAGE)
            for job in resources.many(tx, sorted({subject for _, subject in found})):
                self._put(job)
            self._seq = found[-1][0] if len(found) == PAGE else newest
        self._seq = max(newest, self._seq or 0)

    def _put(self, job: Resource) -> None:
        """Count a job as it is now."""
        known = self._jobs.pop(job.id, None)
        if known is not None:
            self._count(known, -1)
            del self._in[known.queue][job.id]
        if job.is_final:
            return
        seen = self._jobs[job.id] = Standing.of(job)
        self._count(seen, +1)
        self._in[seen.queue][job.id] = None
        if seen.state == State.QUEUED:
            self._note_wait(seen, job.id)

    def _note_wait(self, job: Standing, id: str) -> None:
        heap = self._since[job.queue]
        heappush(heap, (job.since, id))
        if len(heap) > 2 * self.waiting[job.queue] + SPARE:  # most are of jobs that wait no longer
            heap[:] = [wait for wait in heap if self._waits(job.queue, *wait)]
            heapify(heap)

    def _count(self, job: Standing, by: int) -> None:
        self.states[job.state] += by
        if job.state == State.QUEUED:
            self.waiting[job.queue] += by
            return
        self.holders["queue", job.queue] += by
        for node in {node for node, _ in job.places}:
            self.holders["node", node] += by
        for node, amounts in job.places:
            for account in (("node", node), *job.accounts()):
                self._add(account, amounts, by)

    def _add(self, account: Account, amounts: tuple[int, ...], by: int) -> None:
        held = self._held[account]
        for at, amount in enumerate(amounts):
            if amount:
                held[at] += by * amount
        if not any(held):
            del self._held[account]
