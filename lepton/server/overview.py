"""The pool at a glance: what there is, what is held, who waits. The cost of a look follows what has changed since."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lepton.core.clock import to_micros
from lepton.core.launch import Devices
from lepton.core.resource import Json, Resource
from lepton.jobs.life import HOLDS_DEVICES, State
from lepton.jobs.spec import JobSpec
from lepton.pool.quota import DEFAULT, DEVICES, Amounts, quota_name
from lepton.pool.shape import NOTHING
from lepton.pool.standing import read_state, wish_of
from lepton.pool.tree import line
from lepton.server.entitle import is_there
from lepton.server.known import Known
from lepton.server.landscape import devices_of, read_queues
from lepton.store import resources
from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A living job, as the pool sees it."""

    queue: str
    user: str
    workspace: str
    state: str
    since: int
    """When it came into its state, in microseconds."""
    places: tuple[tuple[str, Devices], ...]
    """(node, amount) of each worker that has its place."""

    @property
    def held(self) -> Devices:
        """All that it holds."""
        return total(amount for _, amount in self.places)


class Overview:
    """Keeps what it has read of living jobs; any thread may ask."""

    def __init__(self) -> None:
        self._held = Known(standing)
        self._waiting = Known(standing)

    def nodes(self, tx: Tx) -> list[Resource]:
        """Every node by name; its status says also what is `free` of it and how many `jobs` run there."""
        holding = self._alive(tx, self._held, sorted(HOLDS_DEVICES))
        return told_nodes(resources.alive(tx, "node"), holding)

    def look(self, tx: Tx, now: int) -> dict[str, Any]:
        """Devices, nodes, jobs, queues and quotas as numbers; `now` in microseconds."""
        holding = self._alive(tx, self._held, sorted(HOLDS_DEVICES))
        waiting = self._alive(tx, self._waiting, [State.QUEUED])
        nodes = resources.alive(tx, "node")
        return {
            "devices": device_totals(nodes, total(job.held for job in holding)),
            "nodes": dict(sorted(Counter(read_state(node.state) for node in nodes).items())),
            "jobs": dict(sorted(Counter(job.state for job in (*waiting, *holding)).items())),
            "queues": queue_rows(resources.alive(tx, "queue"), holding, waiting, now),
            "quotas": quota_rows(resources.alive(tx, "quota"), holding),
        }

    def queues(self, tx: Tx, now: int) -> list[dict[str, Any]]:
        """Each queue by name: `name`, `spec`, `revision`, and as `status` what it holds and who waits in it."""
        holding = self._alive(tx, self._held, sorted(HOLDS_DEVICES))
        waiting = self._alive(tx, self._waiting, [State.QUEUED])
        return queue_rows(resources.alive(tx, "queue"), holding, waiting, now)

    def quotas(self, tx: Tx) -> list[dict[str, Any]]:
        """Each quota by name: `name`, `spec`, `revision`, and as `status` what its user or workspace holds."""
        holding = self._alive(tx, self._held, sorted(HOLDS_DEVICES))
        return quota_rows(resources.alive(tx, "quota"), holding)

    def _alive(self, tx: Tx, known: Known[Standing], states: Sequence[str]) -> list[Standing]:
        return list(known.at(tx, resources.alive_revisions(tx, "job", states=states)).values())


def standing(job: Resource) -> Standing:
    """What the pool sees of a job."""
    spec = JobSpec.from_json(job.spec)
    places = zip(job.status.get("placement") or (), spec.ranks(), strict=False) if job.state in HOLDS_DEVICES else ()
    return Standing(
        queue=spec.queue or DEFAULT,
        user=job.status.get("user", ""),
        workspace=job.workspace,
        state=job.state,
        since=to_micros(job.updated_at),
        places=tuple((place["node"], role.devices) for place, (_, role) in places),
    )


def total(amounts: Iterable[Devices]) -> Devices:
    """The sum."""
    return sum(amounts, NOTHING)


def told_nodes(nodes: Iterable[Resource], holding: Iterable[Standing]) -> list[Resource]:
    """Nodes by name, as the door shows them."""
    held: dict[str, Devices] = {}
    jobs: Counter[str] = Counter()
    for job in holding:
        jobs.update({node for node, _ in job.places})
        for node, amount in job.places:
            held[node] = held.get(node, NOTHING) + amount
    return [told(node, held.get(node.name, NOTHING), jobs[node.name]) for node in sorted(nodes, key=lambda n: n.name)]


def told(node: Resource, held: Devices, jobs: int) -> Resource:
    """A node as the door shows it."""
    free = devices_of(node).minus(held)
    status: dict[str, Json] = {**node.status, "free": asdict(free), "jobs": jobs}
    return replace(node, state=read_state(node.state), spec={"wish": wish_of(node.spec).value}, status=status)


def device_totals(nodes: Iterable[Resource], held: Devices) -> dict[str, dict[str, int]]:
    """Device -> how much there is (`total`), is there now (`up`: on nodes that have not failed) and is held.

    Devices of which there is none are left out.
    """
    all_of = list(nodes)
    there = total(devices_of(node) for node in all_of)
    up = total(devices_of(node) for node in all_of if is_there(node))
    return {
        name: {"total": getattr(there, name), "up": getattr(up, name), "held": getattr(held, name)}
        for name in DEVICES
        if getattr(there, name)
    }


def queue_rows(
    rows: Sequence[Resource], holding: Sequence[Standing], waiting: Sequence[Standing], now: int
) -> list[dict[str, Any]]:
    """Each queue with what it holds, its children's included, and who waits in it."""
    queues = read_queues(rows)
    revisions = {row.name: row.revision for row in rows}
    held: dict[str, Devices] = {}
    jobs: Counter[str] = Counter()
    for job in holding:
        amount = job.held
        for name in line(queues, job.queue):
            held[name] = held.get(name, NOTHING) + amount
            jobs[name] += 1
    waits: dict[str, list[int]] = {}
    for job in waiting:
        waits.setdefault(job.queue, []).append(job.since)
    return [
        {
            "name": name,
            "spec": spec.to_json(),
            "revision": revisions.get(name, 0),
            "status": {
                "held": named(held.get(name, NOTHING)),
                "jobs": jobs[name],
                "waiting": len(waits.get(name, ())),
                "longest_wait_s": max(0.0, (now - min(waits[name])) / 1_000_000) if name in waits else 0.0,
            },
        }
        for name, spec in queues.items()
    ]


def quota_rows(rows: Sequence[Resource], holding: Sequence[Standing]) -> list[dict[str, Any]]:
    """Each quota with what its user or workspace holds."""
    held: dict[str, Devices] = {}
    for job in holding:
        for name in (quota_name("user", job.user), quota_name("workspace", job.workspace)):
            held[name] = held.get(name, NOTHING) + job.held
    return [
        {
            "name": row.name,
            "spec": dict(row.spec),
            "revision": row.revision,
            "status": {"held": named(held.get(row.name, NOTHING))},
        }
        for row in sorted(rows, key=lambda row: row.name)
    ]


def named(devices: Devices) -> Amounts:
    """Device -> amount, of what is not 0."""
    return {name: getattr(devices, name) for name in DEVICES if getattr(devices, name)}
