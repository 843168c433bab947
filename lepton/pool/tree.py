"""The tree of queues: what may stand in it, and who is above whom. Pure."""

from collections.abc import Iterator, Mapping

from lepton.core.errors import InvalidError
from lepton.pool.quota import DEEPEST, DEVICES, USUAL_GRACE_S, Amounts, QueueSpec
from lepton.pool.shape import in_words

Queues = Mapping[str, QueueSpec]
"""Name -> spec, of all queues."""


def line(queues: Queues, name: str) -> Iterator[str]:
    """A queue, then each one above it. Ends where one is not there, or comes again."""
    seen: set[str] = set()
    while name in queues and name not in seen:
        seen.add(name)
        yield name
        name = queues[name].parent


def children(queues: Queues, name: str) -> list[str]:
    """The queues right below one; of the empty name: those below none."""
    return [child for child, spec in queues.items() if spec.parent == name]


def longest_grace_s(queues: Queues, name: str) -> float:
    """Seconds that a job in a queue gets to end at most when it is stopped for another."""
    said = (queues[each].max_grace_s for each in line(queues, name))
    return next((each for each in said if each is not None), USUAL_GRACE_S)


def check_tree(queues: Queues) -> None:
    """Refuse queues that cannot stand together.

    Raises:
        InvalidError: a parent is missing, one is above itself, they are too deep, or more is guaranteed below a queue
            than it is guaranteed (where it is not: than it may have) itself.
    """
    for name, spec in queues.items():
        if spec.parent and spec.parent not in queues:
            raise InvalidError(
                f"Queue '{name}': there is no queue '{spec.parent}' above it", fix="Make that one first."
            )
        above = list(line(queues, name))
        if queues[above[-1]].parent:
            raise InvalidError(f"Queue '{name}' would be above itself", fix="Give it another parent, or none.")
        if len(above) > DEEPEST:
            raise InvalidError(
                f"Queue '{name}' would be the {len(above)}th of a line: {' < '.join(above)}",
                fix=f"At most {DEEPEST} queues stand above one another.",
            )
    for name, spec in queues.items():
        _check_shares(name, spec, [queues[child] for child in children(queues, name)])


def _check_shares(name: str, spec: QueueSpec, below: list[QueueSpec]) -> None:
    promised = guaranteed(below)
    for device, amount in promised.items():
        most = spec.guarantee.get(device, spec.limit.get(device, amount))
        if amount > most:
            raise InvalidError(
                f"The queues below '{name}' are guaranteed {in_words(device, amount)} together, "
                f"and it has {in_words(device, most)}",
                fix=f"Lower their guarantees, or raise that of '{name}'.",
            )


def guaranteed(queues: list[QueueSpec]) -> Amounts:
    """Device -> what is guaranteed to these together."""
    sums = {device: sum(queue.guarantee.get(device, 0) for queue in queues) for device in DEVICES}
    return {device: amount for device, amount in sums.items() if amount}
