"""The pool at a glance: what there is, what is held, who waits. The cost of a look follows what has changed since."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

from lepton.core.launch import Devices
from lepton.core.resource import Json, Resource
from lepton.pool.quota import DEVICES, Amounts
from lepton.pool.shape import NOTHING, Machine
from lepton.pool.standing import read_state, wish_of
from lepton.pool.tree import line, longest_grace_s
from lepton.server.census import POOL, Census
from lepton.server.landscape import Land, Landscape, amounts, labels_of, machine, present
from lepton.store import resources
from lepton.store.database import Row, Tx

MOST_NODES = 100_000


class Overview:
    """Keeps what it has counted of living jobs; any thread may ask, within a read of what is committed."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self._census = Census()
        self._lock = Lock()

    def sync(self, tx: Tx) -> None:
        """Count what has changed: done now and then, so that no look has much to count."""
        self._landscape.at(tx)
        with self._lock:
            self._census.sync(tx)

    def look(self, tx: Tx, now: int) -> dict[str, Any]:
        """Devices, nodes, jobs, queues and quotas as numbers; `now` in microseconds."""
        land = self._landscape.at(tx)
        with self._lock:
            self._census.sync(tx)
            return {
                "devices": device_totals(land, self._census.held(POOL)),
                "nodes": node_states(land),
                "jobs": {state: count for state, count in sorted(self._census.states.items()) if count},
                "queues": queue_rows(land, self._census, now),
                "quotas": quota_rows(land, self._census),
            }

    def queues(self, tx: Tx, now: int) -> list[dict[str, Any]]:
        """Each queue by name: `name`, `spec`, `revision`, and as `status` what it holds and who waits in it."""
        land = self._landscape.at(tx)
        with self._lock:
            self._census.sync(tx)
            return queue_rows(land, self._census, now)

    def quotas(self, tx: Tx) -> list[dict[str, Any]]:
        """Each quota by name: `name`, `spec`, `revision`, and as `status` what its user or workspace holds."""
        land = self._landscape.at(tx)
        with self._lock:
            self._census.sync(tx)
            return quota_rows(land, self._census)

    def node(self, tx: Tx, found: Resource) -> Resource:
        """A node as the door shows it: its status says also what is `free` of it and how many `jobs` run there."""
        held, jobs = self.use(tx, [found.name])[found.name]
        free = amounts_of(machine(found).total.minus(held))
        status: dict[str, Json] = {**found.status, "labels": labels_of(found), "free": free, "jobs": jobs}
        return replace(found, state=read_state(found.state), spec=shown_spec(found.spec), status=status)

    def nodes(self, tx: Tx, *, state: str = "", after: str = "", limit: int = MOST_NODES) -> list[Row]:
        """Nodes by name, as `node` shows them: rows whose spec and status are text.

        Args:
            state: only those in it; empty: all.
            after: only those with a later name.
        """
        there = {
            each.name: each
            for each in self._landscape.at(tx).machines
            if each.name > after and (not state or each.state == state)
        }
        rows = resources.named_rows(tx, "node", "", sorted(there)[:limit])
        used = self.use(tx, [row[3] for row in rows])
        free: dict[tuple[Devices, Devices], str] = {}
        """(all, held) -> what is free, in JSON; most nodes are like another."""
        found = []
        for row in rows:
            node, (held, jobs) = there[row[3]], used[row[3]]
            if (node.total, held) not in free:
                free[node.total, held] = json.dumps(amounts_of(node.total.minus(held)))
            found.append(told(row, node, f'"free": {free[node.total, held]}, "jobs": {jobs}'))
        return found

    def living(self, tx: Tx, queue: str) -> tuple[int, list[str]]:
        """The jobs that live in a queue, as of the event of that number."""
        with self._lock:
            self._census.sync(tx)
            return self._census.seq, self._census.living(queue)

    def use(self, tx: Tx, nodes: Sequence[str]) -> dict[str, tuple[Devices, int]]:
        """Node -> what is held there, and by how many jobs."""
        with self._lock:
            self._census.sync(tx)
            return {name: (self._census.held(("node", name)), self._census.holders["node", name]) for name in nodes}


def told(row: Row, node: Machine, more: str) -> Row:
    """The row of a node as the door shows it, with `more` in its status; the rest goes out as it is stored."""
    id, kind, workspace, name, spec_text, status_text, state, *rest = row
    spec = {} if spec_text == "{}" else json.loads(spec_text)
    if spec.get("labels"):
        status_text = json.dumps({**json.loads(status_text), "labels": dict(node.labels)})
    comma = "" if status_text == "{}" else ", "
    shown = json.dumps(shown_spec(spec)) if spec else UNTOUCHED
    return (id, kind, workspace, name, shown, f"{status_text[:-1]}{comma}{more}}}", read_state(state), *rest)


def shown_spec(spec: Mapping[str, Json]) -> dict[str, Json]:
    """What is wished of a node, said in full."""
    return {"wish": wish_of(spec).value, "labels": dict(spec.get("labels", {}))}


UNTOUCHED = json.dumps(shown_spec({}))
"""Of a node of which nobody has wished anything."""


def node_states(land: Land) -> dict[str, int]:
    """State -> how many nodes."""
    states: Counter[str] = Counter()
    for (_, state), count in land.alike.items():
        states[state] += count
    return dict(sorted(states.items()))


def device_totals(land: Land, held: Devices) -> dict[str, dict[str, int]]:
    """Device -> how much there is (`total`), is there now (`up`: on nodes that have not failed) and is held.

    Devices of which there is none are left out.
    """
    there, up = amounts(land.alike), present(land)
    return {
        name: {"total": total, "up": up[name], "held": getattr(held, name)} for name, total in there.items() if total
    }


def queue_rows(land: Land, census: Census, now: int) -> list[dict[str, Any]]:
    """Each queue with what it holds, its children's included, and who waits in it."""
    revisions = {row.name: row.revision for row in land.queue_rows}
    held: dict[str, Devices] = {}
    jobs: Counter[str] = Counter()
    for queue in land.queues:
        amount, count = census.held(("queue", queue)), census.holders["queue", queue]
        for name in line(land.queues, queue):
            held[name] = held.get(name, NOTHING) + amount
            jobs[name] += count
    return [
        {
            "name": name,
            "spec": spec.to_json(),
            "revision": revisions.get(name, 0),
            "status": {
                "held": named(held.get(name, NOTHING)),
                "jobs": jobs[name],
                "waiting": census.waiting[name],
                "max_grace_s": longest_grace_s(land.queues, name),
                "longest_wait_s": max(0.0, (now - (census.waits_since(name) or now)) / 1_000_000),
            },
        }
        for name, spec in land.queues.items()
    ]


def quota_rows(land: Land, census: Census) -> list[dict[str, Any]]:
    """Each quota with what its user or workspace holds."""
    return [
        {
            "name": row.name,
            "spec": dict(row.spec),
            "revision": row.revision,
            "status": {"held": named(census.held((row.spec["of"], row.spec["who"])))},
        }
        for row in sorted(land.quota_rows, key=lambda row: row.name)
    ]


def amounts_of(devices: Devices) -> Amounts:
    """Device -> amount."""
    return {name: getattr(devices, name) for name in DEVICES}


def named(devices: Devices) -> Amounts:
    """Device -> amount, of what is not 0."""
    return {name: getattr(devices, name) for name in DEVICES if getattr(devices, name)}
