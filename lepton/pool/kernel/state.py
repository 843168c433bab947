"""The arrays that a decision reads and writes. All times are seconds on one clock; device amounts are whole devices.

A *cell* is a set of nodes that every request either may use or may not: one virtual cluster, device kind or rack. The
nodes of a cell stand next to each other. A *class* is a set of waiting jobs that are alike to placement: same queue,
same priority, same workers, same cells; what does not fit for its first does not fit for any of it. A *part* of a class
is so many workers that are alike. A *scope* is a group of cells that stand next to each other in the list of a class
and into which one of its jobs may go whole. An *account* says who holds how much, and may: a queue or one's quota.

Rows are numpy records, few arrays with many fields: compiled code passes an array by seven words, so that
the same fields as 70 arrays ran 20 times slower and took two minutes to compile.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lepton.pool.kernel.compiled import IS_COMPILED, shared
from lepton.pool.kernel.table import Table

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = Any
"""A record array, or a `Table`: `rows[i].field`."""

WHOLE = 1000
"""Thousandths of a device."""
WAITING, RUNNING, ENDED, ABSENT = 0, 1, 2, 3
"""Where a job is; ABSENT: not submitted yet."""

NODE = np.dtype(
    [
        ("free", "i8"),  # devices that nobody holds any part of
        ("cpu", "i8"),  # free milli-CPUs
        ("memory", "i8"),  # free bytes
        ("cell", "i8"),
        ("is_open", "i8"),  # new work may go there
        ("gain", "i8"),  # scratch: devices that candidates for a stop hold there
        ("most", "i8"),  # thousandths free of the device in parts that has most; 0: there is none
        ("kept", "i8"),  # not 0 while it is kept for a late job (`reserve`); and what others may have of it meanwhile:
        ("spare", "i8"),  # devices,
        ("spare_cpu", "i8"),
        ("spare_memory", "i8"),
        ("idle", "f8"),  # the part of it that is left idle because it is kept
    ]
)
CELL = np.dtype(
    [
        ("start", "i8"),  # its first node, and the one after its last
        ("end", "i8"),
        ("word", "i8"),  # its first word in `bits`, and the one after its last
        ("word_end", "i8"),
        ("link", "i8"),  # first of the classes that may use it; -1: none
        ("kind", "i8"),  # of the devices that its nodes have
        ("free", "i8"),  # devices that nobody holds any part of, on its open nodes
        ("running", "i8"),  # first of the jobs whose first worker runs here; -1: none
        ("held_for", "i8"),  # the late job that some of its nodes are kept for; -1: none
        ("held_until", "f8"),  # when that is expected to fit: what ends before may have those nodes
        ("credit", "f8"),  # node-seconds that may be left idle for late jobs,
        ("credit_at", "f8"),  # as of when
    ]
)
CLASS = np.dtype(
    [
        ("account", "i8"),  # its queue
        ("accounts", "i8"),  # its queue, those above, and then quotas: `lists[accounts:accounts_end]`
        ("queues_end", "i8"),
        ("accounts_end", "i8"),
        ("rank", "i8"),  # priority; smaller goes first
        ("devices", "i8"),  # whole ones of all workers together
        ("touches", "i8"),  # the same, and one for each part of one: more can never be free when it stops
        ("part", "i8"),  # its first row in `parts`, and the one after its last
        ("part_end", "i8"),
        ("cells", "i8"),  # the cells it may use, in order of preference: `lists[cells:cells_end]`
        ("cells_end", "i8"),
        ("scopes", "i8"),  # (tier, begin, end) of each scope in `lists`: `lists[scopes:scopes_end]`
        ("scopes_end", "i8"),
        ("is_pinned", "i8"),  # stopped only for a higher priority or a guarantee, never for order alone
        ("root", "i8"),  # its first waiting job; -1: none
        ("is_awake", "i8"),  # something has changed since its first job did not fit
        ("is_put_off", "i8"),  # its first job did not fit, nothing has changed, nobody looked yet whom to stop for it
        ("is_stirred", "i8"),  # something has changed since one of its late jobs did not fit
        ("borrowed", "i8"),  # scratch: level of those of its jobs that run
        ("rests_until", "f8"),  # nobody was found lately: it is not tried again before
        ("unfit_until", "f8"),  # it would not fit even if all its cells were empty: that is not looked at again before
        ("level", "i8"),  # what goes before its key in the present decision; then the shares
        ("share", "f8"),  # of the topmost queue above it
        ("own_share", "f8"),  # of its queue
    ]
)
PART = np.dtype(
    [
        ("workers", "i8"),
        ("devices", "i8"),  # of one worker, whole ones
        ("milli", "i8"),  # thousandths of one device, where it wants a part of one; then `devices` is 0
        ("cpu", "i8"),
        ("memory", "i8"),
        ("kind", "i8"),  # of the devices that it wants; and, of the kinds of workers that are expected,
        ("share", "f8"),  # how often it comes
    ]
)
ACCOUNT = np.dtype(
    [
        ("link", "i8"),  # first of the classes that count here; -1: none
        ("is_blocked", "i8"),  # in the present decision: nothing may pass its first job
        ("is_full", "i8"),  # its limit has kept somebody waiting
        ("weight", "f8"),
        ("usage", "f8"),  # mean share of the pool that it has held, the past fading by half every `half_life_s`
        ("usage_at", "f8"),  # as of when
    ]
)
LINK = np.dtype([("klass", "i8"), ("after", "i8")])  # a class, and the next link of its chain; -1: none
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
        ("saved", "f8"),  # work that a stop would not lose
        ("runs", "i8"),  # times it was started
        ("left", "i8"),  # children in the heap of its class; -1: none
        ("right", "i8"),
        ("place", "i8"),  # its first row in `workers`, and the one after its last
        ("place_end", "i8"),
        ("before", "i8"),  # neighbours in the list of what runs in its cell; -1: none
        ("after", "i8"),
        ("is_late", "i8"),  # has waited too long: it goes before all others, and is not looked for in its class
        ("is_endless", "i8"),  # it is known to have no end of its own
        ("reserved", "f8"),  # of a late one that nodes are kept for: when it was expected to fit; else infinity
        ("held_at", "f8"),  # since when they are kept
    ]
)
WORKER = np.dtype(
    [
        ("node", "i8"),
        ("was", "i8"),  # its node before the job was stopped last; live, or where its files are: -1 where nobody knows
        ("slot", "i8"),  # which of the node's devices it has a part of
        ("kept", "i8"),  # the node that is kept for it, while its job is late
    ]
)
ROOM = np.dtype(
    [
        ("awake", "i8"),  # the classes to look at, in no order
        ("late", "i8"),  # the late jobs, oldest first
        ("heap", "i8"),  # scratch: classes to try, the next one first
        ("found", "i8"),  # scratch: jobs, what to sort them by, and which of equal ones comes first
        ("key", "f8"),
        ("turn", "i8"),
        ("given", "i8"),  # scratch: jobs that have given their places back
    ]
)
CROWD = np.dtype(
    [
        ("jobs", "i8"),  # how many of a queue and priority run
        ("devices", "i8"),  # and hold how many devices, or parts of one
        ("largest", "f8"),  # and may have which key at most (`bounds`)
    ]
)
RANKS = 9
"""Priorities."""
PLAN = np.dtype(
    [
        ("start", "i8"),
        ("stop", "i8"),
        ("begun", "f8"),  # of who stops: what its run was like,
        ("lead", "f8"),
        ("work", "f8"),
        ("is_late", "i8"),
        ("by", "i8"),  # and for whom it stops
    ]
)
AWAKE, LATE, STARTS, STOPS, SEARCHES, EXPECTED, BY_KEY, KEPT, KNOWN = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Indices of `Pool.size`."""
EXCESS, WAIT, RUN, STARTED, ENDS, LONGEST = 0, 1, 2, 3, 4, 5
"""Indices of `Pool.pace`."""
ENDLESS = 2**62
"""No limit."""


@shared
class Pool(NamedTuple):
    """All that a decision depends on, changes and says."""

    nodes: Rows
    cells: Rows
    tally: Ints
    """(cells, L) open nodes with so many devices free."""
    bits: NDArray[np.uint64]
    """(L, words) the same nodes as bits, 64 a word; a cell begins at a word of its own."""
    shares: Ints
    """(N, D) thousandths free of each device that is given away in parts; WHOLE where none of it is."""
    classes: Rows
    parts: Rows
    lists: Ints
    """Lists of cells, accounts and scopes that rows point into."""
    links: Rows
    accounts: Rows
    used: Ints
    """(A, R) what is held of each counted amount: devices, and live also CPUs and memory (`pool.live` says which),"""
    guarantee: Ints
    """(A, R) what may always be held, and"""
    limit: Ints
    """(A, R) never be exceeded."""
    need: Ints
    """(C, R) what one job of a class holds."""
    capacity: Ints
    """(R,) what there is."""
    crowds: Rows
    """(A x RANKS,) the running jobs of each queue and priority."""
    renewed_at: Floats
    """(1,) when their bounds were looked at last."""
    pace: Floats
    """(6,) how the pool fares (`pace`): EXCESS, what size counts for beside `Order.stretch`; WAIT and RUN, the mean
    wait and run lately, in seconds; STARTED and ENDS, of how many; LONGEST, the longest run that has ended.
    """
    jobs: Rows
    """In the order in which equal ones go."""
    workers: Rows
    room: Rows
    """As long as there are jobs or classes."""
    plan: Rows
    """What the last decision has done, in order; a job that stops may also start, elsewhere."""
    size: Ints
    """(9,) how many rows count: AWAKE and LATE of `room`, STARTS and STOPS of `plan`; SEARCHES for victims made;
    EXPECTED kinds of workers, the first rows of `parts`; BY_KEY 1 while jobs may be stopped for a smaller key alone;
    KEPT jobs that nodes are kept for in the present decision; KNOWN 1 while expected run times count.
    """


@shared
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
    turn_s: float
    wait_cap_s: float
    cap_factor: float
    adapts: bool
    blocks: bool
    preempts: bool
    is_remaining: bool
    has_guarantees: bool
    grace_s: float
    half_life_s: float
    searches: int
    rest_s: float


def rows(number: int, dtype: "np.dtype[np.void]") -> Rows:
    """So many rows of zeros."""
    return np.zeros(number, dtype).view(np.recarray) if IS_COMPILED else Table(dtype, number)


def size_of_nothing() -> Ints:
    """`Pool.size` before the first decision: no row counts, and jobs may be stopped for a smaller key."""
    size = np.zeros(9, np.int64)
    size[BY_KEY] = 1
    return size


def longer(array: Rows, number: int) -> Rows:
    """The same rows, and as many of zeros as are missing to `number`; of records or numbers."""
    if isinstance(array, Table):
        return array.longer(number)
    found = np.zeros((number, *array.shape[1:]), array.dtype)
    found[: len(array)] = array
    return found.view(type(array))


def first_of(array: Rows, number: int) -> Rows:
    """A copy of the first rows."""
    if isinstance(array, Table):
        return array.first(number)
    if array.dtype.names is None:
        return array[:number].copy()
    plain = array[:number].view(np.ndarray).view(np.uint8)  # numpy copies records field by field, and bytes at once
    return plain.copy().view(array.dtype).view(type(array))
