"""The pulse: the machines of the engine are nodes of the pool, and say every few seconds that they are there."""

from dataclasses import asdict, replace

from lepton.core.clock import Clock, to_micros
from lepton.core.launch import NodeFacts
from lepton.core.resource import Json, Resource
from lepton.engine.base import Engine
from lepton.server.people import make_named
from lepton.server.submit import Author, changed
from lepton.store import resources
from lepton.store.database import Database, Tx

ACTOR = "loop:pulse"
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
        """Note every node of our engine as seen now; as lost, what it has no more and what nobody has seen for long."""
        here = list(self._engine.nodes())
        self._database.write(lambda tx: self._note(tx, here))
        self._own = {facts.name for facts in here}
        return None

    def _note(self, tx: Tx, here: list[NodeFacts]) -> None:
        now = to_micros(self._clock.now())
        for facts in here:
            self._see(tx, facts, now)
        names = {facts.name for facts in here}
        for node in resources.alive(tx, "node"):
            silent_s = (now - node.status.get("seen_at", now)) / 1_000_000
            is_gone = node.name in self._own or silent_s > LOST_AFTER * self._heartbeat_s
            if node.name not in names and node.state == "up" and is_gone:
                self._change(tx, node, "lost", {})

    def _see(self, tx: Tx, facts: NodeFacts, now: int) -> None:
        truth: dict[str, Json] = {
            "devices": asdict(facts.devices),
            "labels": dict(facts.labels),
            "address": facts.address,
            "seen_at": now,
        }
        found = resources.by_name(tx, "node", "", facts.name)
        if found is None:
            author = Author(actor=ACTOR, workspace="", at=self._clock.now())
            found = make_named(tx, "node", facts.name, {}, author)
        if found.state != "up" or found.status.get("devices") != truth["devices"]:
            self._change(tx, found, "up", truth)
        else:
            resources.set_status(tx, found, truth)

    def _change(self, tx: Tx, node: Resource, state: str, status: dict[str, Json]) -> None:
        author = Author(actor=ACTOR, workspace="", at=self._clock.now())
        moved = replace(node, state=state, status={**node.status, **status}, updated_at=author.at)
        resources.update(tx, moved, changed(node, f"{node.state}->{state}", author), expected=node.revision)
