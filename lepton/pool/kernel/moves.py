"""The changes of state that a plan consists of: a job waits, starts, is stopped, ends."""

import numpy as np

from lepton.pool.kernel.accounts import wake, wake_chain, wake_kept_out
from lepton.pool.kernel.bounds import join, part
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.heaps import merged, without_first
from lepton.pool.kernel.order import done, key_of, outgrown
from lepton.pool.kernel.pace import note_run, note_wait
from lepton.pool.kernel.places import give
from lepton.pool.kernel.state import ENDED, EXCESS, LATE, RUNNING, WAITING, Order, Pool


@compiled
def wake_cells_of(pool: Pool, job: int) -> None:
    """Something has become free where a job ran: wake who may use it."""
    last = -1
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        cell = pool.nodes[pool.workers[worker].node].cell
        if cell != last:
            wake_chain(pool, pool.cells[cell].link)
        last = cell


@compiled
def wait(pool: Pool, order: Order, job: int) -> None:
    """Queue a job under the key that its estimate gives."""
    row, klass = pool.jobs[job], pool.jobs[job].klass
    row.key = key_of(order, pool.pace[EXCESS], row.submit, row.estimate, pool.classes[klass].devices, row.work)
    row.state, row.left, row.right = WAITING, -1, -1
    was_first = pool.classes[klass].root
    pool.classes[klass].root = merged(pool.jobs, was_first, job)
    if was_first < 0 or (order.preempts and pool.classes[klass].root == job):
        wake(pool, klass)


@compiled
def first_waiting(pool: Pool, klass: int) -> int:
    """First job of a class that is still in its queue; -1 if there is none."""
    job = pool.classes[klass].root
    while job >= 0 and (pool.jobs[job].state != WAITING or pool.jobs[job].is_late):
        job = without_first(pool.jobs, job)
    pool.classes[klass].root = job
    return int(job)


@compiled
def leave_heap(pool: Pool, job: int) -> None:
    """Take a job out of the heap of its class, where one that was late when it started may still be."""
    klass, kept = pool.jobs[job].klass, -1
    root = pool.classes[klass].root
    while root >= 0:
        rest = without_first(pool.jobs, root)
        if root != job:
            kept = merged(pool.jobs, kept, root)
        root = rest
    pool.classes[klass].root = kept


@compiled
def enlist(pool: Pool, order: Order, job: int, now: float) -> None:
    """Put a job in the list of what runs in its first worker's cell."""
    row = pool.jobs[job]
    cell = pool.cells[pool.nodes[pool.workers[row.place].node].cell]
    join(pool, order, job, now)
    row.before, row.after = -1, cell.running
    if cell.running >= 0:
        pool.jobs[cell.running].before = job
    cell.running = job


@compiled
def delist(pool: Pool, job: int) -> None:
    """Take a job out of that list."""
    part(pool, job)
    row = pool.jobs[job]
    if row.before >= 0:
        pool.jobs[row.before].after = row.after
    else:
        pool.cells[pool.nodes[pool.workers[row.place].node].cell].running = row.after
    if row.after >= 0:
        pool.jobs[row.after].before = row.before


@compiled
def start(pool: Pool, order: Order, job: int, now: float) -> None:
    """A job that has its places begins to run."""
    row = pool.jobs[job]
    row.state, row.begun, row.lead = RUNNING, now, 0.0
    row.runs += 1
    if row.runs == 1:
        note_wait(pool, job, now)
    enlist(pool, order, job, now)


@compiled
def stop(pool: Pool, order: Order, job: int, now: float) -> None:
    """A running job, whose places are given back already, waits again with what it has done."""
    row = pool.jobs[job]
    delist(pool, job)
    if row.is_late:
        leave_heap(pool, job)
    row.is_late = 0  # it becomes late anew
    row.work = done(row, now)
    row.estimate = outgrown(order, row.estimate, row.work)
    wait(pool, order, job)
    wake_after(pool, job)


@compiled
def end(pool: Pool, order: Order, job: int, now: float) -> None:
    """A running job is done."""
    note_run(pool, order, job, now)
    give(pool, order, job, now)
    delist(pool, job)
    pool.jobs[job].state = ENDED
    wake_after(pool, job)


@compiled
def wake_after(pool: Pool, job: int) -> None:
    """A job has given back what it held: wake who could use it."""
    wake_cells_of(pool, job)
    wake_kept_out(pool, pool.jobs[job].klass)


@compiled
def make_late(pool: Pool, job: int) -> bool:
    """A waiting job has waited too long."""
    row = pool.jobs[job]
    if row.state != WAITING or row.is_late:
        return False
    row.is_late, row.reserved = 1, np.inf
    pool.classes[row.klass].is_stirred = 1
    pool.room[pool.size[LATE]].late = job
    pool.size[LATE] += 1
    return True
