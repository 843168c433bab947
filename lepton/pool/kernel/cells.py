"""Find nodes. Best fit: the open node with the fewest free devices that still fits; of equal ones the first."""

import numpy as np

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import Pool, Rows

ONE = np.uint64(1)


@compiled
def mark(pool: Pool, node: int) -> None:
    """Count an open node under what it has free now, or no longer: a second call undoes the first."""
    cell, level = pool.nodes[node].cell, pool.nodes[node].free
    offset = node - pool.cells[cell].start
    word = pool.cells[cell].word + (offset >> 6)
    bit = ONE << np.uint64(offset & 63)
    pool.bits[level, word] ^= bit
    change = 1 if pool.bits[level, word] & bit else -1
    pool.tally[cell, level] += change
    pool.cells[cell].free += change * level


@compiled
def mark_all(pool: Pool) -> None:
    """Count every open node, none of which is counted yet."""
    for node in range(len(pool.nodes)):
        if pool.nodes[node].is_open:
            mark(pool, node)


@compiled
def first_bit(word: np.uint64) -> int:
    """Index of the lowest bit that is set."""
    index = 0
    while not word & np.uint64(0xFF):
        word >>= np.uint64(8)
        index += 8
    while not word & ONE:
        word >>= ONE
        index += 1
    return index


@compiled
def has_room(pool: Pool, node: int, part: Rows) -> bool:
    """Whether a node has the CPUs and memory of one worker free."""
    return bool(pool.nodes[node].cpu >= part.cpu and pool.nodes[node].memory >= part.memory)


@compiled
def first_at(pool: Pool, cell: int, level: int, part: Rows) -> int:
    """First node of a cell with exactly so many devices free and room for one worker; -1 if there is none."""
    begin = pool.cells[cell].word
    for word in range(begin, pool.cells[cell].word_end):
        bits = pool.bits[level, word]
        while bits:
            node = pool.cells[cell].start + ((word - begin) << 6) + first_bit(bits)
            if has_room(pool, node, part):
                return int(node)
            bits &= bits - ONE
    return -1


@compiled
def tightest(pool: Pool, begin: int, end: int, part: Rows, devices: int) -> int:
    """The node of the cells `lists[begin:end]` that a worker with so many devices fills best; -1 if none fits now."""
    for level in range(devices, pool.tally.shape[1]):
        for at in range(begin, end):
            cell = pool.lists[at]
            if pool.tally[cell, level]:
                node = first_at(pool, cell, level, part)
                if node >= 0:
                    return int(node)
    return -1


@compiled
def free_in(pool: Pool, begin: int, end: int) -> int:
    """Whole devices that nobody holds on the open nodes of some cells."""
    free = 0
    for at in range(begin, end):
        free += pool.cells[pool.lists[at]].free
    return int(free)


@compiled
def may_fit(pool: Pool, klass: int, begin: int, end: int) -> bool:
    """Whether there are devices enough for each part of a class by itself: cheap, and right most of the time."""
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        need, missing = pool.parts[at].devices, pool.parts[at].workers
        if not need:
            continue
        for it in range(begin, end):
            missing -= slots_of(pool, pool.lists[it], need)
        if missing > 0:
            return False
    return True


@compiled
def slots_of(pool: Pool, cell: int, need: int) -> int:
    """Workers with so many devices that would find them free in a cell."""
    found = 0
    if pool.cells[cell].free >= need:
        for level in range(need, pool.tally.shape[1]):
            found += pool.tally[cell, level] * (level // need)
    return int(found)


@compiled
def may_fit_somewhere(pool: Pool, klass: int) -> bool:
    """The same for all cells of a class together."""
    return may_fit(pool, klass, pool.classes[klass].cells, pool.classes[klass].cells_end)
