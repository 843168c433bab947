"""How a node stands: what is wished of it, and the state that follows from that and from whether it is there. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from lepton.core.resource import Json


class Wish(StrEnum):
    """What an administrator wants of a node."""

    OPEN = "open"
    """Work may go there."""
    CORDONED = "cordoned"
    """No new work goes there; what runs stays."""
    DRAINING = "draining"
    """No new work goes there, and what runs is moved away."""


class NodeState(StrEnum):
    """What is. `booting` and `off` are words for nodes whose power Lepton will switch one day."""

    UP = "up"
    CORDONED = "cordoned"
    DRAINING = "draining"
    FAILED = "failed"
    """Nobody has seen it for some heartbeats."""


STATES = {Wish.OPEN: NodeState.UP, Wish.CORDONED: NodeState.CORDONED, Wish.DRAINING: NodeState.DRAINING}
EARLIER = {"lost": NodeState.FAILED}
"""Word of a former version -> ours."""


def wish_of(spec: Mapping[str, Json]) -> Wish:
    """What is wished of a node whose spec this is; nothing is said of one that nobody has touched."""
    return Wish(spec.get("wish", Wish.OPEN))


def wished_state(spec: Mapping[str, Json]) -> NodeState:
    """The state of a node that is there."""
    return STATES[wish_of(spec)]


def read_state(word: str) -> str:
    """The state that a stored word means."""
    return EARLIER.get(word, word)
