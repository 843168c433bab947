"""The jobs loop: what was placed is started, what runs is watched, what should end is ended.

A turn of one job is load -> think (`jobs.gang.think`, pure) -> act on the engine -> commit, guarded by the lease and
the revision it was loaded at. Acting twice is harmless: an engine starts a key once. So a crash between any two steps
only means that the next start of the server takes the same step again.
"""

import logging
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import LeptonError, NotFoundError, StaleError, UnavailableError
from lepton.core.resource import Resource
from lepton.engine.base import Engine
from lepton.jobs.gang import Surroundings, Turn, keys, needs_surroundings, refuse, requeue, think
from lepton.jobs.life import HOLDS_DEVICES
from lepton.jobs.preload import AHEAD
from lepton.jobs.spec import JobSpec
from lepton.server.lease import STANDBY_S, Lease
from lepton.server.runs import end_run
from lepton.store import resources
from lepton.store.database import Database, Tx

log = logging.getLogger("lepton.server")
KEY = re.compile(r"(?P<job>[a-z]+_[0-9A-Za-z]+)\.(?P<generation>[0-9]+)\.(?P<rank>[0-9]+)(?:\.[0-9]+)?")
MOST_AT_ONCE = 32
"""Jobs stepped in one turn."""

Identity = Callable[[Tx, Resource, JobSpec], Mapping[str, str]]
"""Gives the variables that say who a job's workers are and where the server is."""


class Running:
    """Drives placed, running and stopping jobs."""

    def __init__(self, database: Database, engine: Engine, *, clock: Clock, lease: Lease, identity: Identity) -> None:
        self._database = database
        self._engine = engine
        self._clock = clock
        self._lease = lease
        self._identity = identity
        self._lock = Lock()
        self._dirty: dict[str, None] = {}
        """In the order in which something happened to them: none waits for ever behind others."""
        self._sweep_at = float("-inf")
        self._is_sure = False
        """Whether nothing but events can have changed what a queued job needs."""
        self.sweep_s = 5.0

    def touch(self, job: str) -> None:
        """Something happened to this job: look at it in the next turn. From any thread."""
        with self._lock:
            self._dirty.setdefault(job)

    def turn(self) -> float | None:
        """Step every job that something happened to; every few seconds, every living job."""
        if not self._lease.hold():
            self._is_sure = False
            return STANDBY_S
        if self._clock.monotonic() >= self._sweep_at:
            self._sweep()
        for id in self._take():
            self._step_safely(id)
        return 0.0 if self._dirty else None

    def _sweep(self) -> None:
        """Touch every job that has workers; at first, and after a fault, every living one."""
        states = sorted(HOLDS_DEVICES) if self._is_sure else []
        for job in self._database.read(lambda tx: resources.alive(tx, "job", states=states)):
            self.touch(job.id)
        self._sweep_at, self._is_sure = self._clock.monotonic() + self.sweep_s, True

    def _take(self) -> list[str]:
        """Some of the touched jobs, first come first: few enough that a shutdown need not wait long for the turn."""
        with self._lock:
            ids = list(self._dirty)[:MOST_AT_ONCE]
            for id in ids:
                del self._dirty[id]
        return ids

    def _step_safely(self, id: str) -> None:
        try:
            self.step(id)
        except StaleError:
            self.touch(id)
        except LeptonError as fault:
            self._is_sure = False
            log.error("job %s: %s", id, fault)

    def step(self, id: str) -> None:
        """One turn of one job."""
        job = self._database.read(lambda tx: _find(tx, id))
        if job is None or job.is_final:
            return
        turn = self._act(self._think(job), job)
        if turn.event is not None:
            self._database.write(lambda tx: self._commit(tx, turn, job))

    def _think(self, job: Resource) -> Turn:
        spec = JobSpec.from_json(job.spec)
        seen = [self._engine.look(key) for key in keys(job, spec.size)] if job.state in HOLDS_DEVICES else []
        try:
            around = self._around(job, spec) if needs_surroundings(job, spec, seen) else Surroundings()
        except UnavailableError:
            raise
        except LeptonError as fault:  # a secret is gone, or does not open: no later turn could do better
            return refuse(job, why=str(fault), at=self._clock.now())
        return think(job, spec, seen, at=self._clock.now(), around=around)

    def _act(self, turn: Turn, job: Resource) -> Turn:
        try:
            for launch in turn.starts:
                self._engine.start(launch)
        except LeptonError as fault:  # all or nothing: what has been started of the gang is taken back
            for launch in turn.starts:
                self._engine.stop(launch.key, grace_s=0)
            return requeue(job, why=str(fault), at=self._clock.now())
        if turn.starts and (ahead := AHEAD.get(job.spec.get("stage", ""))):
            self._engine.warm(ahead)
        for key in turn.stops:
            self._engine.stop(key, grace_s=turn.grace_s)
        return turn

    def _commit(self, tx: Tx, turn: Turn, job: Resource) -> None:
        self._lease.check(tx)
        assert turn.event is not None
        current = resources.get(tx, job.id)
        changes = {name: value for name, value in turn.job.status.items() if job.status.get(name) != value}
        moved = replace(turn.job, status={**current.status, **changes})
        resources.update(tx, moved, turn.event, expected=job.revision)
        if turn.job.is_final:
            end_run(tx, turn.job)

    def _around(self, job: Resource, spec: JobSpec) -> Surroundings:
        addresses = {facts.name: facts.address for facts in self._engine.nodes()}
        env = self._database.read(lambda tx: self._identity(tx, job, spec))
        return Surroundings(env=env, addresses=addresses, port=free_port() if spec.size > 1 else 0)

    def collect(self, keep_s: float) -> None:
        """End and forget what runs or lies here though no job wants it."""
        now = to_micros(self._clock.now())
        for key in list(self._engine.keys()):
            found = KEY.fullmatch(key)
            if found is None:  # not ours
                continue
            id, generation = found["job"], int(found["generation"])
            job = self._database.read(lambda tx, id=id: _find(tx, id))  # type: ignore[misc]
            if job is None or generation < job.status.get("generation", 0) or job.is_final:
                self._engine.stop(key, grace_s=0)
            ended = now if job is None else job.status.get("ended_at", now)
            if job is None or (job.is_final and now - ended > keep_s * 1_000_000):
                self._engine.forget(key)


def _find(tx: Tx, id: str) -> Resource | None:
    try:
        return resources.get(tx, id, kind="job")
    except NotFoundError:
        return None


def free_port() -> int:
    """A TCP port that was free a moment ago; if somebody takes it first, the gang fails and is placed again."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
