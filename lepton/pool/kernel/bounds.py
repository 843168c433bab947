"""Is there anybody who could be stopped for a job at all? A cheap answer that is never wrongly no.

Looking for victims means to look at every running job. So for each queue and priority it is known how many run, how
many devices they have, and the largest key that one of them has or will have within `AHEAD_S`. Most waiting jobs can be
told from that alone that they have to wait. A part of a device counts as a device there.
"""

from lepton.pool.kernel.accounts import BORROWS, level_of
from lepton.pool.kernel.cells import free_in
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.order import running_key
from lepton.pool.kernel.state import BY_KEY, EXCESS, RANKS, Order, Pool

AHEAD_S = 10.0


@compiled
def largest_key(pool: Pool, order: Order, job: int, now: float) -> float:
    """A bound on the key of a running job until `AHEAD_S` from now."""
    row = pool.jobs[job]
    if pool.classes[row.klass].is_pinned:
        return -1e300
    devices, excess = pool.classes[row.klass].devices, pool.pace[EXCESS]
    return max(running_key(order, excess, row, devices, now), running_key(order, excess, row, devices, now + AHEAD_S))


@compiled
def crowd_of(pool: Pool, job: int) -> int:
    """Row of `crowds` of a job's queue and priority."""
    klass = pool.classes[pool.jobs[job].klass]
    return int(klass.account * RANKS + klass.rank)


@compiled
def join(pool: Pool, order: Order, job: int, now: float) -> None:
    """A job has begun to run."""
    crowd = pool.crowds[crowd_of(pool, job)]
    crowd.jobs += 1
    crowd.devices += pool.classes[pool.jobs[job].klass].touches
    if order.preempts:
        crowd.largest = max(crowd.largest, largest_key(pool, order, job, now))


@compiled
def part(pool: Pool, job: int) -> None:
    """A job does not run any more."""
    crowd = pool.crowds[crowd_of(pool, job)]
    crowd.jobs -= 1
    crowd.devices -= pool.classes[pool.jobs[job].klass].touches


@compiled
def renew(pool: Pool, order: Order, now: float) -> None:
    """Look at every running job, if that was too long ago."""
    if pool.renewed_at[0] <= now <= pool.renewed_at[0] + AHEAD_S:
        return
    pool.renewed_at[0] = now
    for at in range(len(pool.crowds)):
        pool.crowds[at].largest = -1e300
    for cell in range(len(pool.cells)):
        job = pool.cells[cell].running
        while job >= 0:
            crowd = pool.crowds[crowd_of(pool, job)]
            crowd.largest = max(crowd.largest, largest_key(pool, order, job, now))
            job = pool.jobs[job].after


@compiled
def borrows(pool: Pool, account: int) -> bool:
    """Whether a queue holds more than its guarantee of anything."""
    count = 0
    for each in range(pool.used.shape[1]):
        count += pool.used[account, each] > pool.guarantee[account, each]
    return bool(count)


@compiled
def may_have_victims(pool: Pool, order: Order, job: int, now: float) -> bool:
    """Whether those who might be stopped for a job and what is free could be enough for it."""
    index = pool.jobs[job].klass
    mine, count = pool.classes[index], 0
    level, devices = level_of(pool, index, 1), 0
    may_reclaim = order.has_guarantees and now - pool.jobs[job].submit >= order.grace_s
    for account in range(len(pool.crowds) // RANKS):
        for rank in range(RANKS):
            crowd = pool.crowds[account * RANKS + rank]
            if not crowd.jobs:
                continue
            is_later = pool.size[BY_KEY] > 0 and rank == mine.rank and crowd.largest > pool.jobs[job].key + order.margin
            may_take_back = may_reclaim and level < BORROWS and borrows(pool, account)
            if rank > mine.rank or is_later or may_take_back:
                count += crowd.jobs
                devices += crowd.devices
    if not count or devices >= mine.devices:
        return bool(count > 0)
    return bool(devices + free_in(pool, mine.cells, mine.cells_end) >= mine.devices)
