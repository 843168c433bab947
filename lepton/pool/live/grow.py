"""Arrays of a `Pool` that grow: twice as long whenever they are full. What was taken out of a pool before is stale."""

from typing import Self

from lepton.pool.kernel import state
from lepton.pool.kernel.state import AWAKE, LATE, Pool, Rows, first_of, longer, rows

ADDED_TO = frozenset({"lists", "links", "need", "capacity"})
"""Arrays of which no row in use is ever written again."""


class Growing:
    """A pool whose arrays have room to spare, and how much of each is in use."""

    def __init__(self, pool: Pool, **used: int) -> None:
        self.pool = pool
        self._used = {name: used.get(name, 0) for name in pool._fields}

    def still(self) -> Self:
        """The pool as it is now, in arrays of its own; of those that a decision only writes (`room`, `plan`) as much as
        it leaves for the next.
        """
        made = {name: self._still(name) for name in self.pool._fields if name not in ADDED_TO}
        return type(self)(self.pool._replace(**made), **self._used)

    def _still(self, name: str) -> Rows:
        array = getattr(self.pool, name)
        if name == "plan":
            return rows(len(array), state.PLAN)
        if name == "room":
            return longer(first_of(array, int(max(self.pool.size[AWAKE], self.pool.size[LATE]))), len(array))
        return first_of(array, self._used[name] or len(array))

    def count(self, name: str) -> int:
        """Rows of an array in use."""
        return self._used[name]

    def add(self, name: str, number: int = 1) -> int:
        """Take so many more rows of an array into use, all zero; return the first."""
        first = self._used[name]
        self.reserve(name, first + number)
        self._used[name] = first + number
        return first

    def reserve(self, name: str, rows: int) -> None:
        """Make an array at least so long."""
        array = getattr(self.pool, name)
        if rows > len(array):
            self.pool = self.pool._replace(**{name: longer(array, max(rows, 2 * len(array)))})

    def extend(self, numbers: "list[int]") -> tuple[int, int]:
        """Put numbers into `lists`; return where they begin and end."""
        first = self.add("lists", len(numbers))
        self.pool.lists[first : first + len(numbers)] = numbers
        return first, first + len(numbers)
