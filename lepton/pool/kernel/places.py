"""Give a job all that it holds, places and accounts, or nothing; and take it back.

A gang goes whole into the smallest scope that has room: of scopes of one tier the one with the fewest devices free,
then the next tier.
"""

from lepton.pool.kernel.accounts import charge, collides, keeps_out
from lepton.pool.kernel.cells import free_in, may_fit, may_fit_somewhere
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.fragments import least_loss
from lepton.pool.kernel.parts import change, is_free_again, node_for, put
from lepton.pool.kernel.state import EXPECTED, Order, Pool

EACH = 3
"""Numbers of a scope in `lists`."""


@compiled
def take(pool: Pool, order: Order, job: int, now: float) -> bool:
    """Give a job its places, noted in `workers`; change nothing and return False if it may not have them, or they are
    not there.
    """
    klass = pool.jobs[job].klass
    row = pool.classes[klass]
    if keeps_out(pool, klass) >= 0:
        return False
    if row.scopes_end - row.scopes == EACH:
        found = take_in(pool, job, pool.lists[row.scopes + 1], pool.lists[row.scopes + 2])
    else:
        found = may_fit_somewhere(pool, klass) and take_in_smallest(pool, job)
    if found:
        charge(pool, order, klass, 1, now)
    return found


@compiled
def take_in_smallest(pool: Pool, job: int) -> bool:
    """Try the scopes of a job one after the other, by tier and by what is free in them."""
    klass = pool.jobs[job].klass
    row, last_tier, last_free, last_at = pool.classes[klass], -1, -1, -1
    while True:
        best, tier, free = -1, 0, 0
        for at in range(row.scopes, row.scopes_end, EACH):
            its_tier, begin, end = int(pool.lists[at]), pool.lists[at + 1], pool.lists[at + 2]
            if not may_fit(pool, klass, begin, end):
                continue
            its = (its_tier, free_in(pool, begin, end), at)
            if its > (last_tier, last_free, last_at) and (best < 0 or its < (tier, free, best)):
                tier, free, best = its
        if best < 0:
            return False
        if take_in(pool, job, pool.lists[best + 1], pool.lists[best + 2]):
            return True
        last_tier, last_free, last_at = tier, free, best


@compiled
def take_in(pool: Pool, job: int, begin: int, end: int) -> bool:
    """Give a job its places in the cells `lists[begin:end]`, or change nothing and return False."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    if not may_fit(pool, klass, begin, end):
        return False
    is_alone = pool.size[EXPECTED] > 0 and pool.jobs[job].place_end - worker == 1
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = least_loss(pool, begin, end, part, worker) if is_alone else node_for(pool, begin, end, part, worker)
            if node < 0:
                give_before(pool, job, worker)
                return False
            change(pool, node, part, worker, -1)
            pool.workers[worker].node = node
            worker += 1
    return True


@compiled
def give(pool: Pool, order: Order, job: int, now: float) -> None:
    """Take back all that a job holds."""
    give_before(pool, job, pool.jobs[job].place_end)
    charge(pool, order, pool.jobs[job].klass, -1, now)


@compiled
def give_before(pool: Pool, job: int, end: int) -> None:
    """Take back the places of a job's workers before `end`."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            if worker >= end:
                return
            change(pool, pool.workers[worker].node, part, worker, 1)
            worker += 1


@compiled
def put_back(pool: Pool, order: Order, job: int, now: float) -> None:
    """Give a job the very places it had, whatever else is there: what was tried out is undone."""
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        for _ in range(pool.parts[at].workers):
            put(pool, pool.workers[worker].node, pool.parts[at], worker)
            worker += 1
    charge(pool, order, klass, 1, now)


@compiled
def take_back(pool: Pool, order: Order, job: int, by: int, now: float) -> bool:
    """Give a job the very places it had, if they are still free after another has taken its own; else change nothing
    and return False.
    """
    klass, worker = pool.jobs[job].klass, pool.jobs[job].place
    if collides(pool, klass, pool.jobs[by].klass):
        return False
    for at in range(pool.classes[klass].part, pool.classes[klass].part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = pool.workers[worker].node
            if not is_free_again(pool, node, part, worker):
                give_before(pool, job, worker)
                return False
            put(pool, node, part, worker)
            worker += 1
    charge(pool, order, klass, 1, now)
    return True
