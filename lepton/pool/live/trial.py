"""What if: a job is tried out on the arrays, and all is put back as it was. Asking changes nothing."""

from lepton.pool.kernel.accounts import is_guaranteed
from lepton.pool.kernel.places import give, put_back, take
from lepton.pool.kernel.reserve import add_spare, open_again, shut_held, take_beside
from lepton.pool.kernel.victims import make_room
from lepton.pool.live.entry import Entry
from lepton.pool.live.seats import Seats


def fits_now(seats: Seats, entry: Entry, now: float) -> bool:
    """Whether a waiting job could have its places now, limits and all; reservations for others aside."""
    pool, order = seats.tables.pool, seats.order._replace(half_life_s=0.0)  # no share is settled
    if not take(pool, order, entry.slot, now):
        return False
    give(pool, order, entry.slot, now)
    return True


def fits_beside(seats: Seats, entry: Entry, now: float) -> bool:
    """Whether a waiting job could have its places now beside what is kept for those who have waited too long."""
    pool, order = seats.tables.pool, seats.order._replace(half_life_s=0.0)
    assert entry.klass is not None
    shut_held(pool)
    found = take_beside(pool, order, entry.slot, now, is_guaranteed(pool, entry.klass.index))
    if found:
        add_spare(pool, entry.slot, 1, 1)
        give(pool, order, entry.slot, now)
    open_again(pool)
    return found


def in_its_way(seats: Seats, entry: Entry, now: float) -> list[int] | None:
    """Rows of jobs that could be stopped so that a waiting one fits, once all times of waiting are over; None: none."""
    pool = seats.tables.pool
    order = seats.order._replace(half_life_s=0.0, grace_s=0.0, min_run_s=0.0)
    if not order.preempts:
        return None
    count = make_room(pool, order, entry.slot, now)
    if count < 0:
        return None
    stopped = [int(pool.room[at].found) for at in range(count)]
    give(pool, order, entry.slot, now)
    for slot in reversed(stopped):
        put_back(pool, order, slot, now)
    return stopped
