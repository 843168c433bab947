"""What one job waits for, as slots: room on the nodes that it may use, or room under a limit."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, Self

import numpy as np

from lepton.pool.kernel.state import RUNNING, WHOLE, Pool, Rows
from lepton.pool.live.entry import Entry
from lepton.pool.live.pool import LivePool
from lepton.pool.live.slots import Need, Nodes
from lepton.pool.live.tables import COLUMN

MOST_SLOTS = 64
"""Of one node, or under a limit: what is finer is rounded up, or not looked at."""
ONE: Nodes = np.zeros(1, np.int64)

Held = Iterator[tuple[int, Iterable[tuple[int, int]]]]
"""Row of a running job; (node, slots) for each of its workers."""


class Frame(Protocol):
    """Nodes, numbered from 0, and what each job has or wants of them."""

    def __len__(self) -> int: ...

    def thin(self, stride: int) -> bool:
        """Let each n-th node stand for n; False if that cannot be."""

    def need(self, klass: int) -> Need:
        """What a job of a class wants; no workers: nothing that is counted here."""

    def nodes_of(self, klass: int) -> Nodes:
        """The nodes that it may use."""

    def may_leave(self, klass: int) -> bool:
        """Whether it may use others too."""

    def groups(self, entry: Entry) -> Sequence[Nodes]:
        """The sets of nodes into one of which the asking job goes whole."""

    def free(self) -> list[int]:
        """Slots of each node that are free."""

    def held(self) -> Held:
        """Who holds the others."""


class Under:
    """Room under a limit, as if that were one node: a slot is what the asking job asks for."""

    def __init__(self, pool: Pool, account: int, column: int, amount: int, jobs: int) -> None:
        """Args: `amount`: of the counted amount `column`, for a slot; `jobs`: rows in use."""
        self._pool, self._account, self._column, self._amount, self._jobs = pool, account, column, amount, jobs

    @classmethod
    def of(cls, live: LivePool, quota: Mapping[str, object]) -> Self | None:
        """The limit that keeps a job out; None: it has far more room than the job wants of it."""
        tables, asked, limit = live.seats.tables, int(str(quota["asked"])), int(str(quota["limit"]))
        if not asked or limit // asked > MOST_SLOTS:
            return None
        account = tables.account((str(quota["of"]), str(quota["name"])))
        return cls(tables.pool, account, COLUMN[str(quota["device"])], asked, tables.grow.count("jobs"))

    def __len__(self) -> int:
        return 1

    def thin(self, stride: int) -> bool:
        """One node stands for itself alone."""
        return False

    def need(self, klass: int) -> Need:
        """Workers, and slots of each."""
        row = self._pool.classes[klass]
        if self._account not in self._pool.lists[row.accounts : row.accounts_end]:
            return 0, 0
        slots = -(-int(self._pool.need[klass, self._column]) // self._amount)
        return min(1, slots), slots

    def nodes_of(self, klass: int) -> Nodes:
        """The nodes that it may use."""
        return ONE

    def may_leave(self, klass: int) -> bool:
        """What counts under a limit cannot leave it."""
        return False

    def groups(self, entry: Entry) -> Sequence[Nodes]:
        """Into one of which the asking job goes whole."""
        return [ONE]

    def free(self) -> list[int]:
        """Slots of each node that are free."""
        left = int(self._pool.limit[self._account, self._column] - self._pool.used[self._account, self._column])
        return [max(0, left // self._amount)]

    def held(self) -> Held:
        """Who holds the others."""
        for row in _running(self._pool, self._jobs).tolist():
            workers, each = self.need(int(self._pool.jobs[row].klass))
            if workers and each:
                yield row, [(0, each)]


class Room:
    """Nodes: a slot is a device, or as large a part of one as the asking job wants; or so many CPUs."""

    def __init__(self, live: LivePool, nodes: Nodes, milli: int, cpus: int) -> None:
        """Args: `milli`: thousandths of a device in a slot; 0: it is CPUs, in thousandths `cpus`."""
        self._live, self._nodes, self._milli, self._cpus = live, nodes, milli, cpus
        self._needs: dict[int, tuple[list[int], Nodes, bool]] = {}
        self._cells: dict[bytes, tuple[Nodes, bool]] = {}

    @classmethod
    def of(cls, live: LivePool, entry: Entry, nodes: Iterable[int] | None = None) -> Self | None:
        """The open nodes that a job may use, or those of the given ones; None: there are none."""
        assert entry.klass is not None
        pool, layout = live.seats.tables.pool, live.seats.layout
        cells = [layout.cells[at] for at in layout.cells_for(entry.wants)[0]]
        may = [at for cell in cells for at in range(cell.start, cell.end)] if nodes is None else sorted(nodes)
        found = np.array(may, np.int64)
        found = found[pool.nodes.is_open[found] > 0]
        klass = pool.classes[entry.klass.index]
        parts = [pool.parts[at] for at in range(klass.part, klass.part_end)]
        milli = WHOLE if klass.devices else max(int(part.milli) for part in parts)
        if not len(found) or not (milli or any(part.cpu for part in parts)):
            return None
        most = max(layout.machines[at].total.cpu_milli for at in found.tolist())
        cpus = max(min([WHOLE, *(int(part.cpu) for part in parts if part.cpu)]), -(-most // MOST_SLOTS))
        return cls(live, found, milli, cpus)

    def __len__(self) -> int:
        return len(self._nodes)

    def thin(self, stride: int) -> bool:
        """Each n-th node stands for n; False if that cannot be."""
        self._nodes = self._nodes[::stride]
        self._needs.clear()
        self._cells.clear()
        return True

    def need(self, klass: int) -> Need:
        """Workers, and slots of each."""
        slots = [each for each in self._of(klass)[0] if each]
        return len(slots), max(slots, default=0)

    def nodes_of(self, klass: int) -> Nodes:
        """The nodes that it may use."""
        return self._of(klass)[1]

    def may_leave(self, klass: int) -> bool:
        """Whether it may use others too."""
        return self._of(klass)[2]

    def groups(self, entry: Entry) -> Sequence[Nodes]:
        """Into one of which the asking job goes whole."""
        within = entry.wants.within
        if not within:
            return [np.arange(len(self))]
        found = defaultdict[str, list[int]](list)
        for at, node in enumerate(self._nodes.tolist()):
            found[self._live.seats.layout.machines[node].labels.get(within, "")].append(at)
        return [np.array(each, np.int64) for name, each in found.items() if name]

    def _of(self, klass: int) -> tuple[list[int], Nodes, bool]:
        """Slots of each worker, in the order of the arrays; nodes that are there for it; whether others are too."""
        if klass not in self._needs:
            pool = self._live.seats.tables.pool
            row = pool.classes[klass]
            parts = [pool.parts[at] for at in range(row.part, row.part_end)]
            slots = [self._slots(part) for part in parts for _ in range(part.workers)]
            self._needs[klass] = slots, *self._within(pool.lists[row.cells : row.cells_end])
        return self._needs[klass]

    def _within(self, cells: Nodes) -> tuple[Nodes, bool]:
        """The nodes of some cells that are there, and whether others are too; classes of one kind share their cells."""
        key = cells.tobytes()
        if key not in self._cells:
            here = self._live.seats.tables.pool.nodes.cell[self._nodes]
            may_leave = bool(set(cells.tolist()) - set(here.tolist()))
            self._cells[key] = np.flatnonzero(np.isin(here, cells)), may_leave
        return self._cells[key]

    def _slots(self, part: Rows) -> int:
        """Of a worker."""
        if not self._milli:
            return -(-int(part.cpu) // self._cpus)
        return int(part.devices) * (WHOLE // self._milli) + -(-int(part.milli) // self._milli)

    def free(self) -> list[int]:
        """Slots of each node that are free."""
        pool = self._live.seats.tables.pool
        if not self._milli:
            return [max(0, cpu // self._cpus) for cpu in np.asarray(pool.nodes.cpu)[self._nodes].tolist()]
        found = []
        columns = (np.asarray(getattr(pool.nodes, name))[self._nodes].tolist() for name in ("free", "most"))
        for at, free, most in zip(self._nodes.tolist(), *columns, strict=True):
            parts = [int(left) // self._milli for left in pool.shares[at] if left < WHOLE] if most else []
            found.append(max(0, free) * (WHOLE // self._milli) + sum(parts))
        return found

    def held(self) -> Held:
        """Who holds the others."""
        pool, here = self._live.seats.tables.pool, np.full(len(self._live.seats.layout.machines), -1)
        here[self._nodes] = np.arange(len(self._nodes))
        rows = _running(pool, self._live.seats.tables.grow.count("jobs"))
        first, counts = pool.jobs.place[rows], pool.jobs.place_end[rows] - pool.jobs.place[rows]
        of = np.repeat(np.arange(len(rows)), counts)
        workers = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        nodes, klass = here[pool.workers.node[first[of] + workers]], np.asarray(pool.jobs.klass)[rows]
        found = defaultdict[int, list[tuple[int, int]]](list)
        for at in np.flatnonzero(nodes >= 0).tolist():
            slots = self._of(int(klass[of[at]]))[0][workers[at]]
            found[int(rows[of[at]])].append((int(nodes[at]), slots))
        yield from found.items()


def _running(pool: Pool, jobs: int) -> Nodes:
    return np.flatnonzero(pool.jobs.state[:jobs] == RUNNING)
