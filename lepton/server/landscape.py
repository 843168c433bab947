"""What every submission is held against: nodes, queues and quotas. What has changed is read again, and nothing else."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from lepton.core.launch import Devices
from lepton.core.resource import Resource
from lepton.pool.quota import DEFAULT, DEVICES, Amounts, QueueSpec, QuotaSpec, quota_name
from lepton.pool.shape import Bound, Machine, given_of, unused_of
from lepton.pool.standing import NodeState, read_state
from lepton.pool.tree import line
from lepton.store import events, resources
from lepton.store.database import Tx

MOST_NEWS = 1000
"""Changes that are read one by one; after more all is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """Nodes, queues and quotas at one moment."""

    machines: Sequence[Machine]
    alike: Mapping[tuple[Devices, str], int]
    """(all that it has, its state) -> how many nodes are so."""
    queue_rows: Sequence[Resource]
    """Those that were made."""
    quota_rows: Sequence[Resource]
    queues: Mapping[str, QueueSpec]
    """By name; that of jobs which name none is always among them."""
    quotas: Mapping[str, Amounts]
    """`user:ada` -> the most that may be held."""
    highest: Mapping[str, str]
    """`queue:ml`, `user:ada` or `workspace:lab` -> the highest priority that its jobs may have, where one is set."""

    @property
    def is_open(self) -> bool:
        """Whether work may go to every node."""
        return all(state == NodeState.UP for _, state in self.alike)

    def bounds(self, queue: str, *, user: str, workspace: str) -> Iterator[Bound]:
        """The limits that a job counts against."""
        for name in line(self.queues, queue):
            yield Bound(f"queue '{name}'", self.queues[name].limit)
        for of, who in (("user", user), ("workspace", workspace)):
            yield Bound(f"{of} '{who}'", self.quotas.get(quota_name(of, who), {}))

    def ceilings(self, queue: str, *, user: str, workspace: str) -> Iterator[tuple[str, str, str]]:
        """Of what a job counts against and has a highest priority: `queue`, `user` or `workspace`; name; priority."""
        counted = [("queue", name) for name in line(self.queues, queue)] + [("user", user), ("workspace", workspace)]
        for of, who in counted:
            if highest := self.highest.get(quota_name(of, who)):
                yield of, who, highest


class Landscape:
    """Keeps what it has read; any thread may ask."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._mark = (0, b"")
        """Number and hash of the newest event of the platform that is taken in."""
        self._machines: dict[str, Machine] = {}
        """By the id of the node, the oldest first."""
        self._land: Land | None = None

    def at(self, tx: Tx) -> Land:
        """What is true in this transaction; the same object while no node, queue or quota has changed.

        Every change of these has an event of the platform's own.
        """
        mark = events.newest_in(tx, "")
        with self._lock:
            if self._land is None or mark != self._mark:
                self._land, self._mark = self._renewed(tx, self._land), mark
            return self._land

    def _renewed(self, tx: Tx, land: Land | None) -> Land:
        is_sound = land is not None and events.is_there(tx, *self._mark)
        news = events.subjects_in(tx, "", self._mark[0], limit=MOST_NEWS) if is_sound else []
        if land is None or not is_sound or len(news) == MOST_NEWS:
            self._machines = {row.id: machine(row) for row in resources.alive(tx, "node")}
            return with_machines(with_rights(tx, EMPTY), self._machines.values())
        if any(kind in ("queue", "quota") for kind, _ in news):
            land = with_rights(tx, land)
        nodes = sorted({subject for kind, subject in news if kind == "node"})
        for row in resources.many(tx, nodes):
            self._machines.pop(row.id, None) if row.is_final else self._machines.update({row.id: machine(row)})
        return with_machines(land, self._machines.values()) if nodes else land


EMPTY = Land(machines=(), alike={}, queue_rows=(), quota_rows=(), queues={}, quotas={}, highest={})


def read_land(tx: Tx) -> Land:
    """Nodes, queues and quotas as they are stored."""
    return with_machines(with_rights(tx, EMPTY), [machine(row) for row in resources.alive(tx, "node")])


def with_machines(land: Land, machines: Iterable[Machine]) -> Land:
    """The same with these nodes."""
    listed = list(machines)
    return replace(land, machines=listed, alike=Counter((each.total, each.state) for each in listed))


def with_rights(tx: Tx, land: Land) -> Land:
    """The same with queues and quotas as they are stored."""
    queues, quotas = resources.alive(tx, "queue"), resources.alive(tx, "quota")
    specs = [QuotaSpec.from_json(row.spec) for row in quotas]
    made = read_queues(queues)
    highest = {quota_name("queue", name): queue.max_priority for name, queue in made.items()}
    highest |= {quota_name(quota.of, quota.who): quota.max_priority for quota in specs}
    return replace(
        land,
        queue_rows=queues,
        quota_rows=quotas,
        queues=made,
        quotas={quota_name(quota.of, quota.who): quota.limit for quota in specs},
        highest={name: priority for name, priority in highest.items() if priority},
    )


def amounts(alike: Mapping[tuple[Devices, str], int]) -> dict[str, int]:
    """Device -> how much of it so many nodes have together."""
    return {name: sum(getattr(devices, name) * count for (devices, _), count in alike.items()) for name in DEVICES}


def present(land: Land) -> dict[str, int]:
    """Device -> how much of it the nodes have that have not failed."""
    return amounts({each: count for each, count in land.alike.items() if each[1] != NodeState.FAILED})


def read_queues(rows: Sequence[Resource]) -> dict[str, QueueSpec]:
    """The queues that were made, by name, and that of jobs which name none."""
    made = {row.name: QueueSpec.from_json(row.spec) for row in rows}
    return dict(sorted({DEFAULT: QueueSpec(), **made}.items()))


def devices_of(node: Resource) -> Devices:
    """All that a node has."""
    return Devices(**node.status.get("devices", {"cpu_milli": 0}))


def labels_of(node: Resource) -> dict[str, str]:
    """What a node is labelled with: by its engine, and before that by administrators."""
    return {**node.status.get("labels", {}), **node.spec.get("labels", {})}


def machine(node: Resource) -> Machine:
    """A node with all that it gives away when nobody uses it."""
    has = devices_of(node)
    return Machine(
        name=node.name,
        total=given_of(has),
        labels=labels_of(node),
        state=read_state(node.state),
        unused=unused_of(has),
    )
