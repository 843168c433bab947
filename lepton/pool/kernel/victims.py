"""Whom to stop so that a waiting job fits. Nobody, unless it then really fits: all is tried out on the arrays first.

Candidates go in order of what they borrow (first who borrows more than the waiting one does), of priority, lowest
first, and of their key, largest first, until the job fits; then each that turns out not to be in its way gets its very
places back, the dearest first. So the set is as small as that order
allows, and it is a set of places that belong together, not a sum of devices. A second of work that a stop would lose
counts as if the victim had come a second sooner: who has just saved a checkpoint goes before who has not.

*Why the pool does not only switch.* Of three gangs, one may take back what the second borrows, the second go before the
third, and the third before the first: whoever waits could always stop who runs. So a run is stopped for a key or a
priority only when it has worked for as long as its restart took. To take back what is guaranteed never has to wait for
that, and cannot go round in circles alone: of whom it stops the queue borrows, of whom it starts it does not.
"""

import numpy as np

from lepton.pool.kernel.accounts import keeps_out, level_of
from lepton.pool.kernel.cells import free_in, slots_of
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.fragments import fits_on_its
from lepton.pool.kernel.order import done, running_key
from lepton.pool.kernel.places import give, put_back, take, take_back
from lepton.pool.kernel.state import BY_KEY, EXCESS, Order, Pool, Rows

PRIORITY = 1e12
"""More than any two keys differ by, in seconds."""
BORROWED = 16 * PRIORITY
"""More than priorities come to."""


@compiled
def may_stop(order: Order, its: Rows, mine: Rows, is_later: bool, may_reclaim: bool, has_earned: bool) -> bool:
    """Whether a running job of a class may be stopped for a waiting one of another.

    Args:
        is_later: its key is larger.
        may_reclaim: the waiting one may take back what others have borrowed.
        has_earned: it has worked for as long as its restart took.
    """
    if order.has_guarantees and its.account != mine.account:
        if its.borrowed < mine.borrowed or not its.borrowed:  # what is guaranteed to others is theirs
            return False
        if its.borrowed > mine.borrowed and may_reclaim:
            return True
    if its.rank != mine.rank:
        return bool(its.rank > mine.rank and has_earned)
    if order.has_guarantees and its.account != mine.account and its.borrowed > mine.borrowed:
        return False
    return bool(is_later and has_earned and not its.is_pinned)


@compiled
def candidates(pool: Pool, order: Order, job: int, now: float) -> int:
    """Put who may be stopped for a job in `room`, with keys, in no order; return how many.

    Who has started this very moment may not: so nobody starts or stops twice in one decision.
    """
    jobs, classes, room, count = pool.jobs, pool.classes, pool.room, 0
    klass = classes[jobs[job].klass]
    for each in range(len(classes) if order.has_guarantees else 0):
        classes[each].borrowed = level_of(pool, each, 0)
    klass.borrowed = level_of(pool, jobs[job].klass, 1)  # never read as a victim's
    for at in range(klass.cells, klass.cells_end):
        victim = pool.cells[pool.lists[at]].running
        while victim >= 0:
            row = jobs[victim]
            its = classes[row.klass]
            has_run = row.begun < now and now - row.begun - row.lead >= order.min_run_s
            if has_run or row.begun > now:  # the clock was set back
                key = running_key(order, pool.pace[EXCESS], row, its.devices, now)
                if row.saved < np.inf:  # what a stop would lose
                    key -= max(0.0, done(row, now) - row.saved)
                if is_victim(pool, order, victim, key, job, now):
                    room[count].found, room[count].turn = victim, count
                    room[count].key = key + PRIORITY * its.rank + (BORROWED if borrows_more(its, klass) else 0.0)
                    count += 1
            victim = row.after
    return count


@compiled
def borrows_more(its: Rows, mine: Rows) -> bool:
    """Whether another queue's class borrows more than a waiting one does."""
    return bool(its.account != mine.account and its.borrowed > mine.borrowed)


@compiled
def is_victim(pool: Pool, order: Order, victim: int, key: float, job: int, now: float) -> bool:
    """Whether a running job may be stopped for a waiting one, as much as their queues hold now.

    One that was late when it started is stopped for what is guaranteed to others, and for nothing else.
    """
    its, mine = pool.classes[pool.jobs[victim].klass], pool.classes[pool.jobs[job].klass]
    may_reclaim = now - pool.jobs[job].submit >= order.grace_s
    if pool.jobs[victim].is_late and not (order.has_guarantees and may_reclaim and its.borrowed > mine.borrowed):
        return False
    row = pool.jobs[victim]
    worked = np.inf if row.begun > now else now - row.begun - row.lead
    is_later = worked >= order.turn_s and pool.size[BY_KEY] > 0 and key > pool.jobs[job].key + order.margin
    return may_stop(order, its, mine, is_later, may_reclaim, worked >= row.lead)


@compiled
def devices_enough(pool: Pool, job: int, count: int) -> bool:
    """Whether the candidates and what is free have devices enough together, wherever they are."""
    klass = pool.classes[pool.jobs[job].klass]
    missing = klass.devices
    if not missing:
        return True
    missing -= free_in(pool, klass.cells, klass.cells_end)
    for at in range(count):
        missing -= pool.classes[pool.jobs[pool.room[at].found].klass].touches
    return bool(missing <= 0) and nodes_enough(pool, job, count)


@compiled
def nodes_enough(pool: Pool, job: int, count: int) -> bool:
    """Whether nodes enough would have room for one worker, if all candidates stopped; where workers are alike."""
    need = even_need(pool, job)
    if not need:
        return True
    klass, missing = pool.classes[pool.jobs[job].klass], 0
    missing = pool.parts[klass.part].workers - slots_in(pool, job, need)
    for at in range(count):
        gain(pool, pool.room[at].found)
    for at in range(count):
        victim = pool.jobs[pool.room[at].found]
        for worker in range(victim.place, victim.place_end):
            node = pool.nodes[pool.workers[worker].node]
            if node.gain and node.is_open:
                missing += node.free // need - (node.free + node.gain) // need
            node.gain = 0
    return bool(missing <= 0)


@compiled
def gain(pool: Pool, job: int) -> None:
    """Note on its nodes the devices that a running job holds there, or parts of."""
    worker = pool.jobs[job].place
    klass = pool.classes[pool.jobs[job].klass]
    for at in range(klass.part, klass.part_end):
        for _ in range(pool.parts[at].workers):
            pool.nodes[pool.workers[worker].node].gain += pool.parts[at].devices + (pool.parts[at].milli > 0)
            worker += 1


@compiled
def make_room(pool: Pool, order: Order, job: int, now: float) -> int:
    """Give a job its places at the cost of running ones: those are put at the front of `room.found`, without places.

    Returns:
        How many have to stop; -1 if the job does not fit even so, and nothing is changed.
    """
    count = candidates(pool, order, job, now)
    if not devices_enough(pool, job, count):
        return -1
    heap(pool, count)
    room, need = pool.room, even_need(pool, job)
    part = pool.parts[pool.classes[pool.jobs[job].klass].part]
    missing = part.workers if need else 0
    missing -= slots_in(pool, job, need)
    looks_there = pool.jobs[job].place_end - pool.jobs[job].place == 1 and keeps_out(pool, pool.jobs[job].klass) < 0
    given, fits = 0, False
    while count and not fits:
        victim, key = room[0].found, room[0].key
        again = key_now(pool, order, victim, key, job, now) if order.has_guarantees else key
        if -np.inf < again < key:  # its queue borrows no more: others first
            room[0].key = again
            sink(pool, count, 0)
            continue
        count -= 1
        swap(pool, 0, count)
        sink(pool, count, 0)
        if again == -np.inf:
            continue
        room[given].given = victim
        given += 1
        missing += slots_at(pool, victim, need)
        give(pool, order, victim, now)
        missing -= slots_at(pool, victim, need)
        may_fit = missing <= 0 and not (looks_there and not fits_on_its(pool, victim, part))
        fits = may_fit and take(pool, order, job, now)
    stopped = 0
    for at in range(given - 1, -1, -1):
        if not fits:
            put_back(pool, order, room[at].given, now)
        elif not take_back(pool, order, room[at].given, job, now):
            room[stopped].found = room[at].given
            stopped += 1
    return stopped if fits else -1


@compiled
def key_now(pool: Pool, order: Order, victim: int, key: float, job: int, now: float) -> float:
    """A candidate's key after others have given back what they held, of its queue too, which may hold no more now than
    it is guaranteed: smaller then, and without bound if it is none any more.
    """
    klass = pool.jobs[victim].klass
    if klass != pool.jobs[job].klass:
        pool.classes[klass].borrowed = level_of(pool, klass, 0)
    its, mine = pool.classes[klass], pool.classes[pool.jobs[job].klass]
    own = key - BORROWED if key > BORROWED else key
    if not is_victim(pool, order, victim, own - PRIORITY * its.rank, job, now):
        return -np.inf
    return float(key if borrows_more(its, mine) else own)


@compiled
def even_need(pool: Pool, job: int) -> int:
    """Devices of each worker of a job whose workers are alike and want whole ones; else 0."""
    klass = pool.classes[pool.jobs[job].klass]
    return int(pool.parts[klass.part].devices) if klass.part_end - klass.part == 1 else 0


@compiled
def slots_in(pool: Pool, job: int, need: int) -> int:
    """Workers with so many devices that would find some free in the cells of a job."""
    klass, found = pool.classes[pool.jobs[job].klass], 0
    for at in range(klass.cells, klass.cells_end if need else klass.cells):
        found += slots_of(pool, pool.lists[at], need)
    return int(found)


@compiled
def slots_at(pool: Pool, job: int, need: int) -> int:
    """The same on the nodes of one job; at least, for one that has several workers on a node."""
    found, last = 0, -1
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end if need else pool.jobs[job].place):
        node = pool.workers[worker].node
        if node != last and pool.nodes[node].is_open:
            found += max(0, pool.nodes[node].free) // need
        last = node
    return int(found)


@compiled
def swap(pool: Pool, one: int, other: int) -> None:
    """Let two candidates change places."""
    a, b = pool.room[one], pool.room[other]
    a.found, b.found = b.found, a.found
    a.key, b.key = b.key, a.key
    a.turn, b.turn = b.turn, a.turn


@compiled
def is_dearer(pool: Pool, one: int, other: int) -> bool:
    """Whether a candidate is stopped rather than another: the larger key, of equal ones the first that was found."""
    a, b = pool.room[one], pool.room[other]
    return bool(a.key > b.key or (a.key == b.key and a.turn < b.turn))


@compiled
def heap(pool: Pool, count: int) -> None:
    """Make a heap of candidates."""
    for at in range(count // 2 - 1, -1, -1):
        sink(pool, count, at)


@compiled
def sink(pool: Pool, count: int, here: int) -> None:
    """Let a candidate of the heap sink to where it belongs."""
    while 2 * here + 1 < count:
        below = 2 * here + 1
        if below + 1 < count and is_dearer(pool, below + 1, below):
            below += 1
        if not is_dearer(pool, below, here):
            return
        swap(pool, here, below)
        here = below
