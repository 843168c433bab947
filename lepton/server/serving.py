"""The endpoints loop: an endpoint that is wished for has a job that answers; one that is not, has none.

starting -> ready <-> starting (its gang is being started again)
    |         |
    +---------+--> failed | stopping -> deleted

A gang with an earlier wish answers until one with the present wish does, where both can be: meanwhile it is `ready`
with the earlier `spec` in its status, or `failed` with an address if the new one does not start.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from lepton.core.clock import Clock
from lepton.core.errors import LeptonError, StaleError, UnavailableError
from lepton.core.resource import Json, Resource
from lepton.jobs.life import State
from lepton.pool.standing import NodeState
from lepton.serve.plan import plan
from lepton.serve.spec import EndpointSpec
from lepton.server.lease import STANDBY_S, Lease
from lepton.server.moving import ROOM_S, Step, answers, leave, next_step, predecessor
from lepton.server.placing import for_whom
from lepton.server.submit import Author, changed, submit
from lepton.store import catalog, resources
from lepton.store.database import Database, Tx

log = logging.getLogger("lepton.server")
ACTOR = "loop:serving"
NEXT: dict[str, set[str]] = {
    "starting": {"ready", "failed", "stopping", "deleted"},
    "ready": {"starting", "failed", "stopping"},
    "failed": {"starting", "ready", "stopping", "deleted"},
    "stopping": {"deleted"},
    "deleted": set(),
}


class Serving:
    """Keeps every endpoint as its spec says."""

    def __init__(self, database: Database, *, clock: Clock, lease: Lease) -> None:
        self._database = database
        self._clock = clock
        self._lease = lease
        self._has_pair = False
        """An endpoint has a gang that goes on until its successor answers."""

    def turn(self) -> float | None:
        """Step every living endpoint."""
        if not self._lease.hold():
            return STANDBY_S
        self._has_pair = False
        for endpoint in self._database.read(lambda tx: resources.alive(tx, "endpoint")):
            try:
                self._database.write(lambda tx, endpoint=endpoint: self.step(tx, endpoint))  # type: ignore[misc]
            except StaleError:
                log.debug("endpoint %s: changed meanwhile", endpoint.id)
            except UnavailableError as fault:
                log.error("endpoint %s: %s", endpoint.name, fault)
            except LeptonError as fault:
                self._tell(endpoint, fault)
        return ROOM_S if self._has_pair else None

    def _tell(self, endpoint: Resource, fault: LeptonError) -> None:
        """Note on the endpoint why its job cannot be submitted; the next turn tries again."""
        log.error("endpoint %s: %s", endpoint.name, fault)
        with suppress(LeptonError):
            self._database.write(lambda tx: self._note(tx, endpoint, str(fault)))

    def step(self, tx: Tx, endpoint: Resource) -> None:
        """One turn of one endpoint; only the database is touched: its job does the rest."""
        self._lease.check(tx)
        owned = resources.owned(tx, endpoint.id, kind="job")
        jobs = [job for job in owned if not job.is_final]
        wanted = None if endpoint.spec.get("is_deleted") else endpoint.spec["endpoint"]
        fits = [job for job in jobs if wanted is not None and _is_as(job, wanted)]
        old = [job for job in jobs if job not in fits]
        stays = None if wanted is None else predecessor(old, fits, wanted, self._clock.now())
        for job in old:
            if job is not stays:
                self._stop(tx, job, endpoint)
        if wanted is None:
            self._move(tx, endpoint, "stopping" if jobs else "deleted", "deleted by request")
        elif stays is not None:
            self._succeed(tx, endpoint, stays, [*fits, *owned])
        elif fits:
            self._keep(tx, endpoint, fits, owned[0])
        elif not jobs:
            self._begin(tx, endpoint)

    def _succeed(self, tx: Tx, endpoint: Resource, job: Resource, owned: Sequence[Resource]) -> None:
        """Have a job with the present wish beside one with an earlier wish, which answers until the new one does.

        Args:
            owned: the newest job with the present wish first, if one lives.
        """
        wanted, newest, at = endpoint.spec["endpoint"], owned[0], job.status["address"]
        if newest.state == State.FAILED and _is_as(newest, wanted):
            told = f"{_why_failed(newest)}; what it was before still answers at {at}"
            self._move(tx, endpoint, "failed", told, job=newest.id, spec=wanted)
            return
        self._has_pair = True
        if newest.is_final or not _is_as(newest, wanted):
            self._submit(tx, endpoint)
        self._follow(tx, endpoint, job)

    def _keep(self, tx: Tx, endpoint: Resource, jobs: Sequence[Resource], newest: Resource) -> None:
        """Follow the job that answers; move it off nodes that are drained, its successor first where that can be."""
        job = next((one for one in jobs if one.id == endpoint.status.get("job")), jobs[0])
        others = [one for one in jobs if one.id != job.id and one.spec.get("stop_grace_s") is None]
        drained, at = _drained(tx, job), self._clock.now()
        step = next_step(job, others, newest, drained=drained, at=at)
        if step is Step.BEGIN:
            self._submit(tx, endpoint)
        if step is Step.SWITCH:
            job, others = others[0], [job, *others[1:]]
        if step in (Step.STAY, Step.SWITCH, Step.LEAVE):
            for other in others:
                self._stop(tx, other, endpoint)
        if step is Step.LEAVE:
            moved, event = leave(job, drained[0], at)
            job = resources.update(tx, moved, event, expected=job.revision)
        self._follow(tx, endpoint, job)

    def _begin(self, tx: Tx, endpoint: Resource) -> None:
        ended = resources.owned(tx, endpoint.id, kind="job")
        if ended and ended[0].state == State.FAILED and _is_as(ended[0], endpoint.spec["endpoint"]):
            wanted = endpoint.spec["endpoint"]
            self._move(tx, endpoint, "failed", _why_failed(ended[0]), job=ended[0].id, address="", spec=wanted)
            return
        job = self._submit(tx, endpoint)
        self._move(tx, endpoint, "starting", f"job {job.id}", job=job.id, address="")

    def _submit(self, tx: Tx, endpoint: Resource) -> Resource:
        spec = plan(EndpointSpec.from_json(endpoint.spec["endpoint"]), endpoint=endpoint.id, name=endpoint.name)
        author = Author(actor=ACTOR, workspace=endpoint.workspace, at=self._clock.now())
        return submit(tx, spec, name=f"serve-{endpoint.name}", author=author, owner=endpoint.id)

    def _follow(self, tx: Tx, endpoint: Resource, job: Resource) -> None:
        if answers(job):
            address = str(job.status["address"])
            wanted = endpoint.spec["endpoint"]
            served = wanted if _is_as(job, wanted) else job.spec["params"]["spec"]
            is_told = endpoint.status.get("spec") == served and "serves" in endpoint.status
            serves = endpoint.status["serves"] if is_told else _named(tx, served)
            told = {"job": job.id, "address": address, "spec": served, "serves": serves}
            self._move(tx, endpoint, "ready", f"answers at {address}", **told)
        else:
            self._move(tx, endpoint, "starting", whereabouts(job), job=job.id, address="")

    def _stop(self, tx: Tx, job: Resource, endpoint: Resource) -> None:
        if job.spec.get("stop_grace_s") is not None:
            return
        author = Author(actor=ACTOR, workspace=job.workspace, at=self._clock.now())
        stopped = replace(job, spec={**job.spec, "stop_grace_s": job.spec["grace_s"]}, updated_at=author.at)
        event = changed(job, "stop", author, f"endpoint {endpoint.name} no longer wants it")
        resources.update(tx, stopped, event, expected=job.revision)

    def _note(self, tx: Tx, endpoint: Resource, why: str) -> None:
        if endpoint.status.get("why") != why:
            author = Author(actor=ACTOR, workspace=endpoint.workspace, at=self._clock.now())
            told = replace(endpoint, status={**endpoint.status, "why": why}, updated_at=author.at)
            resources.update(tx, told, changed(endpoint, "waits", author, why), expected=endpoint.revision)

    def _move(self, tx: Tx, endpoint: Resource, to: str, why: str, **status: Json) -> None:
        is_same = endpoint.state == to and all(endpoint.status.get(name) == value for name, value in status.items())
        if is_same or (to != endpoint.state and to not in NEXT[endpoint.state]):
            return
        at = self._clock.now()
        moved = replace(
            endpoint,
            state=to,
            status={**endpoint.status, **status, "why": why},
            is_final=to == "deleted",
            updated_at=at,
        )
        author = Author(actor=ACTOR, workspace=endpoint.workspace, at=at)
        event = changed(endpoint, f"{endpoint.state}->{to}", author, why)
        resources.update(tx, moved, event, expected=endpoint.revision)


def _named(tx: Tx, spec: Mapping[str, Json]) -> str:
    """What is served, as its users call it; empty: nothing is, or it is not there any more."""
    id = str(spec.get("model") or spec.get("code") or "")
    return "".join(f"{version.name}@{version.number}" for version in catalog.many(tx, [id] if id else []))


def _is_as(job: Resource, wanted: Mapping[str, Json]) -> bool:
    """Whether a job is of that wish; one that was written by an earlier release has fields less."""
    told = job.spec["params"]["spec"]
    return bool(told == wanted) or EndpointSpec.from_json(told) == EndpointSpec.from_json(wanted)


def _why_failed(job: Resource) -> str:
    return str(job.status.get("ending", {}).get("detail", "")) or "its job failed"


def _drained(tx: Tx, job: Resource) -> list[str]:
    """The nodes of a job that are drained."""
    draining = {node.name for node in resources.alive(tx, "node", states=(NodeState.DRAINING,))}
    return sorted({place["node"] for place in job.status.get("placement") or ()} & draining)


def whereabouts(job: Resource) -> str:
    """Why the job of an endpoint does not answer, in words, reasons of the pool aside."""
    stopped = job.status.get("preempted") or job.status.get("stopped_for") or {}
    if stopped and job.state in (State.STOPPING, State.QUEUED):
        cause = (
            f"to make room for {for_whom(stopped)}" if stopped.get("by") else f"as {stopped['node']} is being drained"
        )
        return f"it was stopped {cause}, and waits for its places again"
    return "it waits for its places" if job.state == State.QUEUED else f"its job is {job.state}"
