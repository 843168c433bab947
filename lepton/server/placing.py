"""The placing loop: queued jobs get their nodes, and running ones make room. All deciding is the pool's.

A turn is sync (what has changed) -> decide (pure) -> commit, guarded by the lease, the revision of each job and the
state of the nodes: what has changed since the look is left out and thought again in the next turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import StaleError
from lepton.core.event import Event
from lepton.core.resource import Json, Resource
from lepton.jobs.gang import grace_of
from lepton.jobs.life import HOLDS_DEVICES, State, happened, move
from lepton.jobs.priority import PRIORITIES
from lepton.jobs.spec import JobSpec
from lepton.pool.live.views import Place, Plan, Reason, Stop
from lepton.pool.policy import LIVE, Policy
from lepton.pool.quota import DEFAULT
from lepton.pool.tree import longest_grace_s
from lepton.server.lease import STANDBY_S, Lease
from lepton.server.mirror import Mirror
from lepton.store import resources
from lepton.store.database import Database, Tx

ACTOR = "loop:placing"
AT_ONCE = 256
"""Jobs that one transaction starts."""
STOPPABLE = (State.PLACED, State.RUNNING)


class Placing:
    """Moves jobs from queued to placed, and from running to stopping where others need their place."""

    def __init__(
        self, database: Database, *, clock: Clock, lease: Lease, policy: Policy = LIVE, has_trees: bool = False
    ) -> None:
        self.mirror = Mirror(policy, clock=clock, has_trees=has_trees)
        self._database = database
        self._clock = clock
        self._lease = lease
        self._has_lease = False

    @property
    def is_deciding(self) -> bool:
        """Whether this server decided at its last turn, and no other."""
        return self._has_lease

    def check(self, tx: Tx) -> None:
        """Refuse a transaction if another server decides by now (StaleError)."""
        self._lease.check(tx)

    def turn(self) -> float | None:
        """Carry out what should happen now; return the seconds until the next turn is due."""
        holds, held_before = self._lease.hold(), self._has_lease
        self._has_lease = holds
        if held_before and not holds:
            self.mirror.reset()
        self._database.read(self.mirror.sync)
        if not holds:
            return STANDBY_S
        plan = self.mirror.decide()
        if plan.starts or plan.stops or self.mirror.doomed:
            self._carry_out(plan)
        return 0.0 if len(plan.starts) > AT_ONCE else self.mirror.due_s()

    def why(self, tx: Tx, job: Resource) -> list[Reason]:
        """Why a queued job waits, the most important reason first."""
        return self.mirror.told(tx, job)[0]

    def _carry_out(self, plan: Plan) -> None:
        """Store what the plan says of jobs that are as they were when it was made; the pool learns what was stored."""
        starts = dict(islice(plan.starts.items(), AT_ONCE))
        ids = [*starts, *(stop.job for stop in plan.stops), *self.mirror.doomed]
        self._database.write(lambda tx: self._commit(tx, starts, plan.stops))
        with self.mirror.lock:  # or who asks why takes in what has happened since, and what is read here comes after it
            for job in self._database.read(lambda tx: resources.many(tx, ids)):
                self.mirror.put(job, lambda _: {})

    def _commit(self, tx: Tx, starts: dict[str, tuple[Place, ...]], stops: Sequence[Stop]) -> None:
        self._lease.check(tx)
        if not self.mirror.is_current(tx):
            raise StaleError("Nodes or queues have changed since the pool was looked at", fix="It is looked at again.")
        ids = [*starts, *(stop.job for stop in stops), *self.mirror.doomed]
        jobs = {job.id: job for job in resources.many(tx, ids) if job.revision == self.mirror.revisions.get(job.id)}
        moves = [self._start(jobs[id], places) for id, places in starts.items() if id in jobs]
        moves += [self._stop(jobs[stop.job], stop) for stop in stops if stop.job in jobs]
        moves += [self._fail(jobs[id], before) for id, before in self.mirror.doomed.items() if id in jobs]
        made = [each for each in moves if each is not None]
        for job, event in made:
            resources.update(tx, job, event, expected=job.revision)

    def _start(self, job: Resource, places: Sequence[Place]) -> tuple[Resource, Event] | None:
        if job.state != State.QUEUED:
            return None
        at, names = self._clock.now(), sorted({place.node for place in places})
        status: dict[str, Json] = {"placement": as_json(places), "placed_at": to_micros(at)}
        return move(job, State.PLACED, why=f"on {', '.join(names)}", at=at, actor=ACTOR, **status)

    def _stop(self, job: Resource, stop: Stop) -> tuple[Resource, Event] | None:
        most_s = longest_grace_s(self.mirror.live.rights.queues, job.spec.get("queue") or DEFAULT) if stop.by else None
        if job.state == State.STOPPING or job.spec.get("stop_grace_s") is not None:
            return self._hurry(job, stop, most_s)
        if job.state not in STOPPABLE:
            return None
        preempted = {"by": stop.by, "node": stop.node, **self._rights(stop.by)}
        why = f"makes room for {for_whom(preempted)}, which goes first" if stop.by else f"{stop.node} is being drained"
        return move(
            job, State.STOPPING, why=why, at=self._clock.now(), actor=ACTOR, preempted=preempted, most_grace_s=most_s
        )

    def _hurry(self, job: Resource, stop: Stop, most_s: float | None) -> tuple[Resource, Event] | None:
        """One that ends already, and may take long over it, gets no more time than if it were stopped for another."""
        if (
            most_s is None
            or job.state not in HOLDS_DEVICES
            or grace_of(job.status, JobSpec.from_json(job.spec)) <= most_s
        ):
            return None
        at = self._clock.now()
        hurried = replace(job, status={**job.status, "most_grace_s": most_s}, updated_at=at)
        why = f"its place is wanted by {stop.by}: it has {most_s:g} s to end"
        return hurried, happened(hurried, "hurried", why=why, at=at, actor=ACTOR)

    def _rights(self, id: str) -> dict[str, str]:
        """The priority and the queue of a job that waits."""
        entry = self.mirror.live.jobs.get(id)
        return {} if entry is None else {"priority": PRIORITIES[entry.wants.rank], "queue": entry.wants.queue}

    def _fail(self, job: Resource, before: str) -> tuple[Resource, Event] | None:
        if job.state != State.QUEUED:
            return None
        at, why = self._clock.now(), f"{before}, after which it was to start, has not ended well"
        return move(job, State.FAILED, why=why, at=at, actor=ACTOR, ended_at=to_micros(at))


def for_whom(stopped: Mapping[str, str]) -> str:
    """For which job one was stopped, in words."""
    rights = f" ({stopped['priority']} in queue {stopped['queue']})" if stopped.get("priority") else ""
    return f"{stopped['by']}{rights}"


def as_json(places: Sequence[Place]) -> list[dict[str, object]]:
    """A placement as a job's status holds it."""
    return [{"node": place.node, "gpus": list(place.gpus)} for place in places]


def policy_of(*, patience_s: float, min_run_s: float, reclaim_s: float) -> Policy:
    """Our policy with a server's settings."""
    return replace(LIVE, wait_cap_s=patience_s, shared_cap_s=patience_s, min_run_s=min_run_s, grace_s=reclaim_s)
