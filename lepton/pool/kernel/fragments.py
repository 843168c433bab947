"""Where a worker that comes alone goes: where the least of what is free becomes of no use to those who are expected.

What of a node is of no use to one kind of workers is measured as in `kernel.shares`: half is what is stray now, half
what is left when as many such workers as fit have come. The mean over the kinds that come most often is the node's
loss. Of the first nodes that fit, in their fixed order, that one is taken whose loss grows least. So few are enough
because the order is fixed: they fill up one after the other. `docs/pool-policy.md` says what other numbers come to.
"""

import numpy as np

from lepton.pool.kernel.cells import first_bit, has_room
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.parts import change, has_devices, is_within
from lepton.pool.kernel.shares import CPUS, FILLED, TIE, within
from lepton.pool.kernel.state import EXPECTED, WHOLE, Pool, Rows

KINDS = 16
"""Kinds of workers that are expected: rows at the front of `parts`."""
LOOK = 8
"""Nodes that fit and are compared."""
NEAR = 0.05
"""What it is worth that a worker's files are on a node, in devices lost: more than a tie, less than any real loss."""
ONE = np.uint64(1)


@compiled
def unusable(pool: Pool, node: int, kind: Rows) -> float:
    """Thousandths of a node's free devices that workers of a kind cannot use."""
    row = pool.nodes[node]
    whole, stray, slots = row.free * WHOLE, 0, 0
    slots = row.free * (WHOLE // kind.milli) if kind.milli else row.free // kind.devices
    if row.most or row.free < pool.shares.shape[1]:
        for slot in range(pool.shares.shape[1]):
            left = pool.shares[node, slot]
            if left < WHOLE:
                whole += left
                if kind.milli and left >= kind.milli:
                    slots += left // kind.milli
                else:
                    stray += left
    if row.cpu < kind.cpu or row.memory < kind.memory:
        return float(whole)
    left = whole - within(row, kind, slots) * (kind.milli + kind.devices * WHOLE)
    return float(FILLED * left + (1.0 - FILLED) * stray)


@compiled
def loss(pool: Pool, node: int) -> float:
    """Thousandths of a node's free devices that are of no use to those who are expected, in the mean."""
    total, its = 0.0, pool.cells[pool.nodes[node].cell].kind
    for at in range(pool.size[EXPECTED]):
        if pool.parts[at].kind == its:
            total += pool.parts[at].share * unusable(pool, node, pool.parts[at])
    return total


@compiled
def cost(pool: Pool, node: int, part: Rows, worker: int) -> float:
    """What it costs to put a worker on a node where it fits, in devices; of equals the fuller node costs less."""
    before = loss(pool, node)
    change(pool, node, part, worker, -1)
    row = pool.nodes[node]
    found = (loss(pool, node) - before) / WHOLE + TIE * (row.cpu / CPUS + row.free / 8.0)
    change(pool, node, part, worker, 1)
    return float(found - (NEAR if pool.workers[worker].was == node else 0.0))


@compiled
def fits_on(pool: Pool, node: int, part: Rows) -> bool:
    """Whether one worker fits on a node now."""
    return bool(pool.nodes[node].is_open) and has_room(pool, node, part) and has_devices(pool, node, part)


@compiled
def fits_on_its(pool: Pool, job: int, part: Rows) -> bool:
    """Whether one worker fits on one of the nodes that a job has, or had."""
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        if fits_on(pool, pool.workers[worker].node, part):
            return True
    return False


@compiled
def least_loss(pool: Pool, begin: int, end: int, part: Rows, worker: int) -> int:
    """The node of the cells `lists[begin:end]` for a worker that comes alone; -1 if it fits on none now."""
    best, found, looked, near = np.inf, -1, 0, pool.workers[worker].was
    if near >= 0 and is_within(pool, near, begin, end) and fits_on(pool, near, part):
        best, found = cost(pool, near, part, worker), near
    for at in range(begin, end):
        cell = pool.cells[pool.lists[at]]
        for word in range(cell.word, cell.word_end):
            bits = np.uint64(0)
            for level in range(part.devices, pool.tally.shape[1]):
                bits |= pool.bits[level, word]
            while bits:
                node = cell.start + ((word - cell.word) << 6) + first_bit(bits)
                bits &= bits - ONE
                if not fits_on(pool, node, part):
                    continue
                its = cost(pool, node, part, worker)
                if its < best - 1e-9:
                    best, found = its, node
                looked += 1
                if looked == LOOK:
                    return int(found)
    return int(found)
