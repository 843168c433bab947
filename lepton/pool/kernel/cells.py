"""Find, take and give back devices. Best fit: the open node with the fewest free devices that still fits; of equal
ones the first. A job gets places for all of its workers or none.
"""

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
    pool.tally[cell, level] += 1 if pool.bits[level, word] & bit else -1


@compiled
def mark_all(pool: Pool) -> None:
    """Count every open node, none of which is counted yet."""
    for node in range(len(pool.nodes)):
        if pool.nodes[node].is_open:
            mark(pool, node)


@compiled
def change(pool: Pool, node: int, part: Rows, sign: int) -> None:
    """Add `sign` times what one worker needs to what a node has free."""
    moves = pool.nodes[node].is_open and part.devices
    if moves:
        mark(pool, node)
    pool.nodes[node].free += sign * part.devices
    pool.nodes[node].cpu += sign * part.cpu
    pool.nodes[node].memory += sign * part.memory
    if moves:
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
def tightest(pool: Pool, klass: int, part: Rows) -> int:
    """The node that one worker of a class fills best; -1 if none fits now."""
    for level in range(part.devices, pool.tally.shape[1]):
        for at in range(pool.classes[klass].cells, pool.classes[klass].cells_end):
            cell = pool.lists[at]
            if pool.tally[cell, level]:
                node = first_at(pool, cell, level, part)
                if node >= 0:
                    return int(node)
    return -1


@compiled
def may_fit(pool: Pool, klass: int) -> bool:
    """Whether there are devices enough for each part of a class by itself: cheap, and right most of the time."""
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        need, missing = pool.parts[at].devices, pool.parts[at].workers
        for it in range(pool.classes[klass].cells, pool.classes[klass].cells_end):
            cell = pool.lists[it]
            for level in range(need, pool.tally.shape[1]):
                missing -= pool.tally[cell, level] * (level // need if need else 1)
        if missing > 0:
            return False
    return True


@compiled
def take(pool: Pool, job: int) -> bool:
    """Give a job all of its places, noted in `workers`; change nothing and return False if they are not there."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    if not may_fit(pool, klass):
        return False
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = tightest(pool, klass, part)
            if node < 0:
                give_before(pool, job, worker)
                return False
            change(pool, node, part, -1)
            pool.workers[worker].node = node
            worker += 1
    return True


@compiled
def give(pool: Pool, job: int) -> None:
    """Give back all that a job holds."""
    give_before(pool, job, pool.jobs[job].place_end)


@compiled
def give_before(pool: Pool, job: int, end: int) -> None:
    """Give back the places of a job's workers before `end`."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            if worker >= end:
                return
            change(pool, pool.workers[worker].node, part, 1)
            worker += 1


@compiled
def take_back(pool: Pool, job: int) -> bool:
    """Give a job the very places it had, if all of them are still free; else change nothing and return False."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = pool.workers[worker].node
            if pool.nodes[node].free < part.devices or not has_room(pool, node, part):
                give_before(pool, job, worker)
                return False
            change(pool, node, part, -1)
            worker += 1
    return True
