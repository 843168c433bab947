"""Devices that are given away in parts: on which one a worker gets its thousandths.

A worker that wants a part of a device goes to the device in parts that it leaves the least of; a whole one is broken
into only where none has enough left. So whole devices stay whole for those who need them.
"""

from lepton.pool.kernel.cells import has_room, mark, tightest
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import EXPECTED, WHOLE, Pool, Rows


@compiled
def fullest(pool: Pool, begin: int, end: int, part: Rows) -> int:
    """The node of some cells with the device in parts that has the least left and enough for a worker; -1: none."""
    found, least = -1, WHOLE
    for at in range(begin, end):
        cell = pool.cells[pool.lists[at]]
        for node in range(cell.start, cell.end):
            row = pool.nodes[node]
            if row.is_open and row.most >= part.milli and has_room(pool, node, part):
                left = pool.shares[node, slot_for(pool, node, part.milli)]
                if left < least:
                    found, least = node, left
    return int(found)


@compiled
def slot_for(pool: Pool, node: int, milli: int) -> int:
    """The device in parts of a node that has the least left and enough; -1 if there is none."""
    found, least = -1, WHOLE
    for slot in range(pool.shares.shape[1]):
        if milli <= pool.shares[node, slot] < least:
            found, least = slot, pool.shares[node, slot]
    return int(found)


@compiled
def node_for(pool: Pool, begin: int, end: int, part: Rows, worker: int) -> int:
    """The node of some cells for one worker of several; -1 if none fits now. Of equals the one that has its files."""
    if part.milli:
        node = fullest(pool, begin, end, part)
        return node if node >= 0 else tightest(pool, begin, end, part, 1)
    node = tightest(pool, begin, end, part, part.devices)
    if node < 0 or not pool.size[EXPECTED]:
        return node
    near = pool.workers[worker].was
    if near < 0 or pool.nodes[near].free != pool.nodes[node].free or not pool.nodes[near].is_open:
        return node
    return near if is_within(pool, near, begin, end) and has_room(pool, near, part) else node


@compiled
def is_within(pool: Pool, node: int, begin: int, end: int) -> bool:
    """Whether a node belongs to the cells `lists[begin:end]`."""
    count = 0
    for at in range(begin, end):
        count += pool.lists[at] == pool.nodes[node].cell
    return bool(count)


@compiled
def has_devices(pool: Pool, node: int, part: Rows) -> bool:
    """Whether a node has the devices of one worker free, CPUs and memory aside."""
    if part.milli:
        return bool(pool.nodes[node].most >= part.milli or pool.nodes[node].free > 0)
    return bool(pool.nodes[node].free >= part.devices)


@compiled
def is_free_again(pool: Pool, node: int, part: Rows, worker: int) -> bool:
    """Whether a worker could have again what it had of a node: of a device in parts, the very same."""
    if not has_room(pool, node, part):
        return False
    if not part.milli:
        return bool(pool.nodes[node].free >= part.devices)
    left = pool.shares[node, pool.workers[worker].slot]
    return bool(part.milli <= left and (left < WHOLE or pool.nodes[node].free > 0))


@compiled
def add_free(pool: Pool, node: int, devices: int) -> None:
    """A node has so many more whole devices free, or fewer."""
    if pool.nodes[node].is_open:
        mark(pool, node)
    pool.nodes[node].free += devices
    if pool.nodes[node].is_open:
        mark(pool, node)


@compiled
def change(pool: Pool, node: int, part: Rows, worker: int, sign: int) -> None:
    """Add `sign` times what a worker needs to what a node has free."""
    if part.devices:
        add_free(pool, node, sign * part.devices)
    pool.nodes[node].cpu += sign * part.cpu
    pool.nodes[node].memory += sign * part.memory
    if part.milli:
        share(pool, node, part.milli, worker, sign)


@compiled
def put(pool: Pool, node: int, part: Rows, worker: int) -> None:
    """Let a worker hold what it needs of a node, and of the device that is noted as its, whether it is free or not."""
    if not part.milli:
        change(pool, node, part, worker, -1)
        return
    slot = pool.workers[worker].slot
    pool.nodes[node].cpu -= part.cpu
    pool.nodes[node].memory -= part.memory
    if pool.shares[node, slot] == WHOLE:
        add_free(pool, node, -1)
    pool.shares[node, slot] -= part.milli
    count_most(pool, node)


@compiled
def share(pool: Pool, node: int, milli: int, worker: int, sign: int) -> None:
    """Give a worker its part of a device, or take it back."""
    if sign < 0:
        slot = slot_for(pool, node, milli)
        if slot < 0:
            slot = 0
            while pool.shares[node, slot] < WHOLE:
                slot += 1
            add_free(pool, node, -1)
        pool.workers[worker].slot = slot
    slot = pool.workers[worker].slot
    pool.shares[node, slot] += sign * milli
    if pool.shares[node, slot] == WHOLE:
        add_free(pool, node, 1)
    count_most(pool, node)


@compiled
def count_most(pool: Pool, node: int) -> None:
    """Note what the device in parts that has most left has."""
    most = 0
    for each in range(pool.shares.shape[1]):
        if pool.shares[node, each] < WHOLE:
            most = max(most, pool.shares[node, each])
    pool.nodes[node].most = most
