"""The placing loop: queued jobs get their nodes. All deciding is `pool.placement.decide`'s."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
"""Queued jobs looked at in one turn, oldest first."""


Holding = tuple[str, Devices, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Queue:
    """What one turn looks at."""

    jobs: dict[str, Resource]
    snapshot: Snapshot
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
            return Queue({}, Snapshot(nodes=nodes, queue=()))
        queued = resources.alive(tx, "job", states=[State.QUEUED], limit=WINDOW)
        wanted = [job for job in queued if job.spec.get("stop_grace_s") is None]
        pauses = {job.id: pause_left_s(job, now) for job in wanted}
        jobs = {job.id: job for job in wanted if not pauses[job.id]}
        asks = [ask(job, now) for job in jobs.values()]
        later = [pause_s for pause_s in pauses.values() if pause_s]
        due_s = min(later) + 0.001 if later else None
        return Queue(jobs, Snapshot(nodes=nodes, queue=asks, patience_s=self._patience_s), due_s)

    def _commit(self, tx: Tx, queue: Queue, plan: Plan) -> None:
        self._lease.check(tx)
        at = self._clock.now()
        for id, places in plan.starts.items():
            job = queue.jobs[id]
            if resources.get(tx, id).revision != job.revision:
                continue
            names = sorted({place.node for place in places})
            moved, event = move(
                job, State.PLACED, why=f"on {', '.join(names)}", at=at, actor="loop:placing", placement=as_json(places)
            )
            resources.update(tx, moved, event, expected=job.revision)


def pause_left_s(job: Resource, now: int) -> float:
    """Seconds that the job still pauses before a retry; 0 if it may be placed.

    A pause longer than any that is given was given before the clock was set back: it is over.
    """
    left_s = (job.status.get("not_before", 0) - now) / 1_000_000
    return left_s if 0 < left_s <= MAX_PAUSE_S else 0.0


def ask(job: Resource, now: int) -> Ask:
    """A queued job as placement sees it."""
    spec = JobSpec.from_json(job.spec)
    workers = tuple(role.devices for _, role in spec.ranks())
    return Ask(job=job.id, workers=workers, waited_s=(now - to_micros(job.created_at)) / 1_000_000)


class Holdings:
    """What living jobs hold of each node; a job is read again only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, list[Holding]]] = {}

    def free_nodes(self, tx: Tx) -> list[Node]:
        """Every node with what no living job holds."""
        revisions = resources.alive_revisions(tx, "job", states=sorted(HOLDS_DEVICES))
        known = {id: self._known[id] for id, revision in revisions.items() if self._known.get(id, (0,))[0] == revision}
        for job in resources.many(tx, sorted(revisions.keys() - known.keys())):
            known[job.id] = (job.revision, holdings(job))
        self._known = known
        nodes = [node(row) for row in resources.alive(tx, "node")]
        by_node: dict[str, list[Holding]] = {each.name: [] for each in nodes}
        for _, held in known.values():
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
