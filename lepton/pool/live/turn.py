"""Whose turn comes before whose among those that wait. Asking decides nothing, and settles no share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton.pool.kernel import accounts
from lepton.pool.kernel.state import LATE, WAITING
from lepton.pool.live.entry import Entry
from lepton.pool.live.pool import LivePool

Slots = NDArray[np.int64]
"""Rows of jobs in the arrays."""


def before(live: LivePool, entry: Entry, now: float) -> int:
    """How many waiting jobs go before one."""
    late, others, _ = _first(live, entry, now)
    return len(late) + int(np.count_nonzero(others))


def ahead_of(live: LivePool, entry: Entry, now: float) -> tuple[Slots, int]:
    """Waiting jobs that go before one, the first first; and how many of them, at the front, have waited too long."""
    late, others, columns = _first(live, entry, now)
    found = np.flatnonzero(others)
    order = np.lexsort([column[found] for column in reversed(columns)])
    return np.concatenate([np.array(late, np.int64), found[order]]), len(late)


def _first(live: LivePool, entry: Entry, now: float) -> tuple[list[int], NDArray[np.bool_], list[NDArray[Any]]]:
    """Who has waited too long and goes before a job; which others do; and by what those are ordered, for every row.

    By guarantee, priority, fair share and key. Those who could not use the same nodes count too.
    """
    assert entry.klass is not None
    pool, count, mine = live.seats.tables.pool, live.seats.tables.grow.count("jobs"), entry.klass.index
    late = [int(job) for job in pool.room.late[: pool.size[LATE]] if pool.jobs[job].state == WAITING]
    if entry.slot in late:
        return late[: late.index(entry.slot)], np.zeros(count, np.bool_), [np.zeros(count)]
    classes, klass = live.seats.tables.grow.count("classes"), pool.jobs.klass[:count]
    columns: list[NDArray[Any]] = [np.array([accounts.standing(pool, live.seats.order, at) for at in range(classes)])]
    if live.seats.order.half_life_s > 0:
        share = _shares(live, now)
        columns += [share[pool.lists[pool.classes.queues_end[:classes] - 1]], share[pool.classes.account[:classes]]]
    is_first, is_even = np.zeros(classes, np.bool_), np.ones(classes, np.bool_)  # of each class
    for column in columns:
        is_first |= is_even & (column < column[mine])
        is_even &= column == column[mine]
    waits = (pool.jobs.state[:count] == WAITING) & (pool.jobs.is_late[:count] == 0)
    key = pool.jobs.key[:count]
    goes_before = waits & (is_first[klass] | (is_even[klass] & (key < key[entry.slot])))
    return late, goes_before, [*(column[klass] for column in columns), key]


def _shares(live: LivePool, now: float) -> NDArray[np.float64]:
    """(A,) part of the pool that each account has and had, for its weight: `accounts.share_of`, settling nothing."""
    pool, count = live.seats.tables.pool, live.seats.tables.grow.count("accounts")
    rows, is_there = pool.accounts, pool.capacity > 0
    held = (pool.used[:count, is_there] / pool.capacity[is_there]).max(axis=1, initial=0.0)
    kept = 0.5 ** (np.maximum(0.0, live.clock.own(now) - rows.usage_at[:count]) / live.seats.order.half_life_s)
    found = (rows.usage[:count] * kept + held * (1.0 - kept) + held) / rows.weight[:count]
    return np.asarray(found)
