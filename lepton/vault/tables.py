"""The form of a dataset on disk: one `.npy` file a column, and `table.json` that says what they mean.

    table.json            {"format": 1, "rows": 9700, "columns": ["image", ...], "splits": {"train": [0, 7800], ...}}
    columns/<name>.npy    first axis = rows

Equal tables give equal bytes: nothing depends on the time or the machine. Reading maps the files into memory, so a
large dataset costs no more than what is looked at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError

FORMAT = 1
COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of equal length; `splits` names ranges of rows, first to last + 1."""

    columns: Mapping[str, Column]
    splits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({len(column) for column in self.columns.values()}) != 1:
            raise InvalidError("A table needs columns of equal length", fix="Give every column a value for each row.")
        bad = [name for name in self.columns if not COLUMN.fullmatch(name)]
        if bad:
            raise InvalidError(f"{bad[0]!r} cannot name a column", fix="Use a-z, 0-9 and _.")
        if any(not 0 <= first <= end <= self.rows for first, end in self.splits.values()):
            raise InvalidError("A split reaches beyond the rows of the table", fix="Check its range.")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Column:
        """One column.

        Raises:
            NotFoundError: there is none by that name.
        """
        if name in self.columns:
            return self.columns[name]
        raise NotFoundError(f"The table has no column {name!r}", fix=f"It has {', '.join(sorted(self.columns))}.")

    def split(self, name: str) -> "Table":
        """The rows of one split, without a copy.

        Raises:
            NotFoundError: there is none by that name.
        """
        if name not in self.splits:
            raise NotFoundError(f"The table has no split {name!r}", fix=f"It has {', '.join(self.splits) or 'none'}.")
        first, end = self.splits[name]
        return Table(columns={key: column[first:end] for key, column in self.columns.items()})

    def take(self, rows: npt.NDArray[np.intp]) -> "Table":
        """A copy of some rows, in the order given, without splits."""
        return Table(columns={key: column[rows] for key, column in self.columns.items()})


def write_table(folder: Path, table: Table) -> None:
    """Write the table's files into `folder`, which is made if it is missing."""
    (folder / "columns").mkdir(parents=True, exist_ok=True)
    for name, column in table.columns.items():
        if column.dtype.hasobject:
            raise InvalidError(f"Column {name!r} holds Python objects", fix="Use numbers or text of a fixed width.")
        with (folder / "columns" / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(column), version=(1, 0), allow_pickle=False)
    facts = {
        "format": FORMAT,
        "rows": table.rows,
        "columns": sorted(table.columns),
        "splits": {name: list(ends) for name, ends in table.splits.items()},
    }
    (folder / "table.json").write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n")


def read_table(folder: Path) -> Table:
    """Open the table that `write_table` left in `folder`; columns are mapped read-only.

    Raises:
        NotFoundError: the folder holds no table.
        IntegrityError: it holds one that cannot be read.
    """
    facts = _facts(folder)
    try:
        columns = {name: _map(folder / "columns" / f"{name}.npy") for name in facts["columns"]}
        table = Table(columns=columns, splits={name: (ends[0], ends[1]) for name, ends in facts["splits"].items()})
    except (OSError, ValueError, KeyError, TypeError, IndexError, InvalidError) as fault:
        raise IntegrityError(f"The table in {folder} cannot be read: {fault}", fix="Make the dataset again.") from fault
    if table.rows != facts.get("rows"):
        raise IntegrityError(f"The table in {folder} has {table.rows} rows, not {facts.get('rows')}")
    return table


def _facts(folder: Path) -> dict[str, Any]:
    """What `table.json` says."""
    path = folder / "table.json"
    if not path.is_file():
        raise NotFoundError(f"{folder} holds no table", fix="Give a dataset version; `lepton data add` makes one.")
    try:
        facts = json.loads(path.read_text())
    except ValueError as fault:
        raise IntegrityError(f"{path} is not JSON", fix="Make the dataset again.") from fault
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise IntegrityError(f"{path} has a form this version of Lepton cannot read", fix="Upgrade Lepton.")
    return facts


def _map(path: Path) -> Column:
    """The array, mapped where it has bytes: an empty file cannot be mapped."""
    column: Column = np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > 0 else np.zeros(0)
    return column
