"""The placing loop: queued jobs get their nodes. All deciding is `pool.placement.decide`'s."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lepton.core.clock import Clock, to_micros
from lepton.core.launch import Devices
from lepton.core.resource import Resource
from lepton.jobs.life import HOLDS_DEVICES, State, move
from lepton.jobs.retry import MAX_PAUSE_S
from lepton.jobs.spec import JobSpec
from lepton.pool.node import Node
from lepton.pool.placement import Ask, Place, Plan, Snapshot, decide
from lepton.server.lease import STANDBY_S, Lease
from lepton.store import resources
from lepton.store.database import Database, Tx

WINDOW = 256
"""Queued jobs that may be placed in one turn, oldest first."""
MOST_QUEUED = 16 * WINDOW
"""Queued jobs looked at for them: so many may pause before a retry and keep nobody else waiting."""


Holding = tuple[str, Devices, Sequence[int]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job as the loop keeps it."""

    ask: Ask
    not_before: int
    """The end of its pause before a retry, in microseconds; 0 if it has none."""
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """What one turn looks at."""

    snapshot: Snapshot
    revisions: dict[str, int]
    """Of the jobs in the snapshot."""
    due_s: float | None = None
    """Seconds until the first job that pauses before a retry may be placed."""


class Placing:
    """Moves jobs from queued to placed."""

    def __init__(self, database: Database, *, clock: Clock, lease: Lease, patience_s: float) -> None:
        self._database = database
        self._clock = clock
        self._lease = lease
        self._patience_s = patience_s
        self._holdings = Holdings()
        self._waiting = Known(waiting)

    def turn(self) -> float | None:
        """Place what fits now; return the seconds until the next job may be tried again."""
        if not self._lease.hold():
            return STANDBY_S
        queue = self._database.read(self.look)
        plan = decide(queue.snapshot)
        if plan.starts:
            self._database.write(lambda tx: self._commit(tx, queue, plan))
        return queue.due_s

    def look(self, tx: Tx, *, even_if_full: bool = False) -> Queue:
        """The nodes with what is free, and the queue: left out where nothing is free, unless `even_if_full`."""
        nodes = self._holdings.free_nodes(tx)
        now = to_micros(self._clock.now())
        if not even_if_full and not any(node.is_up and node.free.cpu_milli for node in nodes):
            return Queue(Snapshot(nodes=nodes, queue=()), {})
        asks: list[Ask] = []
        pauses: list[float] = []
        revisions: dict[str, int] = {}
        for limit in (WINDOW, MOST_QUEUED):  # further than the window only where some of it cannot be placed
            revisions = resources.alive_revisions(tx, "job", states=[State.QUEUED], limit=limit)
            wanted = [job for job in self._waiting.at(tx, revisions).values() if not job.is_stopping]
            left = [(job.ask, pause_left_s(job.not_before, now)) for job in wanted]
            asks = [ask for ask, left_s in left if not left_s][:WINDOW]
            pauses = [left_s for _, left_s in left if left_s]
            if len(asks) == WINDOW or len(revisions) < limit:
                break
        snapshot = Snapshot(nodes=nodes, queue=asks, now_s=now / 1_000_000, patience_s=self._patience_s)
        due_s = min(pauses) + 0.001 if pauses else None
        return Queue(snapshot, {ask.job: revisions[ask.job] for ask in asks}, due_s)

    def _commit(self, tx: Tx, queue: Queue, plan: Plan) -> None:
        self._lease.check(tx)
        at = self._clock.now()
        for id, places in plan.starts.items():
            job = resources.get(tx, id)
            if job.revision != queue.revisions[id]:
                continue
            names = sorted({place.node for place in places})
            moved, event = move(
                job, State.PLACED, why=f"on {', '.join(names)}", at=at, actor="loop:placing", placement=as_json(places)
            )
            resources.update(tx, moved, event, expected=job.revision)


def pause_left_s(not_before: int, now: int) -> float:
    """Seconds that a job still pauses before a retry, from times in microseconds; 0 if it may be placed.

    A pause longer than any that is given was given before the clock was set back: it is over.
    """
    left_s = (not_before - now) / 1_000_000
    return left_s if 0 < left_s <= MAX_PAUSE_S else 0.0


def waiting(job: Resource) -> Waiting:
    """What the loop must know of a queued job."""
    workers = tuple(role.devices for _, role in JobSpec.from_json(job.spec).ranks())
    ask = Ask(job=job.id, workers=workers, since_s=to_micros(job.created_at) / 1_000_000)
    return Waiting(ask, job.status.get("not_before", 0), job.spec.get("stop_grace_s") is not None)


class Known(Generic[T]):
    """What is made of resources, kept by their revision: one is read again only when it has changed."""

    def __init__(self, make: Callable[[Resource], T]) -> None:
        self._make = make
        self._known: dict[str, tuple[int, T]] = {}

    def at(self, tx: Tx, revisions: Mapping[str, int]) -> dict[str, T]:
        """What is made of each of these, in their order; the rest is forgotten. Any thread may ask."""
        known = {id: at for id, at in self._known.items() if at[0] == revisions.get(id)}
        new = [id for id in revisions if id not in known]
        known |= {job.id: (job.revision, self._make(job)) for job in resources.many(tx, new)}
        self._known = known
        return {id: known[id][1] for id in revisions if id in known}


class Holdings:
    """What living jobs hold of each node."""

    def __init__(self) -> None:
        self._held = Known(holdings)

    def free_nodes(self, tx: Tx) -> list[Node]:
        """Every node with what no living job holds."""
        revisions = resources.alive_revisions(tx, "job", states=sorted(HOLDS_DEVICES))
        nodes = [node(row) for row in resources.alive(tx, "node")]
        by_node: dict[str, list[Holding]] = {each.name: [] for each in nodes}
        for held in self._held.at(tx, revisions).values():
            for holding in held:
                by_node.setdefault(holding[0], []).append(holding)
        return [_without(each, by_node[each.name]) for each in nodes]


def holdings(job: Resource) -> list[Holding]:
    """What a placed job holds: (node, amount, GPUs) of each worker."""
    ranks = JobSpec.from_json(job.spec).ranks()
    places = zip(job.status.get("placement") or (), ranks, strict=False)
    return [(place["node"], role.devices, place["gpus"]) for place, (_, role) in places]


def node(row: Resource) -> Node:
    """A node from its resource, empty."""
    total = Devices(**row.status["devices"])
    return Node(
        name=row.name,
        total=total,
        free=total,
        free_gpus=tuple(range(total.gpu_milli // 1000)),
        is_up=row.state == "up",
        labels=row.status.get("labels", {}),
    )


def _without(whole: Node, held: Sequence[Holding]) -> Node:
    """The node with what nobody holds."""
    amount = Devices(
        cpu_milli=sum(holding[1].cpu_milli for holding in held),
        gpu_milli=sum(holding[1].gpu_milli for holding in held),
        memory_bytes=sum(holding[1].memory_bytes for holding in held),
    )
    taken = {gpu for holding in held for gpu in holding[2]}
    free_gpus = tuple(gpu for gpu in whole.free_gpus if gpu not in taken)
    return replace(whole, free=whole.free.minus(amount), free_gpus=free_gpus)


def as_json(places: Sequence[Place]) -> list[dict[str, object]]:
    """A placement as a job's status holds it."""
    return [{"node": place.node, "gpus": list(place.gpus)} for place in places]
