"""Decide what starts now, and what stops for it: one pass over the classes that something has changed for.

Late jobs go first, oldest first - though where queues have guarantees, those that borrow only after all that is
guaranteed, to their own queue too. They have all the rights of others: for who does not fit room is looked for at the
cost of who runs, and only then are nodes kept for one of them (`reserve`). Then the classes, always the one whose first
job goes first; a class whose first job does not fit is passed by, so that it blocks nobody, and sleeps until something
changes that it could use. Where the order blocks (FIFO as published), its queue waits with it instead.

*Why nobody starves.* Whoever waits becomes late, and of the late jobs that may have what they ask for the oldest gets
it (`reserve` says why). What comes before it then is only what is guaranteed to others; what borrows has no claim
against that. *Why the pool is not frozen.* Nobody waits for his turn: all that fits starts, beside what is kept.
"""

import numpy as np

from lepton.pool.kernel.accounts import is_entitled, is_guaranteed, keeps_out, look_again, refresh, wake
from lepton.pool.kernel.bounds import may_have_victims, renew
from lepton.pool.kernel.cells import may_fit_somewhere
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.heaps import without_first
from lepton.pool.kernel.moves import delist, enlist, first_waiting, start, stop
from lepton.pool.kernel.reserve import hold, is_kept_for, lend, let_go, open_again, release, shut_all, take_beside
from lepton.pool.kernel.state import AWAKE, KEPT, LATE, RUNNING, SEARCHES, STARTS, STOPS, WAITING, Order, Pool
from lepton.pool.kernel.victims import make_room


@compiled
def decide(pool: Pool, order: Order, now: float) -> None:
    """Carry out on the arrays what should happen now, and note it in `pool.plan`."""
    pool.size[STARTS], pool.size[STOPS], pool.size[SEARCHES] = 0, 0, 0
    if pool.size[LATE]:
        let_go(pool, now)
        if order.has_guarantees:
            start_late(pool, order, now, True)
            start_waiting(pool, order, now, order.preempts, True)
        while start_late(pool, order, now, False):
            pass  # who tried in vain beside what was kept tries again
    if pool.size[AWAKE] or order.blocks:
        start_waiting(pool, order, now, order.preempts, False)
        if pool.size[STOPS]:  # what its victims held and the starter does not need
            start_waiting(pool, order, now, False, False)
    if pool.size[STOPS]:
        go_on(pool, order, now)
    if pool.size[KEPT]:
        open_again(pool)
    for klass in range(len(pool.classes) if pool.size[SEARCHES] > order.searches else 0):
        if pool.classes[klass].is_put_off:
            look_again(pool, klass)


@compiled
def unblock(pool: Pool) -> None:
    """Nothing keeps a queue from starting its jobs."""
    for account in range(len(pool.accounts)):
        pool.accounts[account].is_blocked = 0


@compiled
def start_late(pool: Pool, order: Order, now: float, guaranteed: bool) -> bool:
    """Start the late jobs that fit or can be made to, all or only those whose queue is guaranteed it; return whether
    nodes were let go of that were kept for one.
    """
    left, released = 0, 0
    for at in range(pool.size[LATE]):
        job = pool.room[at].late
        if pool.jobs[job].state != WAITING:
            continue
        klass, is_out, kept = pool.jobs[job].klass, False, pool.size[KEPT]
        if guaranteed and not is_guaranteed(pool, klass):
            is_out = True
            if is_entitled(pool, klass) and keeps_out(pool, klass) < 0:  # its own queue's jobs do not pass it
                hold(pool, order, job, now)
        if is_out or not start_one(pool, order, job, now, guaranteed):
            pool.room[left].late = job
            left += 1
        else:
            released += pool.size[KEPT] < kept
    pool.size[LATE] = left
    return bool(released)


@compiled
def start_one(pool: Pool, order: Order, job: int, now: float, is_owed: bool) -> bool:
    """Start a late job if it fits, or can be made to; else keep nodes for it, if they are nobody's yet."""
    klass, stopped = pool.classes[pool.jobs[job].klass], -1
    if klass.is_stirred:
        klass.is_stirred = 0
        if take_beside(pool, order, job, now, is_owed):
            stopped = 0
        elif order.preempts:
            stopped = look_for_room(pool, order, job, now, is_owed)
            klass.is_stirred |= klass.is_put_off
    if stopped < 0:
        full = keeps_out(pool, pool.jobs[job].klass)
        if full >= 0:
            pool.accounts[full].is_full = 1
        else:
            hold(pool, order, job, now)
        return False
    klass.is_stirred = 1
    if is_kept_for(pool, job):
        release(pool, job)
    start_found(pool, order, job, stopped, now)
    return True


@compiled
def start_found(pool: Pool, order: Order, job: int, stopped: int, now: float) -> None:
    """Start a job that has its places, and note so many who stop for it."""
    for at in range(stopped):
        note_stop(pool, order, pool.room[at].found, job, now)
    note_start(pool, order, job, now)


@compiled
def start_waiting(pool: Pool, order: Order, now: float, may_preempt: bool, guaranteed: bool) -> None:
    """Start what fits of the classes that are awake, of all or only what their queues are guaranteed."""
    if order.blocks and not guaranteed:
        unblock(pool)
    count = gather(pool, order, now, may_preempt, guaranteed)
    while count:
        klass = pool.room[0].heap
        is_moved = refresh(pool, order, klass, now)  # its queue has passed its guarantee meanwhile, or holds more
        is_out = guaranteed and not is_guaranteed(pool, klass)
        if is_out:
            look_again(pool, klass)
        if is_out or (
            not is_moved
            and (not try_first(pool, order, now, may_preempt, guaranteed) or first_waiting(pool, klass) < 0)
        ):
            count -= 1
            pool.room[0].heap = pool.room[count].heap
        sift(pool, count, 0)


@compiled
def gather(pool: Pool, order: Order, now: float, may_preempt: bool, guaranteed: bool) -> int:
    """Make a heap of the awake classes that may have something to start; those that were looked at go to sleep."""
    count, left = 0, 0
    if order.blocks:
        for klass in range(len(pool.classes)):
            wake(pool, klass)
    for at in range(pool.size[AWAKE]):
        klass = pool.room[at].awake
        if guaranteed and not is_guaranteed(pool, klass):
            pool.room[left].awake = klass
            left += 1
            continue
        pool.classes[klass].is_awake = 0
        if first_waiting(pool, klass) < 0:
            continue
        if order.blocks or may_preempt or pool.size[KEPT] or may_fit_somewhere(pool, klass):
            refresh(pool, order, klass, now)
            pool.room[count].heap = klass
            count += 1
    pool.size[AWAKE] = left
    for at in range(count // 2 - 1, -1, -1):
        sift(pool, count, at)
    return count


@compiled
def goes_first(pool: Pool, one: int, other: int) -> bool:
    """Whether a class's first job goes before another's."""
    a, b = pool.classes[one], pool.classes[other]
    if a.level != b.level:
        return bool(a.level < b.level)
    if a.share != b.share:
        return bool(a.share < b.share)
    if a.own_share != b.own_share:
        return bool(a.own_share < b.own_share)
    if pool.jobs[a.root].key != pool.jobs[b.root].key:
        return bool(pool.jobs[a.root].key < pool.jobs[b.root].key)
    return bool(a.root < b.root)


@compiled
def sift(pool: Pool, count: int, here: int) -> None:
    """Let a class of the heap sink to where it belongs."""
    room = pool.room
    while 2 * here + 1 < count:
        below = 2 * here + 1
        if below + 1 < count and goes_first(pool, room[below + 1].heap, room[below].heap):
            below += 1
        if not goes_first(pool, room[below].heap, room[here].heap):
            return
        room[here].heap, room[below].heap = room[below].heap, room[here].heap
        here = below


@compiled
def try_first(pool: Pool, order: Order, now: float, may_preempt: bool, is_owed: bool) -> bool:
    """Start the first job of the first class if it fits, or can be made to; return whether it did."""
    index = pool.room[0].heap
    klass = pool.classes[index]
    account, job = pool.accounts[klass.account], klass.root
    if account.is_blocked:
        return False
    stopped = 0
    if klass.is_put_off or not take_beside(pool, order, job, now, is_owed):
        stopped = look_for_room(pool, order, job, now, is_owed) if may_preempt else -1
    if stopped < 0:
        account.is_blocked = 1 if order.blocks else 0
        full = keeps_out(pool, index)
        if full >= 0:
            pool.accounts[full].is_full = 1
        return False
    klass.root = without_first(pool.jobs, job)
    start_found(pool, order, job, stopped, now)
    return True


@compiled
def look_for_room(pool: Pool, order: Order, job: int, now: float, is_owed: bool) -> int:
    """`make_room` for a job, unless it is plain that nobody can, or others have been served now. What is owed it is not
    kept from it by another queue.
    """
    row = pool.classes[pool.jobs[job].klass]
    row.is_put_off = 0
    if now < row.rests_until <= now + order.rest_s:
        return -1
    renew(pool, order, now)
    if not may_have_victims(pool, order, job, now):
        return -1
    pool.size[SEARCHES] += 1
    if pool.size[SEARCHES] > order.searches:
        row.is_put_off = 1
        return -1
    if is_owed and pool.size[KEPT]:
        lend(pool, job, False, True)
    found = make_room(pool, order, job, now)
    if is_owed and pool.size[KEPT]:
        shut_all(pool, job)
    row.rests_until = now + order.rest_s if found < 0 else -np.inf
    return found


@compiled
def note_start(pool: Pool, order: Order, job: int, now: float) -> None:
    """Start a job that has its places."""
    start(pool, order, job, now)
    pool.plan[pool.size[STARTS]].start = job
    pool.size[STARTS] += 1


@compiled
def note_stop(pool: Pool, order: Order, job: int, by: int, now: float) -> None:
    """Stop a job whose places are given back, for another."""
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        pool.workers[worker].was = pool.workers[worker].node
    noted = pool.plan[pool.size[STOPS]]
    row = pool.jobs[job]
    noted.stop, noted.by, noted.begun, noted.lead = job, by, row.begun, row.lead
    noted.work, noted.is_late = row.work, row.is_late
    pool.size[STOPS] += 1
    stop(pool, order, job, now)


@compiled
def go_on(pool: Pool, order: Order, now: float) -> None:
    """Who was stopped and has started again on the very nodes that it had, because others made more room than was
    needed, was not stopped: its run goes on.
    """
    left = 0
    for at in range(pool.size[STOPS]):
        noted = pool.plan[at]
        row = pool.jobs[noted.stop]
        if row.state == RUNNING and row.begun == now and has_its_places(pool, noted.stop):
            drop_start(pool, noted.stop)
            delist(pool, noted.stop)
            row.begun, row.lead, row.work, row.is_late = noted.begun, noted.lead, noted.work, noted.is_late
            row.runs -= 1
            enlist(pool, order, noted.stop, now)
            continue
        kept = pool.plan[left]
        kept.stop, kept.by, kept.begun, kept.lead = noted.stop, noted.by, noted.begun, noted.lead
        kept.work, kept.is_late = noted.work, noted.is_late
        left += 1
    pool.size[STOPS] = left


@compiled
def has_its_places(pool: Pool, job: int) -> bool:
    """Whether a job has whole devices on the same nodes again, whichever of its equal workers is on which."""
    klass, worker = pool.classes[pool.jobs[job].klass], pool.jobs[job].place
    for at in range(klass.part, klass.part_end):
        part, first, missing = pool.parts[at], worker, 0
        worker += part.workers
        for one in range(first, worker):
            count = 0
            for other in range(first, worker):
                count += pool.workers[other].node == pool.workers[one].node
                count -= pool.workers[other].was == pool.workers[one].node
            missing += count != 0
        if missing or part.milli:
            return False
    return True


@compiled
def drop_start(pool: Pool, job: int) -> None:
    """Take a job's start out of the plan."""
    left = 0
    for at in range(pool.size[STARTS]):
        start = pool.plan[at].start
        if start != job:
            pool.plan[left].start = start
            left += 1
    pool.size[STARTS] = left
