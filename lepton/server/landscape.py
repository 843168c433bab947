"""What every submission is held against: nodes, queues and quotas, read again only when one of them has changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lepton.core.launch import Devices
from lepton.core.resource import Resource
from lepton.pool.quota import DEFAULT, Amounts, QueueSpec, QuotaSpec, quota_name
from lepton.pool.shape import Bound, Machine, given_of
from lepton.pool.standing import NodeState, read_state
from lepton.pool.tree import line
from lepton.store import events, resources
from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """Nodes, queues and quotas at one moment."""

    machines: Sequence[Machine]
    is_open: bool
    """Work may go to every node."""
    queues: Mapping[str, QueueSpec]
    """By name; that of jobs which name none is always among them."""
    quotas: Mapping[str, Amounts]
    """`user:ada` -> the most that may be held."""

    def bounds(self, queue: str, *, user: str, workspace: str) -> Iterator[Bound]:
        """The limits that a job counts against."""
        for name in line(self.queues, queue):
            yield Bound(f"queue '{name}'", self.queues[name].limit)
        for of, who in (("user", user), ("workspace", workspace)):
            yield Bound(f"{of} '{who}'", self.quotas.get(quota_name(of, who), {}))


class Landscape:
    """Keeps what it has read; any thread may ask."""

    def __init__(self) -> None:
        self._known: tuple[object, Land] | None = None

    def at(self, tx: Tx) -> Land:
        """What is true in this transaction. Every change of these has an event of the platform's own."""
        mark, known = events.newest_in(tx, ""), self._known
        if known is None or known[0] != mark:
            known = self._known = (mark, read_land(tx))
        return known[1]


def read_land(tx: Tx) -> Land:
    """Nodes, queues and quotas as they are stored."""
    quotas = (QuotaSpec.from_json(row.spec) for row in resources.alive(tx, "quota"))
    machines = [machine(row) for row in resources.alive(tx, "node")]
    return Land(
        machines=machines,
        is_open=all(each.state == NodeState.UP for each in machines),
        queues=read_queues(resources.alive(tx, "queue")),
        quotas={quota_name(quota.of, quota.who): quota.limit for quota in quotas},
    )


def read_queues(rows: Sequence[Resource]) -> dict[str, QueueSpec]:
    """The queues that were made, by name, and that of jobs which name none."""
    made = {row.name: QueueSpec.from_json(row.spec) for row in rows}
    return dict(sorted({DEFAULT: QueueSpec(), **made}.items()))


def devices_of(node: Resource) -> Devices:
    """All that a node has."""
    return Devices(**node.status.get("devices", {"cpu_milli": 0}))


def machine(node: Resource) -> Machine:
    """A node with all that it gives away when nobody uses it."""
    labels = node.status.get("labels", {})
    return Machine(name=node.name, total=given_of(devices_of(node)), labels=labels, state=read_state(node.state))
