"""The arrays that a decision reads and writes. All times are seconds on one clock; device amounts are whole devices.

A *cell* is a set of nodes that every request either may use or may not: one virtual cluster, one device kind. The nodes
of a cell stand next to each other. A *class* is a set of waiting jobs that are alike to placement: same queue, same
priority, same workers, same cells; what does not fit for its first does not fit for any of it. A *part* of a class is
so many workers that are alike.

Rows are numpy records, few arrays with many fields: compiled code passes an array by seven words and counts its
references, so that the same fields as 70 arrays ran 20 times slower and took two minutes to compile.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = Any
"""A record array: `rows[i].field`."""

WAITING, RUNNING, ENDED, ABSENT = 0, 1, 2, 3
"""Where a job is; ABSENT: not submitted yet."""

NODE = np.dtype(
    [
        ("free", "i8"),  # devices that nobody holds
        ("cpu", "i8"),  # free milli-CPUs
        ("memory", "i8"),  # free MiB
        ("cell", "i8"),
        ("is_open", "i8"),  # new work may go there
    ]
)
CELL = np.dtype(
    [
        ("start", "i8"),  # its first node, and the one after its last
        ("end", "i8"),
        ("word", "i8"),  # its first word in `bits`, and the one after its last
        ("word_end", "i8"),
        ("users", "i8"),  # the classes that may use it: `lists[users:users_end]`
        ("users_end", "i8"),
        ("running", "i8"),  # first of the jobs whose first worker runs here; -1: none
        ("held_for", "i8"),  # the late job that it is kept for; -1: none
        ("held_until", "f8"),  # when that is expected to fit: what would run longer may not start here
    ]
)
CLASS = np.dtype(
    [
        ("queue", "i8"),
        ("rank", "i8"),  # priority; smaller goes first
        ("devices", "i8"),  # of all workers together
        ("part", "i8"),  # its first row in `parts`, and the one after its last
        ("part_end", "i8"),
        ("cells", "i8"),  # the cells it may use, in order of preference: `lists[cells:cells_end]`
        ("cells_end", "i8"),
        ("root", "i8"),  # its first waiting job; -1: none
        ("is_awake", "i8"),  # something has changed since its first job did not fit
        ("level", "i8"),  # what goes before its key in the present decision
    ]
)
PART = np.dtype([("workers", "i8"), ("devices", "i8"), ("cpu", "i8"), ("memory", "i8")])  # of one worker
QUEUE = np.dtype(
    [
        ("guarantee", "i8"),  # devices that it may always have
        ("limit", "i8"),  # devices that it may never exceed
        ("used", "i8"),  # devices that its jobs hold
        ("is_blocked", "i8"),  # in the present decision: nothing may pass its first job
    ]
)
JOB = np.dtype(
    [
        ("klass", "i8"),
        ("state", "i8"),
        ("submit", "f8"),
        ("estimate", "f8"),  # expected run time, doubled while the job outruns it
        ("key", "f8"),  # smaller goes first within a priority
        ("work", "f8"),  # run time done before the present run
        ("begun", "f8"),  # start of the present run
        ("lead", "f8"),  # seconds at its start that go into restoring a checkpoint
        ("runs", "i8"),  # times it was started
        ("left", "i8"),  # children in the heap of its class; -1: none
        ("right", "i8"),
        ("place", "i8"),  # its first row in `workers`, and the one after its last
        ("place_end", "i8"),
        ("before", "i8"),  # neighbours in the list of what runs in its cell; -1: none
        ("after", "i8"),
        ("is_late", "i8"),  # has waited too long: it goes before all others, and is not looked for in its class
    ]
)
WORKER = np.dtype([("node", "i8"), ("was", "i8")])  # its node; and the one before the job was stopped last
ROOM = np.dtype(
    [
        ("awake", "i8"),  # the classes to look at, in no order
        ("late", "i8"),  # the late jobs, oldest first
        ("heap", "i8"),  # scratch: classes to try, the next one first
        ("found", "i8"),  # scratch: jobs, and what to sort them by
        ("key", "f8"),
    ]
)
PLAN = np.dtype([("start", "i8"), ("stop", "i8"), ("begun", "f8")])
AWAKE, LATE, STARTS, STOPS = 0, 1, 2, 3
"""Indices of `Pool.size`."""


class Pool(NamedTuple):
    """All that a decision depends on, changes and says."""

    nodes: Rows
    cells: Rows
    tally: Ints
    """(cells, L) open nodes with so many devices free."""
    bits: NDArray[np.uint64]
    """(L, words) the same nodes as bits, 64 a word; a cell begins at a word of its own."""
    classes: Rows
    parts: Rows
    lists: Ints
    """Lists of cells and of classes that rows point into."""
    queues: Rows
    jobs: Rows
    """In the order in which equal ones go."""
    workers: Rows
    room: Rows
    """As long as there are jobs or classes."""
    plan: Rows
    """What the last decision has done, in order; a job that stops may also start, elsewhere. `begun` is when the one
    that stops had begun its run.
    """
    size: Ints
    """(4,) how many rows count: AWAKE and LATE of `room`, STARTS and STOPS of `plan`."""


class Order(NamedTuple):
    """How to choose; `pool.policy` says what each means and why it is set so."""

    age: float
    stretch: float
    weight: float
    longest: float
    growth: float
    floor_s: float
    margin: float
    min_run_s: float
    wait_cap_s: float
    blocks: bool
    preempts: bool
    is_remaining: bool
    has_guarantees: bool


def rows(number: int, dtype: "np.dtype[np.void]") -> Rows:
    """So many rows of zeros."""
    return np.zeros(number, dtype).view(np.recarray)
