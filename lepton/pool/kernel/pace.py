"""How the pool fares: how long jobs wait against how long they run, and what the order makes of it.

While waiting is short against running, who came first matters most, and `Order.stretch` says how much a long run counts
against it. Once jobs wait for longer than they run, an order by submit is one by submit alone: all differences of run
times are small against those of waiting. So then size counts for more, as the square of mean wait over mean run,
and with it the devices that are held for so long, by their root: a gang that goes first keeps many waiting. That is,
where something is known of run times: what ends will be expected, or an order that stops jobs sees who has run long.
Where neither holds, size would be devices alone, and those say nothing of who ends soon.
"""

import numpy as np

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.heaps import merged, without_first
from lepton.pool.kernel.order import done, key_of
from lepton.pool.kernel.state import BY_KEY, ENDS, EXCESS, KNOWN, LONGEST, RUN, STARTED, WAIT, Order, Pool

WINDOW = 1000.0
"""Starts and endings over which the means are taken."""
EVERY = 50
"""Endings between two looks."""
ENOUGH = 100
STEP = 2.0
"""The order is changed only if it would by such a factor."""
MOST = 1000.0


@compiled
def note_wait(pool: Pool, job: int, now: float) -> None:
    """A job has started for the first time."""
    pace = pool.pace
    pace[STARTED] += 1.0
    pace[WAIT] += (max(0.0, now - pool.jobs[job].submit) - pace[WAIT]) / min(pace[STARTED], WINDOW)


@compiled
def note_run(pool: Pool, order: Order, job: int, now: float) -> None:
    """A job has ended: now and then see whether the order still suits."""
    pace, row = pool.pace, pool.jobs[job]
    ran_s = done(row, now)
    pace[ENDS] += 1.0
    pace[RUN] += (ran_s - pace[RUN]) / min(pace[ENDS], WINDOW)
    if not row.is_endless:
        pace[LONGEST] = max(pace[LONGEST], ran_s)
    if pace[ENDS] >= ENOUGH and int(pace[ENDS]) % EVERY == 0:
        change(pool, order)


@compiled
def change(pool: Pool, order: Order) -> None:
    """Set what counts for size beside `stretch` anew, if that is very different, and sort all that waits by it."""
    pace, wanted = pool.pace, order.stretch
    before = order.stretch + pace[EXCESS]
    if order.adapts and (pool.size[KNOWN] or (order.preempts and pool.size[BY_KEY])):
        wanted = min(max(order.stretch, (pace[WAIT] / max(pace[RUN], 1.0)) ** 2), MOST)
    if before / STEP < wanted < before * STEP and wanted > order.stretch:
        return
    if wanted == before:
        return
    pace[EXCESS] = wanted - order.stretch
    pool.renewed_at[0] = -np.inf  # bounds on keys hold no longer
    for klass in range(len(pool.classes)):
        root, found = pool.classes[klass].root, -1
        while root >= 0 and pool.classes[klass].accounts_end > 0:
            rest = without_first(pool.jobs, root)
            row = pool.jobs[root]
            row.key = key_of(order, pace[EXCESS], row.submit, row.estimate, pool.classes[klass].devices, row.work)
            found = merged(pool.jobs, found, root)
            root = rest
        if found >= 0:
            pool.classes[klass].root = found
