"""What is made of resources, kept by their revision: one is read again only when it has changed."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from lepton.core.resource import Resource
from lepton.store import resources
from lepton.store.database import Tx

T = TypeVar("T")


class Known(Generic[T]):
    """Id -> what `make` makes of that resource."""

    def __init__(self, make: Callable[[Resource], T]) -> None:
        self._make = make
        self._known: dict[str, tuple[int, T]] = {}

    def at(self, tx: Tx, revisions: Mapping[str, int]) -> dict[str, T]:
        """What is made of each of these, in their order; the rest is forgotten. Any thread may ask."""
        known = {id: at for id, at in self._known.items() if at[0] == revisions.get(id)}
        new = [id for id in revisions if id not in known]
        known |= {found.id: (found.revision, self._make(found)) for found in resources.many(tx, new)}
        self._known = known
        return {id: known[id][1] for id in revisions if id in known}
