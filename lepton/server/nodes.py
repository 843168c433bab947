"""What administrators want of nodes: open, cordoned, draining."""

from dataclasses import replace

from lepton.core.errors import NotFoundError
from lepton.core.resource import Resource
from lepton.pool.standing import NodeState, Wish, read_state, wish_of, wished_state
from lepton.server.submit import Author, changed
from lepton.store import resources
from lepton.store.database import Tx

VERBS = {Wish.OPEN: "uncordon", Wish.CORDONED: "cordon", Wish.DRAINING: "drain"}


def find_node(tx: Tx, name: str) -> Resource:
    """The node of that name.

    Raises:
        NotFoundError: there is none.
    """
    found = resources.by_name(tx, "node", "", name) if name.isprintable() else None
    if found is None:
        raise NotFoundError(f"There is no node {name[:80]!r}", fix="See those that there are: lepton pool nodes")
    return found


def set_wish(tx: Tx, node: Resource, wish: Wish, author: Author) -> Resource:
    """Store what is wished of a node. If it is there, it is so at once; if not, when it comes back.

    Wishing the same again changes nothing.
    """
    if wish_of(node.spec) is wish:
        return node
    spec = {**node.spec, "wish": wish.value}
    is_here = read_state(node.state) != NodeState.FAILED
    state = wished_state(spec) if is_here else NodeState.FAILED
    why = f"{node.name}: {read_state(node.state)}->{state}" if is_here else f"{node.name}: {state}, when it is back"
    newer = replace(node, spec=spec, state=state, updated_at=author.at)
    return resources.update(tx, newer, changed(node, VERBS[wish], author, why), expected=node.revision)
