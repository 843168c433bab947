"""Nodes that are kept for a job that has waited too long, and who may have them meanwhile.

A late job that does not fit, and nobody can be stopped for, gets the nodes on which it is expected to fit first, if
those that run there end as expected. Nobody else starts there until it does, unless he is expected to be gone before
(EASY backfilling; Lifka 1995), or there is more than it needs: what it needs of each node is counted, not the node.

*Why nobody starves.* The nodes stay the same until it fits, and once the expected moment has passed, or it has waited
twice as long as anybody should, nobody starts there any more. So it waits for those that run there, and they end. If
one proves to have no end, other nodes are chosen.

*Why the pool is not frozen.* Only its own nodes are kept, for one job in a cell, the oldest. Nothing is kept for what
can never become free: no end is expected of a job that says that it has none, nor of one that has outrun `OUTRUN` times
the longest run that ever ended; so no attempt lasts longer than that. And what is idle only because it is kept is paid
for: a cell earns `SHARE` of its node-seconds as they pass, and while it owes some nothing is kept anew.
"""

import numpy as np

from lepton.pool.kernel.accounts import wake_chain
from lepton.pool.kernel.cells import has_room, mark
from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.order import done, outgrown
from lepton.pool.kernel.places import give, put_back, take
from lepton.pool.kernel.state import KEPT, LONGEST, Order, Pool, Rows
from lepton.pool.kernel.victims import heap, sink, swap

CAUTION = 2.0
"""Where another's reservation depends on it, a job is expected to need so many times its estimate."""
SHARE = 0.05
"""Of its node-seconds, that a cell may leave idle for late jobs."""
SAVED_S = 21_600.0
"""Seconds of earning that a cell saves up, and of a run that outrun nothing."""
SHUT = 2
"""`kept` of a node that is shut for all but one."""
OUTRUN = 2.0
"""Times the longest run that has ended: of what runs longer no end is expected."""


@compiled
def may_end(pool: Pool, job: int, now: float) -> bool:
    """Whether a running job is expected to end at all."""
    row = pool.jobs[job]
    return not row.is_endless and done(row, now) <= OUTRUN * max(pool.pace[LONGEST], SAVED_S)


@compiled
def let_go(pool: Pool, now: float) -> None:
    """Keep nodes for nobody, for the moment, and charge what was idle since the last decision."""
    pool.size[KEPT] = 0
    for cell in range(len(pool.cells)):
        row = pool.cells[cell]
        if row.held_for < 0:
            continue
        wake_chain(pool, row.link)  # some may have slept because of what was kept
        job = pool.jobs[row.held_for]
        for worker in range(job.place, job.place_end):
            node = pool.nodes[pool.workers[worker].kept]
            if node.kept and node.cell == cell:
                row.credit -= node.idle * max(0.0, now - row.credit_at)
                node.kept, node.idle = 0, 0.0
        row.held_for = -1


@compiled
def earn(pool: Pool, klass: Rows, now: float) -> float:
    """Bring the credit of a class's cells up to now; return what all of them have."""
    total = 0.0
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        rate = SHARE * (cell.end - cell.start)
        cell.credit = min(rate * SAVED_S, cell.credit + rate * max(0.0, now - cell.credit_at))
        cell.credit_at = now
        total += cell.credit
    return total


@compiled
def hold(pool: Pool, order: Order, job: int, now: float) -> None:
    """Keep nodes for a job that is late and does not fit, unless some of its cells are kept for another.

    One that would not fit even if all that may end had ended keeps none: others would wait for nothing.
    """
    row = pool.jobs[job]
    klass = pool.classes[row.klass]
    for at in range(klass.cells, klass.cells_end):
        holder = pool.cells[pool.lists[at]].held_for
        if holder >= 0:
            row.reserved = row.reserved if holder == job else np.inf
            return
    credit = earn(pool, klass, now)
    if row.reserved == np.inf and (credit <= 0.0 or not begin(pool, order, job, now)):
        return
    if not keep(pool, order, job, now):
        row.reserved = np.inf
        unmark(pool, job)


@compiled
def begin(pool: Pool, order: Order, job: int, now: float) -> bool:
    """Choose the nodes to keep for a late job; False if it would not fit."""
    row = pool.jobs[job]
    klass = pool.classes[row.klass]
    if now < klass.unfit_until <= now + order.rest_s:
        return False
    until = fits_at(pool, order, job, now)
    if until == np.inf:
        klass.unfit_until = now + order.rest_s
        return False
    row.reserved, row.held_at = until, now
    return True


@compiled
def keep(pool: Pool, order: Order, job: int, now: float) -> bool:
    """Shut the nodes of a late job to others, and count what they may have of them; False if that is in vain now."""
    row = pool.jobs[job]
    klass = pool.classes[row.klass]
    if not count_own(pool, job) or not count_ends(pool, job, now):
        return False
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        cell.held_for = job
        cell.held_until = min(row.reserved, row.submit + row.work + 2.0 * order.wait_cap_s)
    pool.size[KEPT] += 1
    shut(pool, job)
    return True


@compiled
def unmark(pool: Pool, job: int) -> None:
    """Take the marks off the nodes that were to be kept for a job."""
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        pool.nodes[pool.workers[worker].kept].kept = 0


@compiled
def count_own(pool: Pool, job: int) -> bool:
    """Note of the nodes to be kept what is free there beside what the job needs; False if one takes no work."""
    row = pool.jobs[job]
    klass, worker = pool.classes[row.klass], row.place
    for at in range(klass.part, klass.part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = pool.nodes[pool.workers[worker].kept]
            if not node.is_open:
                return False
            if not node.kept:
                node.kept, node.spare, node.spare_cpu, node.spare_memory = 1, node.free, node.cpu, node.memory
            node.spare -= part.devices + (part.milli > 0)
            node.spare_cpu -= part.cpu
            node.spare_memory -= part.memory
            worker += 1
    return True


@compiled
def count_ends(pool: Pool, job: int, now: float) -> bool:
    """Add what those give back who were there when the nodes were chosen; False if one is not expected to end now."""
    row = pool.jobs[job]
    klass = pool.classes[row.klass]
    for at in range(klass.cells, klass.cells_end):
        other = pool.cells[pool.lists[at]].running
        while other >= 0:
            its = pool.jobs[other]
            if touches(pool, other):
                if not may_end(pool, other, now):
                    return False
                if its.begun <= row.held_at:
                    add_spare(pool, other, 1, 0)
            other = its.after
    return True


@compiled
def touches(pool: Pool, job: int) -> bool:
    """Whether a job has a place on a node that is kept."""
    count = 0
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        count += pool.nodes[pool.workers[worker].node].kept
    return bool(count)


@compiled
def add_spare(pool: Pool, job: int, sign: int, shared: int) -> bool:
    """Count what a job has of kept nodes as spare, or no longer; return whether there is so much. A part of a device
    counts as `shared` devices: 1 when it is taken, 0 when it ends, for others may have the rest.
    """
    klass, worker, is_there = pool.classes[pool.jobs[job].klass], pool.jobs[job].place, True
    for at in range(klass.part, klass.part_end):
        part = pool.parts[at]
        for _ in range(part.workers):
            node = pool.nodes[pool.workers[worker].node]
            worker += 1
            if not node.kept:
                continue
            node.spare += sign * (part.devices + (shared if part.milli else 0))
            node.spare_cpu += sign * part.cpu
            node.spare_memory += sign * part.memory
            wants = part.devices > 0 or part.milli > 0
            is_there = is_there and node.spare_cpu >= 0 and node.spare_memory >= 0 and (node.spare >= 0 or not wants)
    return is_there


@compiled
def shut(pool: Pool, job: int) -> None:
    """Let nobody start on the nodes that are kept for a job."""
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        node = pool.workers[worker].kept
        if pool.nodes[node].is_open and pool.nodes[node].kept:
            mark(pool, node)
            pool.nodes[node].is_open, pool.nodes[node].kept = 0, SHUT


@compiled
def open_one(pool: Pool, node: int) -> bool:
    """Open a kept node that is shut, and not for another reason; return whether it was."""
    if pool.nodes[node].kept != SHUT:
        return False
    pool.nodes[node].is_open, pool.nodes[node].kept = 1, 1
    mark(pool, node)
    return True


@compiled
def shut_held(pool: Pool) -> None:
    """Shut all nodes that were kept in the last decision, to see what would come of it."""
    for cell in range(len(pool.cells)):
        if pool.cells[cell].held_for >= 0:
            shut(pool, pool.cells[cell].held_for)


@compiled
def open_again(pool: Pool) -> None:
    """The decision is made: note what of the kept nodes is idle, and open them."""
    for cell in range(len(pool.cells)):
        job = pool.cells[cell].held_for
        if job < 0:
            continue
        klass, worker = pool.classes[pool.jobs[job].klass], pool.jobs[job].place
        for at in range(klass.part, klass.part_end):
            part = pool.parts[at]
            for _ in range(part.workers):
                node = pool.workers[worker].kept
                open_one(pool, node)
                pool.nodes[node].idle = idle_part(pool, node, part)
                worker += 1


@compiled
def idle_part(pool: Pool, node: int, part: Rows) -> float:
    """The part of what a late job needs of a node that is free there, and kept."""
    if not has_room(pool, node, part):
        return 0.0
    need = part.devices + (part.milli > 0)
    return min(1.0, pool.nodes[node].free / need) if need else 1.0


@compiled
def take_beside(pool: Pool, order: Order, job: int, now: float, is_owed: bool) -> bool:
    """`take`, beside what is kept for others: where it is shut, if it ends before, or is more than they need; or is for
    another queue's job, and this one is owed it.
    """
    if take(pool, order, job, now):
        return True
    if not pool.size[KEPT]:
        return False
    is_brief, found = ends_before(pool, job, now), False
    if lend(pool, job, is_brief, is_owed):
        found = take(pool, order, job, now)
        if found and not is_brief and not is_owed and not is_kept_for(pool, job) and not add_spare(pool, job, -1, 1):
            add_spare(pool, job, 1, 1)
            give(pool, order, job, now)
            found = False
    shut_all(pool, job)
    return found


@compiled
def ends_before(pool: Pool, job: int, now: float) -> bool:
    """Whether a job is expected to be gone before those fit for whom nodes are kept that it might use."""
    klass = pool.classes[pool.jobs[job].klass]
    until = now + CAUTION * pool.jobs[job].estimate
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        if cell.held_for >= 0 and until > cell.held_until:
            return False
    return not pool.jobs[job].is_endless


@compiled
def lend(pool: Pool, job: int, is_brief: bool, is_owed: bool) -> int:
    """Open kept nodes to a job: all, or those that have more than is needed for one worker; return how many."""
    klass, last, count = pool.classes[pool.jobs[job].klass], -1, 0
    account = klass.account
    for at in range(klass.cells, klass.cells_end):
        holder = pool.cells[pool.lists[at]].held_for
        if holder < 0 or holder == last:
            continue
        last = holder
        is_free = is_brief or holder == job or (is_owed and pool.classes[pool.jobs[holder].klass].account != account)
        for worker in range(pool.jobs[holder].place, pool.jobs[holder].place_end):
            node = pool.workers[worker].kept
            if is_free or has_spare(pool, pool.nodes[node], klass):
                count += open_one(pool, node)
    return count


@compiled
def has_spare(pool: Pool, node: Rows, klass: Rows) -> bool:
    """Whether a kept node has more than is needed for one worker of a class."""
    for at in range(klass.part, klass.part_end):
        part = pool.parts[at]
        need = part.devices + (part.milli > 0)
        if node.spare_cpu >= part.cpu and node.spare_memory >= part.memory and (not need or node.spare >= need):
            return True
    return False


@compiled
def is_kept_for(pool: Pool, job: int) -> bool:
    """Whether nodes are kept for this job."""
    klass, count = pool.classes[pool.jobs[job].klass], 0
    for at in range(klass.cells, klass.cells_end):
        count += pool.cells[pool.lists[at]].held_for == job
    return bool(count)


@compiled
def release(pool: Pool, job: int) -> None:
    """A job that nodes are kept for has started: they are kept no longer, and whoever tried in vain tries again."""
    klass = pool.classes[pool.jobs[job].klass]
    for at in range(klass.cells, klass.cells_end):
        cell = pool.cells[pool.lists[at]]
        cell.held_for = -1
        wake_chain(pool, cell.link)
    for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
        open_one(pool, pool.workers[worker].kept)
    unmark(pool, job)
    pool.size[KEPT] -= 1


@compiled
def shut_all(pool: Pool, job: int) -> None:
    """Shut again what was lent to a job."""
    klass, last = pool.classes[pool.jobs[job].klass], -1
    for at in range(klass.cells, klass.cells_end):
        holder = pool.cells[pool.lists[at]].held_for
        if holder >= 0 and holder != last:
            shut(pool, holder)
        last = holder


@compiled
def expected_ends(pool: Pool, order: Order, job: int, now: float) -> int:
    """Put what runs where a job might, and may end, in `room`, by when it is expected to; return how many."""
    klass, count = pool.classes[pool.jobs[job].klass], 0
    for at in range(klass.cells, klass.cells_end):
        other = pool.cells[pool.lists[at]].running
        while other >= 0:
            if may_end(pool, other, now):
                done_s = done(pool.jobs[other], now)
                left_s = CAUTION * outgrown(order, pool.jobs[other].estimate, done_s) - done_s
                row = pool.room[count]
                row.found, row.key, row.turn = other, -(now + left_s), count
                count += 1
            other = pool.jobs[other].after
    return count


@compiled
def fits_at(pool: Pool, order: Order, job: int, now: float) -> float:
    """When a job is expected to fit, if nothing else starts: running jobs are tried away in the order of their ends.
    Its nodes are noted as those to keep for it.
    """
    room, count = pool.room, expected_ends(pool, order, job, now)
    heap(pool, count)
    until, given, fits = now, 0, take(pool, order, job, now)
    while count and not fits:
        until = max(now, -room[0].key)
        room[given].given = room[0].found
        give(pool, order, room[given].given, now)
        given += 1
        count -= 1
        swap(pool, 0, count)
        sink(pool, count, 0)
        fits = take(pool, order, job, now)
    if fits:
        for worker in range(pool.jobs[job].place, pool.jobs[job].place_end):
            pool.workers[worker].kept = pool.workers[worker].node
        give(pool, order, job, now)
    for at in range(given - 1, -1, -1):
        put_back(pool, order, room[at].given, now)
    return until if fits else np.inf
