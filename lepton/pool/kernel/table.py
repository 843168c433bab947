"""Record arrays without a compiler: rows as plain objects, which interpreted code reads far faster than numpy's.

A `Table` answers to what the kernel and its callers do with a record array: `table[i].field`, `table.field` (a column,
copied), `table.field = values` and `len(table)`.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@cache
def row_class(dtype: "np.dtype[np.void]") -> type:
    """A class with one slot for each field."""
    return type("Row", (), {"__slots__": tuple(dtype.names or ())})


class Table(list[Any]):
    """Rows of one kind."""

    def __init__(self, dtype: "np.dtype[np.void]", number: int) -> None:
        """So many rows of zeros."""
        super().__init__()
        self._dtype = dtype
        self._add(number)

    def _add(self, number: int) -> None:
        kind, zero = row_class(self._dtype), {"f": 0.0}
        fields = [(name, zero.get(self._dtype[name].kind, 0)) for name in self._dtype.names or ()]
        for _ in range(number):
            row = kind()
            for name, value in fields:
                setattr(row, name, value)
            self.append(row)

    def __setattr__(self, name: str, values: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, values)
            return
        given = np.broadcast_to(np.asarray(values, self._dtype[name]), (len(self),)).tolist()
        for row, value in zip(self, given, strict=True):
            setattr(row, name, value)

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return np.array([getattr(row, name) for row in self], self._dtype[name])

    def copy(self) -> "Table":
        """Equal rows that are others."""
        return self.first(len(self))

    def first(self, number: int) -> "Table":
        """The same of the first ones."""
        found, names = Table(self._dtype, 0), self._dtype.names or ()
        found += [row_class(self._dtype)() for _ in range(number)]
        for row, own in zip(found, self, strict=False):
            for name in names:
                setattr(row, name, getattr(own, name))
        return found

    def longer(self, number: int) -> "Table":
        """The same rows, and as many of zeros as are missing to `number`."""
        self._add(number - len(self))
        return self
