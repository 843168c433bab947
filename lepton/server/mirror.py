"""The live pool, held equal to the database: what has changed since the last look is read, and nothing else.

Every change of a job has its event, so the events after the last one seen name what must be read again. A server that
stands by keeps its mirror too: it takes over within a turn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import RLock

from lepton.core.clock import Clock, to_micros
from lepton.core.resource import Json, Resource
from lepton.jobs.life import FINAL, State
from lepton.pool.hindsight import Verdict
from lepton.pool.live.forecast import Forecast
from lepton.pool.live.pool import LivePool
from lepton.pool.live.recall import recall
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Plan, Reason, Truth
from lepton.pool.live.when import starts_between
from lepton.pool.live.why import reasons, shorten
from lepton.pool.policy import Policy
from lepton.server import verdicts
from lepton.server.history import remembered
from lepton.server.landscape import Land, Landscape
from lepton.server.memory import settle
from lepton.server.truths import truth_of, wants_of
from lepton.store import events, resources
from lepton.store.database import Tx

PAGE = 1000
MOST = 1_000_000
"""Living jobs that are read at once."""


class Mirror:
    """One server's picture of the pool. Any thread may ask; the placing loop alone decides."""

    def __init__(self, policy: Policy, *, clock: Clock, has_trees: bool = False) -> None:
        """Args: `has_trees`: keep what boosted trees are made from (`server.learning`)."""
        self.lock = RLock()
        self.live = LivePool(policy, Forecast(policy, has_trees=has_trees), clock.monotonic)
        self.revisions: dict[str, int] = {}
        """Of every living job, as last read."""
        self.doomed: dict[str, str] = {}
        """Waiting job -> one that comes before it and has not ended well."""
        self._clock = clock
        self._land: Land | None = None
        self._landscape = Landscape()
        self._seq: int | None = None
        self._has_recalled = False
        self._verdict = ""
        self._after: dict[str, set[str]] = {}
        """Waiting job -> jobs that come before it and are not done yet."""
        self._followers: dict[str, set[str]] = {}
        """Job -> those that wait for it."""

    def now(self) -> float:
        """Seconds since 1970, as the pool counts."""
        return to_micros(self._clock.now()) / 1_000_000

    def reset(self) -> None:
        """Read everything again at the next look: another server may have decided, or a commit has failed."""
        with self.lock:
            self._seq = None

    def sync(self, tx: Tx) -> None:
        """Bring the picture up to date."""
        with self.lock:
            land = self._landscape.at(tx)
            if land is not self._land:
                self._land = land
                self.live.put_machines(land.machines, self.now())
                self.live.put_rights(rights_of(land), self.now())
            if self._seq is None:
                self._read_all(tx)
            else:
                self._read_new(tx)
            self._hear(tx)
            self.live.settle(self.now())

    def decide(self) -> Plan:
        """What should happen now."""
        with self.lock:
            try:
                return self.live.decide(self.now())
            except BaseException:  # whatever it was: the next turn does not begin from where this one broke off
                self.live.is_stale = True
                raise

    def due_s(self) -> float | None:
        """Seconds until the first job that pauses may be placed."""
        with self.lock:
            return self.live.due_s(self.now())

    def way(self) -> dict[str, Json]:
        """Which way it goes, since when, and after how many endings that is tried anew."""
        forecast = self.live.forecast
        verdict, way = forecast.verdict or Verdict(), forecast.way
        since = datetime.fromtimestamp(verdict.since_s, UTC).isoformat() if verdict.way else None
        return {**way._asdict(), "since": since, "tried_after": verdict.ended, "next_after": verdict.due}

    def is_current(self, tx: Tx) -> bool:
        """Whether no node, queue or quota has changed since the last look."""
        return self._landscape.at(tx) is self._land

    def told(self, tx: Tx, job: Resource) -> tuple[list[Reason], tuple[int, int] | None]:
        """Why a queued job waits, and between which moments it probably starts, in microseconds since 1970.

        None: nobody can know. No decision waits for the computing, only while what it needs is copied.
        """
        with self.lock:
            self.sync(tx)
            if before := sorted(self._after.get(job.id, ())):
                words = f"it comes after {shorten(before)}"
                return [Reason(code="dependency", words=words, facts={"after": before})], None
            now = self.now()
            still = self.live.still(job.id, now)
        found = reasons(still, job.id, now)
        between = starts_between(still, job.id, found, now)
        return found, None if between is None else (round(between[0] * 1_000_000), round(between[1] * 1_000_000))

    def put(self, job: Resource, read: Callable[[Iterable[str]], Mapping[str, Resource]]) -> None:
        """Enter a job as it was read or stored.

        Args:
            read: gives jobs that come before it.
        """
        with self.lock:
            known = self.live.jobs.get(job.id)
            wants = known.wants if known else wants_of(job)
            if job.spec.get("after") and known is None and not job.is_final:
                before = read(job.spec["after"])
                wants = replace(wants, since_s=free_since(job, before))
                if job.state == State.QUEUED:
                    self._note_order(job, {id: each.state for id, each in before.items()})
            self.revisions[job.id] = job.revision
            self.live.put(wants, truth_of(job, self.now(), is_free=not self._after.get(job.id)), self.now())
            if job.state in FINAL:
                self._forget(job)

    def _note_order(self, job: Resource, states: Mapping[str, str]) -> None:
        """Remember which jobs come before one."""
        after = job.spec["after"]
        failed = next((id for id in after if states.get(id, State.FAILED) in FINAL - {State.DONE}), None)
        if failed is not None:
            self.doomed[job.id] = failed
        self._after[job.id] = {id for id in after if states.get(id) != State.DONE}
        for id in self._after[job.id]:
            self._followers.setdefault(id, set()).add(job.id)

    def _forget(self, job: Resource) -> None:
        """A job is over: who came after it may start, or never will."""
        self.revisions.pop(job.id, None)
        self.doomed.pop(job.id, None)
        for id in self._after.pop(job.id, ()):
            self._followers.get(id, set()).discard(job.id)
        for follower in self._followers.pop(job.id, ()):
            if job.state != State.DONE:
                self.doomed[follower] = job.id
                continue
            self._after[follower].discard(job.id)
            entry = self.live.jobs.get(follower)
            if not self._after[follower] and entry is not None and entry.truth.phase is Phase.PAUSED:
                self.live.put(entry.wants, Truth(phase=Phase.QUEUED), self.now())

    def _read_all(self, tx: Tx) -> None:
        self._seq = events.newest(tx)
        self.live.forget_all()
        for each in (self.revisions, self.doomed, self._after, self._followers):
            each.clear()
        alive = resources.alive(tx, "job", limit=MOST)
        self._recall(tx, alive)
        for job in alive:
            self.put(job, lambda ids: read_jobs(tx, ids))
        settle(len(alive))

    def _recall(self, tx: Tx, alive: Sequence[Resource]) -> None:
        """Let the forecast know what happened before this server started, once; and what it has not heard of since."""
        forecast = self.live.forecast
        if self._has_recalled:
            forecast.keep_only({job.id for job in alive})
            return
        self._has_recalled = True
        recall(forecast, remembered(tx, alive, self._clock.now()))

    def _hear(self, tx: Tx) -> None:
        """Take in what trials have said, whoever has made them."""
        if (text := verdicts.text(tx)) and text != self._verdict:
            self.live.forecast.go(verdicts.verdict_of(text))
            self._verdict = text

    def _read_new(self, tx: Tx) -> None:
        assert self._seq is not None
        newest = events.newest(tx)
        while self._seq < newest:
            found = events.subjects_after(tx, self._seq, kind="job", limit=PAGE)
            changed = {subject for _, subject in found}
            for job in resources.many(tx, sorted(changed)):
                if job.revision > self.revisions.get(job.id, 0):  # who asks why may look at an older moment
                    self.put(job, lambda ids: read_jobs(tx, ids))
            self._seq = found[-1][0] if len(found) == PAGE else newest


def read_jobs(tx: Tx, ids: Iterable[str]) -> dict[str, Resource]:
    """Jobs by their ids."""
    return {job.id: job for job in resources.many(tx, list(ids))}


def free_since(job: Resource, before: Mapping[str, Resource]) -> float:
    """Since when a job may run: its submit, or the end of the last of the jobs that come before it, if all are done."""
    ends = [each.status.get("ended_at") or 0 for each in before.values() if each.state == State.DONE]
    came = to_micros(job.created_at)
    return (max(came, *ends) if ends and len(ends) == len(set(job.spec["after"])) else came) / 1_000_000


def rights_of(land: Land) -> Rights:
    """Queues and quotas as the pool takes them."""
    quotas = {}
    for name, limit in land.quotas.items():
        of, _, who = name.partition(":")
        quotas[of, who] = limit
    return Rights(queues=land.queues, quotas=quotas)
