"""What administrators want of nodes: open, cordoned, draining; labels of their own; that one is forgotten."""

from collections.abc import Mapping
from dataclasses import replace

from lepton.core.errors import ConflictError, InvalidError, NotFoundError
from lepton.core.resource import Resource
from lepton.pool.standing import NodeState, Wish, read_state, wish_of, wished_state
from lepton.server.submit import Author, changed
from lepton.store import resources
from lepton.store.database import Tx

MOST_LABELS = 64
"""Of a node, beside its engine's."""
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


def set_labels(tx: Tx, node: Resource, wanted: Mapping[str, str | None], author: Author) -> Resource:
    """Give a node labels of ours, beside its engine's and before them; None takes one of ours away.

    The same again changes nothing.

    Raises:
        InvalidError: there would be too many, or one that is the engine's should go.
    """
    before: dict[str, str] = dict(node.spec.get("labels", {}))
    labels = {name: value for name, value in {**before, **wanted}.items() if value is not None}
    for name in wanted.keys() - labels.keys() - before.keys():
        if name in node.status.get("labels", {}):
            raise InvalidError(
                f"Label {name} of {node.name} is its engine's",
                fix=f"Give it another value: lepton pool label {node.name} {name}=VALUE",
            )
    if len(labels) > MOST_LABELS:
        raise InvalidError(f"{node.name} would have {len(labels)} labels", fix=f"At most {MOST_LABELS} can be given.")
    if labels == before:
        return node
    said = [f"{name}-" if value is None else f"{name}={value}" for name, value in wanted.items()]
    newer = replace(node, spec={**node.spec, "labels": labels}, updated_at=author.at)
    event = changed(node, "label", author, f"{node.name}: {', '.join(said)}")
    return resources.update(tx, newer, event, expected=node.revision)


def remove(tx: Tx, node: Resource, jobs: int, author: Author) -> None:
    """Forget a node that has failed: its wish, its labels, and that it could come back. Its history stays.

    Args:
        jobs: how many hold places there.
    Raises:
        ConflictError: it is there, or jobs hold places there.
    """
    if read_state(node.state) != NodeState.FAILED:
        raise ConflictError(
            f"{node.name} is {read_state(node.state)}: its engine shows it",
            fix=f"Take it out of its engine first; until then: lepton pool drain {node.name}",
        )
    if jobs:
        raise ConflictError(
            f"{jobs} {'job holds a place' if jobs == 1 else 'jobs hold places'} on {node.name}",
            fix="Wait until they have been started elsewhere, or stop them: lepton jobs list",
        )
    gone = replace(node, state="deleted", is_final=True, updated_at=author.at)
    resources.update(tx, gone, changed(node, "removed", author), expected=node.revision)
