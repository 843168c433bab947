"""Jobs in the arrays: how one gets a row, waits there, holds its places and is taken out again."""

import heapq
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Self

import numpy as np

from lepton.pool.arrays import order_of
from lepton.pool.kernel import follow
from lepton.pool.kernel.moves import end, make_late, wait
from lepton.pool.kernel.state import ABSENT, BY_KEY, KNOWN, RUNNING, SEARCHES, WHOLE
from lepton.pool.live.entry import Due, Entry
from lepton.pool.live.forecast import Forecast
from lepton.pool.live.habits import Habits
from lepton.pool.live.layout import Layout, devices_of, type_of
from lepton.pool.live.ledger import Ledger
from lepton.pool.live.real import Real, Spot
from lepton.pool.live.room import Free
from lepton.pool.live.tables import Rights, Tables
from lepton.pool.live.views import Place, Truth, Wants
from lepton.pool.policy import Policy
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState


class Seats:
    """The arrays of one set of nodes and queues, and which job is where in them."""

    def __init__(
        self, machines: Sequence[Machine], rights: Rights, policy: Policy, forecast: Forecast, habits: Habits
    ) -> None:
        self.policy = policy
        self.order = order_of(policy, is_shared=True)
        self.layout = Layout(machines)
        self.tables = Tables(self.layout, rights)
        self._real = Real(machines)
        self._ledger = Ledger(self.tables)
        self.late: list[Due] = []
        """Heap: when each waiting job will have waited too long."""
        self._forecast = forecast
        self._habits = habits
        self.tables.expect(habits.kinds())
        self._at: list[tuple[Wants, float] | None] = []
        """By row: what its job wants, and the work that it has done; None: it is gone."""
        self._on: dict[str, dict[str, None]] = {each.name: {} for each in machines}
        """Node -> jobs that really hold something there."""

    @property
    def rows(self) -> int:
        """Rows of jobs in use, those of jobs that are gone included."""
        return self.tables.grow.count("jobs")

    @property
    def is_unfinished(self) -> bool:
        """Whether the last decision has put some classes off to the next."""
        return bool(self.tables.pool.size[SEARCHES] > self.order.searches)

    def is_in(self, entry: Entry, state: int) -> bool:
        """Whether the arrays have a job in this state."""
        return entry.slot >= 0 and bool(self.tables.pool.jobs[entry.slot].state == state)

    def job_at(self, slot: int) -> str:
        """The job in a row; empty if it is gone."""
        found = self._at[slot] if 0 <= slot < len(self._at) else None
        return "" if found is None else found[0].job

    def known_at(self, slot: int) -> tuple[Wants, float]:
        """What the job in a row wants, and the seconds of work that it has done in earlier starts."""
        found = self._at[slot]
        assert found is not None
        return found

    def note_work(self, entry: Entry) -> None:
        """Something else is the case with a job."""
        if entry.slot >= 0:
            self._at[entry.slot] = entry.wants, entry.truth.worked_s

    def still(self) -> Self:
        """The arrays as they are now, and who is where in them, for a look that changes nothing here."""
        found = copy(self)
        found.layout, found._at = copy(self.layout), self._at.copy()
        found.layout.machines = [*self.layout.machines]
        found.tables = self.tables.still(found.layout)
        return found

    def places(self, entry: Entry) -> range:
        """The rows of a job's workers."""
        return range(entry.place, entry.place + len(entry.wants.workers))

    def spots(self, entry: Entry) -> list[Spot]:
        """Where the arrays have put a job, by rank."""
        assert entry.klass is not None
        workers, machines = self.tables.pool.workers, self.layout.machines
        found = {}
        for at, rank in enumerate(entry.klass.ranks, entry.place):
            slot = int(workers[at].slot) if devices_of(entry.wants.workers[rank])[1] else -1
            found[rank] = Spot(machines[workers[at].node].name, slot)
        return [found[rank] for rank in range(len(found))]

    def take(self, entry: Entry) -> tuple[Place, ...] | None:
        """Really take what the arrays have given a job; None, and nothing taken, if something is still held."""
        if not self._ledger.has_room(entry.wants):
            return None
        taken = self._real.take(self.spots(entry), entry.wants.workers)
        if taken is not None:
            self._ledger.add(entry.wants, 1)
            self._note_on(taken, entry.wants)
        return taken

    def give(self, places: Sequence[Place], wants: Wants) -> None:
        """A job really holds its places no longer."""
        self._real.give(places, wants.workers)
        self._ledger.add(wants, -1)
        for place in places:
            self._on.get(place.node, {}).pop(wants.job, None)

    def note_held(self, entry: Entry) -> tuple[Spot, ...]:
        """Note what a job really holds already; return where that is in the arrays."""
        self._ledger.add(entry.wants, 1)
        self._note_on(entry.truth.places, entry.wants)
        return self._real.hold(entry.truth.places, entry.wants.workers)

    def jobs_on(self, nodes: Iterable[str]) -> list[str]:
        """Jobs that really hold something on one of these nodes, each once."""
        return list({job: None for node in nodes for job in self._on.get(node, ())})

    def _note_on(self, places: Sequence[Place], wants: Wants) -> None:
        for place in places:
            self._on.setdefault(place.node, {})[wants.job] = None

    def devices(self, entry: Entry) -> int:
        """Whole devices that a job asks for."""
        assert entry.klass is not None
        return int(self.tables.pool.classes[entry.klass.index].devices)

    def frees(self, nodes: Iterable[str]) -> list[Free]:
        """What nobody holds, or has been promised, of some nodes; one object for all of which the same is free."""
        pool, cells, known = self.tables.pool, self.layout.cells, dict[tuple[object, ...], Free]()
        at = np.array([self.layout.index[name] for name in nodes], np.int64)
        columns = (
            np.asarray(getattr(pool.nodes, name))[at].tolist() for name in ("cell", "free", "most", "cpu", "memory")
        )
        found = []
        for key in zip(at.tolist(), *columns, strict=True):
            row, cell, devices, most, cpu, memory = key
            same = (row if most else -1, cells[cell].kind, devices, cpu, memory)
            free = known.get(same)
            if free is None:
                parts = [int(left) for left in pool.shares[row] if left < WHOLE] if most else []
                free = Free(cells[cell].kind, max(0, devices), parts, max(0, cpu), max(0, memory))
                known[same] = free
            found.append(free)
        return found

    def open_ones(self, nodes: Iterable[str]) -> list[str]:
        """Those of some nodes that take new work: they are up, and have not given more than they have."""
        names = list(nodes)
        at = np.array([self.layout.index[name] for name in names], np.int64)
        is_open = np.asarray(self.tables.pool.nodes.is_open)[at].tolist()
        return [name for name, flag in zip(names, is_open, strict=True) if flag]

    def set_open(self, node: str, state: str) -> None:
        """A node takes new work from now on, or no longer."""
        at = self.layout.index[node]
        self.layout.machines[at] = replace(self.layout.machines[at], state=state)
        follow.set_open(self.tables.pool, at, int(state == NodeState.UP))

    def note_late(self, now: float) -> None:
        """Note who has waited too long by now."""
        while self.late and self.late[0].at <= now:
            due = heapq.heappop(self.late)
            if self.job_at(due.slot) == due.job:
                make_late(self.tables.pool, due.slot)

    def learn(self) -> None:
        """Decide by what is known by now: which workers come, how long they run, which way pays."""
        way = self._forecast.way
        self.tables.pool.size[BY_KEY] = way.stops
        if self.order.adapts != way.adapts:
            self.order = self.order._replace(adapts=way.adapts)
        self.tables.pool.size[KNOWN] = self._forecast.is_known
        if self._habits.are_new:
            self.tables.expect(self._habits.kinds())

    def wake_all(self) -> None:
        """Look at all that waits in the next decision."""
        follow.wake_all(self.tables.pool, self.tables.grow.count("classes"))

    def add(self, entry: Entry, estimate_s: float) -> int:
        """Give a job a row of its own, absent. No row is used for two jobs: the heap of its class may still know it."""
        entry.klass = self.tables.class_of(entry.wants, self._types(entry.wants))
        grow, workers = self.tables.grow, len(entry.wants.workers)
        entry.slot = grow.add("jobs")
        if entry.place < 0:
            entry.place = grow.add("workers", workers)
        for name in ("room", "plan"):
            grow.reserve(name, grow.count("jobs"))
        row = grow.pool.jobs[entry.slot]
        row.klass, row.state, row.submit = entry.klass.index, ABSENT, entry.waits_from
        row.left = row.right = row.before = row.after = -1
        row.place, row.place_end = entry.place, entry.place + workers
        nodes = [self.layout.index.get(name, -1) for name in self._habits.nodes(entry.wants.program)]
        for at in range(workers):
            grow.pool.workers[entry.place + at].was = nodes[at] if at < len(nodes) else -1
        row.estimate = estimate_s
        row.work, row.is_endless = entry.truth.worked_s, entry.wants.is_endless
        row.saved = _saved(entry)
        self._at.append((entry.wants, entry.truth.worked_s))
        return entry.slot

    def _types(self, wants: Wants) -> tuple[str, ...]:
        """Types of devices in the order in which a job should get them; empty where they are equal to it."""
        types = self.layout.types_for(wants)
        if len(types) < 2:
            return ()
        return self._habits.speeds.order(_habit(wants), types, is_crowded=self.tables.is_crowded)

    def note_ended(self, entry: Entry, ran_s: float) -> None:
        """A job has ended by itself, on nodes of one type or several."""
        found = (self.layout.index.get(place.node, -1) for place in entry.truth.places)
        types = {type_of(self.layout.machines[at]) for at in found if at >= 0}
        if len(types) == 1 and not entry.truth.worked_s:
            self._habits.speeds.learn(_habit(entry.wants), types.pop(), ran_s)

    def queue(self, entry: Entry) -> None:
        """A job waits from now on."""
        slot = self.add(entry, self._forecast.expect(entry.wants))
        wait(self.tables.pool, self.order, slot)
        self.watch(entry)

    def watch(self, entry: Entry) -> None:
        """A job waits, or waits again: mind when that will have been too long."""
        at = entry.waits_from + entry.truth.worked_s + self.policy.shared_cap_s
        heapq.heappush(self.late, Due(at, entry.wants.job, entry.slot))

    def hold(self, entry: Entry) -> None:
        """A job holds its places, free or not."""
        spots = self.note_held(entry)
        if len(spots) != len(entry.wants.workers) or any(spot.node not in self.layout.index for spot in spots):
            return  # a node of it is no more; its engine will say that it is lost
        slot = self.add(entry, self._forecast.expect(entry.wants))
        assert entry.klass is not None
        workers = self.tables.pool.workers
        for at, rank in enumerate(entry.klass.ranks, entry.place):
            workers[at].node, workers[at].slot = self.layout.index[spots[rank].node], spots[rank].slot
        follow.hold(self.tables.pool, self.order, slot, entry.begun)
        self.renew(entry)

    def renew(self, entry: Entry) -> None:
        """Note since when a running job runs, and what it has saved."""
        if self.is_in(entry, RUNNING):
            row = self.tables.pool.jobs[entry.slot]
            row.begun = entry.begun if entry.truth.began_s else row.begun
            row.saved = _saved(entry)

    def back_to_queue(self, entry: Entry, now: float) -> None:
        """A job that runs, or was promised its places, gives them back in the arrays and waits again."""
        if self.tables.pool.jobs[entry.slot].is_late:
            end(self.tables.pool, self.order, entry.slot, now)
            self._at[entry.slot] = None
            self.queue(entry)
            return
        if entry.holds:
            follow.evict(self.tables.pool, self.order, entry.slot, now)
        else:
            follow.take_promise_back(self.tables.pool, self.order, entry.slot, now)
        self.watch(entry)

    def take_out(self, entry: Entry, now: float) -> None:
        """Let the arrays know nothing of a job."""
        if self.is_in(entry, RUNNING):
            end(self.tables.pool, self.order, entry.slot, now)
        elif entry.slot >= 0:
            self.tables.pool.jobs[entry.slot].state = ABSENT
        if entry.slot >= 0:
            self._at[entry.slot] = None
        entry.slot = -1

    def open_again(self, before: Truth) -> None:
        """Nodes that had given more than they have take new work once they have room."""
        for place in before.places:
            at = self.layout.index.get(place.node)
            if at is not None and self.layout.machines[at].state == NodeState.UP:
                self.set_open(place.node, NodeState.UP)


def _saved(entry: Entry) -> float:
    """Seconds of work that a stop would not lose."""
    if not entry.wants.can_resume:
        return 0.0
    return entry.truth.worked_s + max(0.0, entry.truth.saved_s - entry.truth.began_s)


def _habit(wants: Wants) -> tuple[object, ...]:
    """Jobs whose run times may be compared: one user's, of one program and size."""
    return wants.program, wants.user, wants.workers
