"""Whom to stop so that a waiting job fits. Nobody, unless it then really fits: all is tried out on the arrays first.

Candidates go in order of priority, lowest first, and of their key, largest first, until the job fits; then each that
turns out not to be in its way gets its very places back, the dearest first. So the set is as small as that order
allows, and it is a set of places that belong together, not a sum of devices. A second of work that a stop would lose
counts as if the victim had come a second sooner: who has just saved a checkpoint goes before who has not.
"""

import numpy as np

from lepton.pool.kernel.accounts import level_of
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.order import done, running_key
from lepton.pool.kernel.places import give, take, take_back
from lepton.pool.kernel.state import Order, Pool

PRIORITY = 1e12
"""More than any two keys differ by, in seconds."""


@compiled
def lost(pool: Pool, job: int, now: float) -> float:
    """Seconds of work that a running job would lose."""
    return float(max(0.0, done(pool, job, now) - pool.jobs[job].saved))


@compiled
def may_stop(pool: Pool, order: Order, victim: int, job: int, key: float, now: float) -> bool:
    """Whether a running job with this key now may be stopped for a waiting one."""
    its_class, my_class = pool.jobs[victim].klass, pool.jobs[job].klass
    its, mine = pool.classes[its_class], pool.classes[my_class]
    if its.rank != mine.rank:
        return bool(its.rank > mine.rank)
    if order.has_guarantees and its.account != mine.account:
        its_level, my_level = level_of(pool, its_class, 0), level_of(pool, my_class, 1)
        if its_level != my_level:
            return bool(my_level < its_level and now - pool.jobs[job].submit >= order.grace_s)
    return bool(not its.is_pinned and key > pool.jobs[job].key + order.margin)


@compiled
def candidates(pool: Pool, order: Order, job: int, now: float) -> int:
    """Put who may be stopped for a job in `room`, with keys, in no order; return how many.

    Who has started this very moment may not: so nobody starts or stops twice in one decision.
    """
    klass, count = pool.classes[pool.jobs[job].klass], 0
    for at in range(klass.cells, klass.cells_end):
        victim = pool.cells[pool.lists[at]].running
        while victim >= 0:
            row = pool.jobs[victim]
            if not row.is_late and row.begun < now and now - row.begun - row.lead >= order.min_run_s:
                key = running_key(pool, order, victim, now) - lost(pool, victim, now)
                if may_stop(pool, order, victim, job, key, now):
                    pool.room[count].found = victim
                    pool.room[count].key = key + PRIORITY * pool.classes[row.klass].rank
                    count += 1
            victim = row.after
    return count


@compiled
def devices_enough(pool: Pool, job: int, count: int) -> bool:
    """Whether the candidates and what is free have devices enough together, wherever they are."""
    klass = pool.classes[pool.jobs[job].klass]
    missing = klass.devices
    if not missing:
        return True
    for at in range(klass.cells, klass.cells_end):
        for level in range(1, pool.tally.shape[1]):
            missing -= level * pool.tally[pool.lists[at], level]
    for at in range(count):
        missing -= pool.classes[pool.jobs[pool.room[at].found].klass].devices
    return bool(missing <= 0)


@compiled
def make_room(pool: Pool, order: Order, job: int, now: float) -> int:
    """Give a job its places at the cost of running ones: those are put at the front of `room.found`, without places.

    Returns:
        How many have to stop; -1 if the job does not fit even so, and nothing is changed.
    """
    count = candidates(pool, order, job, now)
    if not devices_enough(pool, job, count):
        return -1
    ranked = pool.room.found[:count][np.argsort(-pool.room.key[:count], kind="mergesort")]
    fits, given = False, 0
    while given < count and not fits:
        give(pool, order, ranked[given], now)
        given += 1
        fits = take(pool, order, job, now)
    stopped = 0
    for at in range(given - 1, -1, -1):
        if not take_back(pool, order, ranked[at], now):
            pool.room[stopped].found = ranked[at]
            stopped += 1
    return stopped if fits else -1
