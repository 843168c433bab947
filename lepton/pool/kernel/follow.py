"""What a pool that is kept up to date needs beside deciding: truths from outside are entered into the arrays."""

from lepton.pool.kernel.accounts import charge, wake, wake_chain
from lepton.pool.kernel.cells import has_room, mark
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.moves import delist, enlist, stop, wait, wake_after
from lepton.pool.kernel.parts import has_devices, put
from lepton.pool.kernel.places import give
from lepton.pool.kernel.state import RUNNING, Order, Pool


@compiled
def set_open(pool: Pool, node: int, is_open: int) -> None:
    """New work may go to a node from now on, or no longer. One that has given more than it has stays shut."""
    row = pool.nodes[node]
    if is_open and (row.free < 0 or row.cpu < 0 or row.memory < 0):
        is_open = 0
    if row.is_open == is_open:
        return
    if row.is_open:
        mark(pool, node)
    row.is_open = is_open
    if is_open:
        mark(pool, node)
        wake_chain(pool, pool.cells[row.cell].link)


@compiled
def hold(pool: Pool, order: Order, job: int, now: float) -> None:
    """A job holds the places noted in `workers` (node, and slot for a part of a device), whether they are free or not.

    A node that has given more than it has takes nothing new. The job's start is noted as `now`.
    """
    row = pool.jobs[job]
    klass, worker = row.klass, row.place
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = pool.workers[worker].node
            if not has_devices(pool, node, part) or not has_room(pool, node, part):
                set_open(pool, node, 0)
            put(pool, node, part, worker)
            worker += 1
    charge(pool, order, klass, 1, now)
    row.state, row.begun, row.lead = RUNNING, now, 0.0
    enlist(pool, order, job, now)


@compiled
def evict(pool: Pool, order: Order, job: int, now: float) -> None:
    """A running job gives its places back and waits again."""
    give(pool, order, job, now)
    stop(pool, order, job, now)


@compiled
def take_promise_back(pool: Pool, order: Order, job: int, now: float) -> None:
    """A job that was promised places, and has not begun, waits as before."""
    give(pool, order, job, now)
    delist(pool, job)
    wait(pool, order, job)
    wake_after(pool, job)


@compiled
def wake_all(pool: Pool, classes: int) -> None:
    """Look at all of the first so many classes in the next decision: time alone may have changed what they can have."""
    for klass in range(classes):
        wake(pool, klass)
