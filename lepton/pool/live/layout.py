"""Nodes as cells, and requests as parts, cells and scopes.

A node belongs to the one kind of device that it gives away (`pool.shape.given_of`): GPU, TPU, FPGA, or none. Nodes with
the same kind and the same labels form one cell. A gang goes whole into one rack if there is room, else into one island,
else anywhere (labels `rack` and `island`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lepton.core.launch import Devices
from lepton.pool.kernel import state
from lepton.pool.kernel.state import Ints, Rows, rows
from lepton.pool.live.views import Wants
from lepton.pool.shape import NOTHING, Machine
from lepton.pool.standing import NodeState

GPU, TPU, FPGA, CPU, MEMORY, PLAIN = range(6)
"""Amounts that are counted; PLAIN is the CPUs of those who ask for no accelerator."""
AMOUNTS = 6
KINDS = ("", "gpu", "tpu", "fpga")
ISLAND, RACK = "island", "rack"
SCOPE = tuple[int, int, int]
"""Tier, and where it begins and ends in a list of cells."""


def milli_of(devices: Devices) -> dict[str, int]:
    """Thousandths of each kind of accelerator."""
    return {"gpu": devices.gpu_milli, "tpu": devices.tpu_milli, "fpga": devices.fpga_milli}


def kind_of(total: Devices) -> str:
    """The kind of a node; empty if it has only CPUs."""
    return next((kind for kind, milli in milli_of(total).items() if milli), "")


def kind_number(amount: Devices) -> int:
    """The kind as the arrays have it; 0 for CPUs alone."""
    return KINDS.index(kind_of(amount))


def devices_of(amount: Devices) -> tuple[int, int]:
    """Whole devices that a worker needs, and thousandths of one if it needs only a part."""
    milli = sum(milli_of(amount).values())
    return (0, milli) if 0 < milli < state.WHOLE else (-(-milli // state.WHOLE), 0)


def need_of(workers: Sequence[Devices]) -> list[int]:
    """What a job holds of each counted amount."""
    total = sum(workers, NOTHING)
    accelerators = [total.gpu_milli, total.tpu_milli, total.fpga_milli]
    return [*accelerators, total.cpu_milli, total.memory_bytes, 0 if any(accelerators) else total.cpu_milli]


@dataclass(frozen=True, slots=True)
class Cell:
    """Nodes that are alike to every request."""

    kind: str
    labels: dict[str, str]
    start: int
    end: int


class Layout:
    """Where each node stands in the arrays, and which cells a request may use."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.machines = sorted(machines, key=lambda each: (*_cell_key(each), each.name))
        self.index = {each.name: at for at, each in enumerate(self.machines)}
        self.cells = self._cells()
        self.levels = 1 + max([count_of(each.total) for each in self.machines], default=0)
        self._found: dict[tuple[object, ...], tuple[list[int], list[SCOPE]]] = {}
        self._has_types = len({type_of(each) for each in self.cells}) > 1
        self._types: dict[tuple[int, ...], list[str]] = {}

    def _cells(self) -> list[Cell]:
        cells, start = [], 0
        for key, group in groupby(self.machines, key=_cell_key):
            members = list(group)
            cells.append(Cell(key[0], dict(members[0].labels), start, start + len(members)))
            start += len(members)
        return cells

    def nodes(self) -> Rows:
        """All nodes, empty; those that are not up take nothing."""
        found = rows(len(self.machines), state.NODE)
        found.free = [count_of(each.total) for each in self.machines]
        found.cpu = [each.total.cpu_milli for each in self.machines]
        found.memory = [each.total.memory_bytes for each in self.machines]
        found.cell = np.repeat(np.arange(len(self.cells)), [cell.end - cell.start for cell in self.cells])
        found.is_open = [each.state == NodeState.UP for each in self.machines]
        return found

    def cell_rows(self) -> Rows:
        """All cells, with nothing running."""
        found = rows(len(self.cells), state.CELL)
        found.start, found.end = [each.start for each in self.cells], [each.end for each in self.cells]
        words = -(-(found.end - found.start) // 64)
        found.word_end = np.cumsum(words)
        found.word = found.word_end - words
        found.kind = [KINDS.index(each.kind) for each in self.cells]
        found.running = found.held_for = found.link = -1
        found.credit_at = -np.inf  # all that it may save up is there
        return found

    def capacity(self) -> Ints:
        """What all nodes have of each counted amount."""
        found = need_of([each.total for each in self.machines])
        found[PLAIN] = found[CPU]
        return np.array(found, np.int64)

    def types_for(self, wants: Wants) -> list[str]:
        """The types of device that a job may get, sorted."""
        cells = tuple(self.cells_for(wants)[0]) if self._has_types else ()
        if cells not in self._types:
            self._types[cells] = sorted({type_of(self.cells[at]) for at in cells})
        return self._types[cells]

    def cells_for(self, wants: Wants, types: tuple[str, ...] = ()) -> tuple[list[int], list[SCOPE]]:
        """The cells that a job may use, in order of preference, and the scopes it may go into.

        Args:
            types: of devices, the best first; it goes whole to nodes of one type, if it can. Empty: they are equal.
        """
        kinds = {kind for worker in wants.workers for kind, milli in milli_of(worker).items() if milli}
        has_plain = any(not any(milli_of(worker).values()) for worker in wants.workers)
        is_gang = len(wants.workers) > 1
        types = types if not wants.within else ()
        key = (tuple(sorted(kinds)), has_plain, wants.labels, wants.within, is_gang, types)
        if key not in self._found:
            cells = [at for at, cell in enumerate(self.cells) if _may_use(cell, kinds, has_plain, dict(wants.labels))]
            self._found[key] = (
                self._by_type(cells, types, is_gang) if types else self._scoped(cells, wants.within, is_gang)
            )
        return self._found[key]

    def _scoped(self, cells: list[int], within: str, is_gang: bool) -> tuple[list[int], list[SCOPE]]:
        if not is_gang:
            return cells, [(0, 0, len(cells))]
        if within:
            cells = [at for at in cells if within in self.cells[at].labels]
            cells.sort(key=lambda at: self.cells[at].labels[within])
            return cells, self._runs(cells, 0, [within])
        found: list[SCOPE] = []
        for tier, labels in enumerate(([ISLAND, RACK], [ISLAND])):
            found += [
                run for run in self._runs(cells, tier, labels) if self.cells[cells[run[1]]].labels.get(labels[-1])
            ]
        return cells, [*found, (2, 0, len(cells))] if found else [(2, 0, len(cells))]

    def _by_type(self, cells: list[int], types: tuple[str, ...], is_gang: bool) -> tuple[list[int], list[SCOPE]]:
        """Scopes of one type after the other; for a gang, at last those of all types together."""
        found, scopes, tiers = list[int](), list[SCOPE](), 3
        for rank, each in enumerate(types):
            start = len(found)
            some, inner = self._scoped([at for at in cells if type_of(self.cells[at]) == each], "", is_gang)
            found += some
            scopes += [(tiers * rank + tier, start + begin, start + end) for tier, begin, end in inner]
        return found, [*scopes, (tiers * len(types), 0, len(found))] if is_gang else scopes

    def _runs(self, cells: list[int], tier: int, labels: list[str]) -> list[SCOPE]:
        """The stretches of a list of cells with equal labels."""
        found, start = [], 0
        for _, run in groupby(cells, key=lambda at: [self.cells[at].labels.get(label, "") for label in labels]):
            end = start + len(list(run))
            found.append((tier, start, end))
            start = end
        return found


def type_of(node: Cell | Machine) -> str:
    """The type of a node's devices, as its label says; empty if it says none."""
    kind = node.kind if isinstance(node, Cell) else kind_of(node.total)
    return node.labels.get(f"{kind or 'cpu'}_model", "")


def count_of(total: Devices) -> int:
    """Devices that a node gives away: of its kind, whole ones."""
    return milli_of(total).get(kind_of(total), 0) // state.WHOLE


def _cell_key(machine: Machine) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    labels = machine.labels
    kind = kind_of(machine.total)
    return kind, labels.get(ISLAND, ""), labels.get(RACK, ""), tuple(sorted(labels.items()))


def _may_use(cell: Cell, kinds: set[str], has_plain: bool, labels: dict[str, str]) -> bool:
    if any(cell.labels.get(name) != value for name, value in labels.items()):
        return False
    if len(kinds) > 1:
        return False
    return has_plain if cell.kind == "" else not kinds or cell.kind in kinds
