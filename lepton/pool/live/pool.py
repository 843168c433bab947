"""The live pool: truths in, plans out. See the package for the phases of a job."""

import heapq
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from itertools import islice
from typing import Self

import numpy as np

from lepton.pool.kernel.choose import decide
from lepton.pool.kernel.state import RUNNING, STARTS, STOPS, WAITING
from lepton.pool.live.entry import Due, Entry
from lepton.pool.live.forecast import Forecast
from lepton.pool.live.habits import Habits
from lepton.pool.live.seats import Seats
from lepton.pool.live.steady import Steady
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Place, Plan, Stop, Truth, Wants
from lepton.pool.policy import LIVE, Policy
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState

LOOK_AGAIN_S = 5.0
"""How often all that waits is tried though nothing has happened: expectations are outrun, graces end."""
LONGEST_PAUSE_S = 120.0
"""A pause that seems to be longer was given before the clock was set back: it is over."""
DOUBT_S = 60.0
"""A promise that is not kept for so long, though nobody is leaving its nodes, rests on arrays that are wrong."""
STATED_AT_ONCE = 4
"""Jobs that are told in one decision when they will probably start; the others in the next, or when they ask."""
SPARE = 4096
"""Rows that may lie idle before the arrays are made anew, beside three for each living job."""


class LivePool:
    """Nodes, queues and jobs as they are, and what should be. No thread of its own: one caller at a time.

    Whoever calls gives the wall time; all that is done with it is done in the pool's own time (`Steady`).
    """

    def __init__(
        self,
        policy: Policy = LIVE,
        forecast: Forecast | None = None,
        ticks: Callable[[], float] | None = None,
    ) -> None:
        """Args: `ticks`: seconds on a clock that nobody sets (`Steady`)."""
        self.policy = policy
        self.machines: dict[str, Machine] = {}
        self.rights = Rights()
        self._draining: set[str] = set()
        self.jobs: dict[str, Entry] = {}
        self.forecast = forecast or Forecast(policy)
        self.habits = Habits()
        self.clock = Steady(ticks)
        self.seats = Seats([], self.rights, policy, self.forecast, self.habits)
        self._stopping: dict[str, Stop] = {}
        """Job -> why it was to stop, until it does."""
        self._look_again_at = float("-inf")
        self.is_stale = True
        """The arrays are made anew before they are used again."""
        self._make_arrays(0.0)

    # Truths.

    def put_machines(self, machines: Iterable[Machine], now: float) -> None:
        """All nodes that there are."""
        now = self.clock.see(now, may_pause=not self.jobs)
        before, self.machines = self.machines, {each.name: each for each in machines}
        self._draining = {each.name for each in self.machines.values() if each.state == NodeState.DRAINING}
        if list(map(_build, before.values())) != list(map(_build, self.machines.values())):
            self.is_stale = True
        for name, machine in self.machines.items():
            if not self.is_stale and machine.state != before[name].state:
                self._turn(name, machine.state, now)

    def put_rights(self, rights: Rights, now: float) -> None:
        """All queues and quotas that there are."""
        now = self.clock.see(now, may_pause=not self.jobs)
        if rights.shape() != self.rights.shape():
            self.is_stale = True
        self.rights = rights
        if not self.is_stale:
            self.seats.tables.change_rights(rights)
            self._take_promises_back(now)
            self.seats.wake_all()

    def put(self, wants: Wants, truth: Truth, now: float) -> None:
        """What is the case with a job; the same again changes nothing."""
        now = self.clock.see(now, may_pause=not self.jobs)
        entry = self.jobs.get(wants.job)
        if truth.phase is Phase.GONE:
            if entry is not None:
                self._remove(entry, truth, now)
        elif entry is None:
            entry = self.jobs[wants.job] = Entry(wants, truth, self.clock.at(wants.since_s))
            self._note_begin(entry, now)
            self.habits.came(wants.workers)
            self._enter(entry)
        elif truth != entry.truth or entry.taken is not None:
            self._change(entry, truth, now)

    def forget_all(self) -> None:
        """Begin anew, e.g. because another server has decided meanwhile. What was learned stays."""
        self.jobs.clear()
        self._stopping.clear()
        self.is_stale = True

    # Plans.

    def decide(self, now: float) -> Plan:
        """What should happen now: starts that are possible at this moment, and who must stop for others.

        A plan that is not carried out is no harm: what is not put in as done comes again.
        """
        now = self.clock.see(now, may_pause=not self.jobs)
        self._doubt_promises(now)
        self._settle(now)
        self._let_time_pass(now)
        self._drain(now)
        self.seats.learn()
        decide(self.seats.tables.pool, self.seats.order, now)
        self._note_stops(now)
        self._note_starts(now)
        self._state_waits(now)
        stops = [stop for job, stop in self._stopping.items() if self.jobs[job].truth.phase is Phase.HOLDS]
        return Plan(self._ready(), stops)

    def settle(self, now: float) -> None:
        """Make the arrays anew if they must be."""
        self._settle(self.clock.see(now, may_pause=not self.jobs))

    def _settle(self, now: float) -> None:
        if self.is_stale or self.seats.rows > 3 * len(self.jobs) + SPARE:
            self._make_arrays(now)

    def due_s(self, now: float) -> float | None:
        """Seconds until the next decision is due, if nothing happens; None: not soon."""
        if self._new or self.seats.is_unfinished:
            return 0.0
        return max(0.0, self._paused[0].at - self.clock.own(now)) if self._paused else None

    def is_leaving(self, entry: Entry) -> bool:
        """Whether a job that holds places is on its way to give them back."""
        return entry.truth.phase is Phase.LEAVES or entry.wants.job in self._stopping

    def _note_stops(self, now: float) -> None:
        pool = self.seats.tables.pool
        for at in range(pool.size[STOPS]):
            entry = self.jobs[self.seats.job_at(pool.plan[at].stop)]
            if entry.is_promised:
                self._withdraw(entry)
            else:
                self._stopping[entry.wants.job] = Stop(entry.wants.job, by=self.seats.job_at(pool.plan[at].by))
                entry.asked_s = entry.asked_s or now
            self.seats.watch(entry)

    def _note_starts(self, now: float) -> None:
        pool = self.seats.tables.pool
        for at in range(pool.size[STARTS]):
            entry = self.jobs[self.seats.job_at(pool.plan[at].start)]
            entry.is_promised, entry.promised_s = True, now
            self._promised[entry.wants.job] = None

    def _doubt_promises(self, now: float) -> None:
        """Have the arrays made anew if nobody who leaves can make a promise of them come true."""
        entries = [] if self.is_stale else [self.jobs[job] for job in self._promised]
        doubted = [each for each in entries if each.taken is None and now - each.promised_s > DOUBT_S]
        if not doubted:
            return
        holding = [each for each in self.jobs.values() if each.holds and self.is_leaving(each)]
        leaving = {place.node for each in holding for place in each.truth.places}
        if any(leaving.isdisjoint(spot.node for spot in self.seats.spots(each)) for each in doubted):
            self.is_stale = True

    def _ready(self) -> dict[str, tuple[Place, ...]]:
        """The promised starts whose places are really free."""
        starts = {}
        for job in self._promised:
            entry = self.jobs[job]
            if entry.truth.phase is Phase.QUEUED and entry.taken is None:
                entry.taken = self.seats.take(entry)
            if entry.taken is not None:
                starts[job] = entry.taken
        return starts

    def _state_waits(self, now: float) -> None:
        """Tell those that have come and could not start when they probably will."""
        for job in list(islice(self._new, STATED_AT_ONCE)):
            self._state_wait(job, now)

    def state_wait(self, job: str, now: float) -> tuple[float, float, float] | None:
        """What a waiting job was told, or is told now: when, and within how many seconds it probably starts."""
        told = self._state_wait(job, self.clock.own(now))
        return None if told is None else (self.clock.wall(told[0]), told[1], told[2])

    def _state_wait(self, job: str, now: float) -> tuple[float, float, float] | None:
        self._new.pop(job, None)
        entry = self.jobs.get(job)
        if entry is not None and self.seats.is_in(entry, WAITING):
            entry.stated = self.forecast.waits.tell(job, entry.wants.queue, self.seats.devices(entry), now)
        return None if entry is None else entry.stated

    def still(self, job: str, now: float) -> Self:
        """The pool as it is now, as far as it says why one job waits and when that starts (`why`, `when`): whoever asks
        there neither sees nor disturbs what happens here meanwhile.
        """
        self.state_wait(job, now)
        found, pool = copy(self), self.seats.tables.pool
        entry, held_for = self.jobs.get(job), np.asarray(pool.cells.held_for)
        heard = [job, *self._promised, *(self.seats.job_at(slot) for slot in np.unique(held_for).tolist())]
        if entry is not None and self.seats.is_in(entry, RUNNING):
            heard += self.seats.jobs_on({spot.node for spot in self.seats.spots(entry)})
        found.jobs = {id: copy(self.jobs[id]) for id in heard if id in self.jobs}
        found.seats, found.clock, found.forecast = self.seats.still(), self.clock.still(), self.forecast.still(job)
        found._stopping, found._new, found._promised = self._stopping.copy(), {}, {}
        return found

    # Time and nodes.

    def _let_time_pass(self, now: float) -> None:
        while self._paused and self._is_over(self._paused[0], now):
            due = heapq.heappop(self._paused)
            entry = self.jobs.get(due.job)
            if entry is not None and entry.truth.phase is Phase.PAUSED and entry.due == due.at:
                self._change(entry, replace(entry.truth, phase=Phase.QUEUED), now)
        self.seats.note_late(now)
        if now >= self._look_again_at:
            self._look_again_at = now + LOOK_AGAIN_S
            self.seats.wake_all()

    def _is_over(self, due: Due, now: float) -> bool:
        """Whether a pause is over, or was given before the clock was set back."""
        entry = self.jobs.get(due.job)
        seems_s = due.at - now if entry is None else entry.truth.due_s - self.clock.wall(now)
        return not 0 < due.at - now <= LONGEST_PAUSE_S or seems_s > LONGEST_PAUSE_S

    def _turn(self, name: str, state: str, now: float) -> None:
        """A node has come up, or takes nothing new from now on."""
        self.seats.set_open(name, state)
        if state != NodeState.UP:
            self._take_promises_back(now, node=name)

    def _take_promises_back(self, now: float, node: str = "") -> None:
        """Whoever has been promised places, on one node if one is named, waits again: what they rest on has changed."""
        for job in list(self._promised):
            entry = self.jobs[job]
            if not node or any(spot.node == node for spot in self.seats.spots(entry)):
                self._withdraw(entry)
                self.seats.back_to_queue(entry, now)

    def _drain(self, now: float) -> None:
        """Whoever runs on a node that is being drained goes back to the queue."""
        for entry in [self.jobs[job] for job in self.seats.jobs_on(sorted(self._draining))]:
            if entry.wants.is_kept:
                continue
            here = [place.node for place in entry.truth.places if place.node in self._draining]
            if here and entry.truth.phase is Phase.HOLDS and entry.wants.job not in self._stopping:
                self._stopping[entry.wants.job] = Stop(entry.wants.job, node=here[0])
                entry.asked_s = entry.asked_s or now
                if self.seats.is_in(entry, RUNNING):
                    self.seats.back_to_queue(entry, now)

    # Jobs.

    def _enter(self, entry: Entry) -> None:
        """Enter a job into the arrays that is not in them."""
        if self.is_stale:
            return
        if entry.truth.phase is Phase.HOLDS:
            self.seats.hold(entry)
        elif entry.truth.phase is Phase.LEAVES:
            self.seats.note_held(entry)
            self.seats.queue(entry)
        elif entry.truth.phase is Phase.QUEUED:
            self.seats.queue(entry)
            self._new[entry.wants.job] = None
        elif entry.truth.due_s:
            entry.due = self.clock.own(entry.truth.due_s)
            heapq.heappush(self._paused, Due(entry.due, entry.wants.job))

    def _change(self, entry: Entry, truth: Truth, now: float) -> None:
        """Something else is the case with a job than was known."""
        before, entry.truth = entry.truth, truth
        self.seats.note_work(entry)
        self._note_begin(entry, now)
        if before.phase is Phase.PAUSED and not before.due_s and truth.phase is Phase.QUEUED:
            since_s = max(self.clock.wall(now), entry.wants.since_s)  # what it comes after is done
            entry.wants, entry.waits_from = replace(entry.wants, since_s=since_s), now
        if self.is_stale:
            return
        taken, entry.taken = entry.taken, None
        if truth.phase is Phase.HOLDS and taken is not None and truth.places == taken:
            self._begin(entry, now)
            return
        if taken is not None:
            self.seats.give(taken, entry.wants)
        if truth.phase is before.phase is Phase.HOLDS and truth.places == before.places:
            self.seats.renew(entry)
        elif truth.phase is Phase.LEAVES and before.phase is Phase.HOLDS:
            if self.seats.is_in(entry, RUNNING) and not entry.is_promised:
                self.seats.back_to_queue(entry, now)
            self._stopping.pop(entry.wants.job, None)
        else:
            self._exchange(entry, before, now)

    def _note_begin(self, entry: Entry, now: float) -> None:
        """Note when a job's present run began, once: what was written down is read by the clock of then; and since when
        it gives its places back.
        """
        if not entry.holds:
            entry.asked_s = 0.0
        elif entry.truth.phase is Phase.LEAVES:
            entry.asked_s = entry.asked_s or now
        if entry.truth.began_s != entry.began_s:
            entry.began_s, entry.begun = entry.truth.began_s, self.clock.at(entry.truth.began_s)

    def _exchange(self, entry: Entry, before: Truth, now: float) -> None:
        """Take a job out as it was and enter it as it is; one that goes on waiting keeps its place and promise."""
        self._stopping.pop(entry.wants.job, None)
        held = before.phase in (Phase.HOLDS, Phase.LEAVES)
        if held:
            self.seats.give(before.places, entry.wants)
        goes_on = self.seats.is_in(entry, WAITING) or entry.is_promised
        if not (goes_on and entry.truth.phase is Phase.QUEUED):
            self._take_out(entry, now)
            self._enter(entry)
        if held:
            self.seats.open_again(before)

    def _take_out(self, entry: Entry, now: float) -> None:
        self._promised.pop(entry.wants.job, None)
        entry.is_promised = False
        self.seats.take_out(entry, now)

    def _remove(self, entry: Entry, truth: Truth, now: float) -> None:
        """A job is over."""
        job = entry.wants.job
        del self.jobs[job]
        self._stopping.pop(job, None)
        self.forecast.waits.gone(job)
        if truth.ran_s is None:
            self.forecast.forget(job)
        else:
            self.forecast.learn(entry.wants, truth.ran_s, now)
            if not truth.has_failed:
                self.seats.note_ended(entry, truth.ran_s)
        if self.is_stale:
            return
        self._withdraw(entry)
        if entry.holds:
            self.seats.give(entry.truth.places, entry.wants)
        self._take_out(entry, now)
        self.seats.open_again(entry.truth)

    def _withdraw(self, entry: Entry) -> None:
        """Take back a promise of places; the arrays do so by themselves."""
        self._promised.pop(entry.wants.job, None)
        entry.is_promised = False
        if entry.taken is not None:
            self.seats.give(entry.taken, entry.wants)
            entry.taken = None

    def _begin(self, entry: Entry, now: float) -> None:
        """A job that was promised its places has them."""
        self._promised.pop(entry.wants.job, None)
        entry.is_promised = False
        self.forecast.waits.started(entry.wants.job, now)
        self.habits.ran(entry.wants.program, [place.node for place in entry.truth.places])
        entry.stated = None
        self.seats.renew(entry)

    def _make_arrays(self, now: float) -> None:
        """Make the arrays anew from what is known; promises are forgotten, and made again if they still hold."""
        self.is_stale = False
        pasts, pace = self.seats.tables.pasts(), self.seats.tables.pool.pace
        self.seats = Seats(list(self.machines.values()), self.rights, self.policy, self.forecast, self.habits)
        self.seats.tables.past = pasts
        self.seats.tables.pool.pace[:] = pace
        self._promised: dict[str, None] = {}
        self._paused: list[Due] = []
        self._new: dict[str, None] = {}
        self._look_again_at = float("-inf")
        stopping, self._stopping = self._stopping, {}
        for entry in sorted(self.jobs.values(), key=lambda each: not each.holds):
            entry.slot = entry.place = -1
            entry.is_promised, entry.taken = False, None
            self._enter(entry)
            if entry.wants.job in stopping and self.seats.is_in(entry, RUNNING):
                self._stopping[entry.wants.job] = stopping[entry.wants.job]
                self.seats.back_to_queue(entry, now)


def _build(machine: Machine) -> object:
    """What a node is made of: what cannot change without making the arrays anew."""
    return machine.name, machine.total, dict(machine.labels)
