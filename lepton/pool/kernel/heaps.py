"""Two heaps over arrays: the waiting jobs of a class (skew heap), and the events of a replay (binary heap)."""

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import Rows


@compiled
def is_before(jobs: Rows, one: int, other: int) -> bool:
    """Whether a job goes before another of its class; of equal ones the first of the trace."""
    if jobs[one].key != jobs[other].key:
        return bool(jobs[one].key < jobs[other].key)
    return one < other


@compiled
def merged(jobs: Rows, one: int, other: int) -> int:
    """First job of two heaps that become one (Sleator and Tarjan 1986); -1 stands for an empty heap."""
    root, parent = -1, -1
    while one >= 0 and other >= 0:
        if is_before(jobs, other, one):
            one, other = other, one
        if parent < 0:
            root = one
        else:
            jobs[parent].left = one
        rest = jobs[one].right
        jobs[one].right = jobs[one].left
        parent, one = one, rest
    rest = one if one >= 0 else other
    if parent < 0:
        return rest
    jobs[parent].left = rest
    return root


@compiled
def without_first(jobs: Rows, root: int) -> int:
    """The heap after its first job is taken out."""
    rest = merged(jobs, jobs[root].left, jobs[root].right)
    jobs[root].left, jobs[root].right = -1, -1
    return rest


@compiled
def comes_first(events: Rows, one: int, at: float, job: int) -> bool:
    """Whether an event of the heap comes before one of `job` at `at`."""
    if events[one].at != at:
        return bool(events[one].at < at)
    return bool(events[one].job < job)


@compiled
def push(events: Rows, count: int, at: float, job: int) -> int:
    """Put an event in; return how many there are then."""
    here = count
    while here > 0 and not comes_first(events, (here - 1) >> 1, at, job):
        above = (here - 1) >> 1
        events[here].at, events[here].job = events[above].at, events[above].job
        here = above
    events[here].at, events[here].job = at, job
    return count + 1


@compiled
def pop(events: Rows, count: int) -> int:
    """Take the first event out (read it before, at index 0); return how many are left."""
    count -= 1
    at, job = events[count].at, events[count].job
    here = 0
    while 2 * here + 1 < count:
        below = 2 * here + 1
        if below + 1 < count and comes_first(events, below + 1, events[below].at, events[below].job):
            below += 1
        if not comes_first(events, below, at, job):
            break
        events[here].at, events[here].job = events[below].at, events[below].job
        here = below
    events[here].at, events[here].job = at, job
    return count
