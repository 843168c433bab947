"""The pulse: the machines of the engine are nodes of the pool, and say every few seconds that they are there."""

from dataclasses import asdict, replace

from lepton.core.clock import Clock, believed, to_micros
from lepton.core.launch import NodeFacts
from lepton.core.resource import Json, Resource
from lepton.engine.base import Engine
from lepton.pool.standing import NodeState, wished_state
from lepton.server.people import make_named
from lepton.server.submit import Author, changed
from lepton.store import resources
from lepton.store.database import Database, Tx

ACTOR = "loop:pulse"
FACTS = ("devices", "labels")
"""What of a node decides which work may go there: a change of it is an event."""
LOST_AFTER = 6
"""Heartbeats that a node may miss."""


class Pulse:
    """Keeps the table of nodes true."""

    def __init__(self, database: Database, engine: Engine, *, clock: Clock, heartbeat_s: float) -> None:
        self._database = database
        self._engine = engine
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._own: set[str] = set()
        """Nodes that our engine had at the last turn."""

    def turn(self) -> float | None:
        """Note each node of our engine as seen; as failed, what it has no more and what nobody has seen for long."""
        here = list(self._engine.nodes())
        self._database.write(lambda tx: self._note(tx, here))
        self._own = {facts.name for facts in here}
        return None

    def _note(self, tx: Tx, here: list[NodeFacts]) -> None:
        now = to_micros(self._clock.now())
        nodes = {node.name: node for node in resources.alive(tx, "node")}
        for facts in here:
            self._see(tx, facts, nodes.get(facts.name), now)
        names = {facts.name for facts in here}
        for node in nodes.values():
            seen = node.status.get("seen_at", now)
            if not believed(seen, now):  # the clock was set back since
                resources.set_status(tx, node, {"seen_at": now})
            silent_s = (now - seen) / 1_000_000
            is_gone = node.name in self._own or silent_s > LOST_AFTER * self._heartbeat_s
            if node.name not in names and is_gone and node.state != NodeState.FAILED:
                self._change(tx, node, NodeState.FAILED, {}, f"{node.name} has not been seen for {silent_s:.0f} s")

    def _see(self, tx: Tx, facts: NodeFacts, found: Resource | None, now: int) -> None:
        truth: dict[str, Json] = {
            "devices": asdict(facts.devices),
            "labels": dict(facts.labels),
            "address": facts.address,
            "seen_at": now,
        }
        if found is None:
            author = Author(actor=ACTOR, workspace="", at=self._clock.now())
            found = make_named(tx, "node", facts.name, {}, author)
        state = wished_state(found.spec)
        if found.state != state or any(found.status.get(name) != truth[name] for name in FACTS):
            self._change(tx, found, state, truth)
        else:
            resources.set_status(tx, found, truth)

    def _change(self, tx: Tx, node: Resource, state: str, status: dict[str, Json], why: str = "") -> None:
        author = Author(actor=ACTOR, workspace="", at=self._clock.now())
        moved = replace(node, state=state, status={**node.status, **status}, updated_at=author.at)
        resources.update(tx, moved, changed(node, f"{node.state}->{state}", author, why), expected=node.revision)
