"""Who holds how much, and may: guarantees, limits and fair shares of queues, users and workspaces.

A job counts in its queue, in every queue above it, and in the quotas it falls under. Its *level* is how far up one has
to go until what it asks for is within a guarantee: 0 in its own queue's, 1 in that of the queue above, and so on; where
nobody guarantees it, it borrows. Lower levels go first, and may take back what higher ones have borrowed. Among equals,
where shares are kept, the queue goes first that has held, and holds, the smaller part of the pool for its weight
(dominant resource fairness with a past that fades; Ghodsi et al. 2011).
"""

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import AWAKE, RANKS, Ints, Order, Pool

BORROWS = 7
"""Level of what nobody guarantees."""


@compiled
def wake(pool: Pool, klass: int) -> None:
    """Something has changed for a class: look at it in the next decision, if it has a waiting job."""
    pool.classes[klass].is_put_off = 0
    pool.classes[klass].is_stirred = 1
    look_again(pool, klass)


@compiled
def look_again(pool: Pool, klass: int) -> None:
    """Look at a class in the next decision, if it has a waiting job."""
    row = pool.classes[klass]
    if row.root >= 0 and not row.is_awake:
        row.is_awake = 1
        pool.room[pool.size[AWAKE]].awake = klass
        pool.size[AWAKE] += 1


@compiled
def wake_chain(pool: Pool, link: int) -> None:
    """Wake the classes of a chain of links."""
    while link >= 0:
        wake(pool, pool.links[link].klass)
        link = pool.links[link].after


@compiled
def charge(pool: Pool, order: Order, klass: int, sign: int, now: float) -> None:
    """Add `sign` times what a job of a class holds to its accounts."""
    row = pool.classes[klass]
    for at in range(row.accounts, row.accounts_end):
        account = pool.lists[at]
        if order.half_life_s > 0.0:
            settle(pool, order, account, now)
        for each in range(pool.need.shape[1]):
            pool.used[account, each] += sign * pool.need[klass, each]


@compiled
def wake_kept_out(pool: Pool, klass: int) -> None:
    """A job of this class holds nothing any more: wake who waits because of a limit."""
    row = pool.classes[klass]
    for at in range(row.accounts, row.accounts_end):
        account = pool.accounts[pool.lists[at]]
        if account.is_full:
            account.is_full = 0
            wake_chain(pool, account.link)


@compiled
def exceeds(pool: Pool, bound: Ints, account: int, klass: int, extra: int) -> bool:
    """Whether an account with `extra` more jobs of a class holds more than `bound` of anything that they ask for."""
    count = 0
    for each in range(pool.need.shape[1]):
        need = pool.need[klass, each]
        count += need > 0 and pool.used[account, each] + extra * need > bound[account, each]
    return bool(count)


@compiled
def keeps_out(pool: Pool, klass: int) -> int:
    """The account whose limit one more job of a class would exceed; -1 if there is none."""
    row = pool.classes[klass]
    for at in range(row.accounts, row.accounts_end):
        if exceeds(pool, pool.limit, pool.lists[at], klass, 1):
            return int(pool.lists[at])
    return -1


@compiled
def collides(pool: Pool, klass: int, other: int) -> bool:
    """Whether one more job of a class would exceed a limit that a job of another class counts against too."""
    one, two = pool.classes[klass], pool.classes[other]
    for at in range(one.accounts, one.accounts_end):
        account = pool.lists[at]
        if exceeds(pool, pool.limit, account, klass, 1):
            for its in range(two.accounts, two.accounts_end):
                if pool.lists[its] == account:
                    return True
    return False


@compiled
def level_of(pool: Pool, klass: int, extra: int) -> int:
    """Level of a class's next job (`extra` 1), or of those that it has running (0)."""
    row = pool.classes[klass]
    for at in range(row.accounts, row.queues_end):
        if not exceeds(pool, pool.guarantee, pool.lists[at], klass, extra):
            return int(at - row.accounts)
    return BORROWS


@compiled
def standing(pool: Pool, order: Order, klass: int) -> int:
    """What goes before any key: level, so that a guarantee holds against any priority of others; then priority."""
    return int(RANKS * (level_of(pool, klass, 1) if order.has_guarantees else 0) + pool.classes[klass].rank)


@compiled
def is_guaranteed(pool: Pool, klass: int) -> bool:
    """Whether somebody guarantees what one more job of a class asks for."""
    return level_of(pool, klass, 1) < BORROWS


@compiled
def is_entitled(pool: Pool, klass: int) -> bool:
    """Whether somebody would guarantee a job of a class what it asks for, if he guaranteed it to nobody else."""
    row = pool.classes[klass]
    for at in range(row.accounts, row.queues_end):
        count = 0
        for each in range(pool.need.shape[1]):
            need = pool.need[klass, each]
            count += need > 0 and need > pool.guarantee[pool.lists[at], each]
        if not count:
            return True
    return False


@compiled
def held_part(pool: Pool, account: int) -> float:
    """The largest part of any one amount of the pool that an account holds: its dominant share."""
    most = 0.0
    for each in range(pool.used.shape[1]):
        if pool.capacity[each] > 0:
            most = max(most, pool.used[account, each] / pool.capacity[each])
    return most


@compiled
def settle(pool: Pool, order: Order, account: int, now: float) -> None:
    """Bring the mean of an account's past up to now, before what it holds changes."""
    row = pool.accounts[account]
    if now > row.usage_at:
        kept = 0.5 ** ((now - row.usage_at) / order.half_life_s)
        row.usage = row.usage * kept + held_part(pool, account) * (1.0 - kept)
        row.usage_at = now


@compiled
def share_of(pool: Pool, order: Order, account: int, now: float) -> float:
    """Past and present part of the pool, for its weight."""
    settle(pool, order, account, now)
    return float((pool.accounts[account].usage + held_part(pool, account)) / pool.accounts[account].weight)


@compiled
def refresh(pool: Pool, order: Order, klass: int, now: float) -> bool:
    """Note the standing and shares of a class as of now; return whether they have changed."""
    row, level = pool.classes[klass], standing(pool, order, klass)
    share, own_share = 0.0, 0.0
    if order.half_life_s > 0.0:
        share = share_of(pool, order, pool.lists[row.queues_end - 1], now)
        own_share = share_of(pool, order, row.account, now)
    if row.level == level and row.share == share and row.own_share == own_share:
        return False
    row.level, row.share, row.own_share = level, share, own_share
    return True
