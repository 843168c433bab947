"""Reservations: when a job that has waited too long is expected to fit, and what may still start before."""

import numpy as np

from lepton.pool.kernel.compiled import compiled, compiled_allocating
from lepton.pool.kernel.order import done, outgrown
from lepton.pool.kernel.places import give, put_back, take
from lepton.pool.kernel.state import LATE, Order, Pool

CAUTION = 2.0
"""Where another's reservation depends on it, a job is expected to need so many times its estimate."""


@compiled
def is_held(pool: Pool, job: int, now: float) -> bool:
    """Whether a cell that the job might use is kept for another until before this one would end."""
    if not pool.size[LATE]:
        return False
    klass = pool.classes[pool.jobs[job].klass]
    until = now + CAUTION * pool.jobs[job].estimate
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        if cell.held_for >= 0 and cell.held_for != job and until > cell.held_until:
            return True
    return False


@compiled
def hold_cells(pool: Pool, order: Order, job: int, now: float) -> None:
    """Keep the cells of a job that is late, where nobody's are kept yet, until it is expected to fit.

    That moment only ever comes nearer, and is at most twice as far from its submit as the longest that it should wait:
    nobody else starts after it, so that the job waits for those that run then and for no more.
    One that would not fit even if all of them were empty keeps none: others would wait for nothing.
    """
    klass, until = pool.classes[pool.jobs[job].klass], -1.0
    if now < klass.unfit_until <= now + order.rest_s:
        return
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        if cell.held_for < 0:
            if until < 0:
                until = fits_at(pool, order, job, now)
                if until == np.inf:
                    klass.unfit_until = now + order.rest_s
                    return
                row = pool.jobs[job]
                row.reserved = min(row.reserved, until, row.submit + row.work + 2.0 * order.wait_cap_s)
            cell.held_for, cell.held_until = job, pool.jobs[job].reserved


@compiled
def expected_ends(pool: Pool, order: Order, job: int, now: float) -> int:
    """Put what runs where a job might in `room`, with when it is expected to end; return how many."""
    klass, count = pool.classes[pool.jobs[job].klass], 0
    for at in range(klass.cells, klass.cells_end):
        other = pool.cells[pool.lists[at]].running
        while other >= 0:
            done_s = done(pool.jobs[other], now)
            left_s = CAUTION * outgrown(order, pool.jobs[other].estimate, done_s) - done_s
            pool.room[count].found, pool.room[count].key = other, now + left_s
            count += 1
            other = pool.jobs[other].after
    return count


@compiled_allocating
def fits_at(pool: Pool, order: Order, job: int, now: float) -> float:
    """When a job is expected to fit, if nothing else starts: running jobs are tried away in the order of their ends."""
    count = expected_ends(pool, order, job, now)
    in_order = np.argsort(pool.room.key[:count], kind="mergesort")
    ranked, ends = pool.room.found[:count][in_order], pool.room.key[:count][in_order]
    until, given, fits = now, 0, False
    while given < count and not fits:
        give(pool, order, ranked[given], now)
        until = max(now, ends[given])
        given += 1
        fits = take(pool, order, job, now)
    if fits:
        give(pool, order, job, now)
    for at in range(given - 1, -1, -1):
        put_back(pool, order, ranked[at], now)
    return until if fits else np.inf
