"""A trace in virtual time: submits, endings and outgrown estimates are events, and `decide` is asked after each.

What a job costs that was stopped is added to its run time at its next start, with its devices held: 7 s for one device,
30 s for 2-8, 60 s for more, as the published schedules assume (Hu et al. 2023), times `Setting.restore_factor`.
"""

from typing import NamedTuple

import numpy as np

from lepton.pool.kernel.choose import decide
from lepton.pool.kernel.compiled import compiled, shared
from lepton.pool.kernel.heaps import pop, push
from lepton.pool.kernel.moves import end, make_late, wait, wake_cells_of
from lepton.pool.kernel.order import done, outgrown
from lepton.pool.kernel.predict import IS_TRUSTED, History, come, expect, learn, leave, may_stop_by_key
from lepton.pool.kernel.state import (
    BY_KEY,
    KEPT,
    KNOWN,
    RUNNING,
    STARTS,
    STOPS,
    WAIT,
    WAITING,
    Floats,
    Ints,
    Order,
    Pool,
    Rows,
)

FACT = np.dtype(
    [
        ("duration", "f8"),  # what a decision does not know
        ("given", "f8"),  # expected run time, where it comes with the trace
        ("due", "f8"),  # next event of one that runs: it ends, outruns its estimate, may be stopped
    ]
)
EVENT = np.dtype([("at", "f8"), ("job", "i8")])
SEGMENT = np.dtype([("job", "i8"), ("start", "f8"), ("end", "f8")])
EVENTS, SUBMITS, SEGMENTS, WORKERS, RUNS, HELD, ENDS = 0, 1, 2, 3, 4, 5, 6
"""Indices of `Replay.at`: events in the heap, jobs submitted, segments and their workers in the log, jobs that run and
their workers, jobs that have ended.
"""
DONE, MORE, GROW, PAUSE = 0, 1, 2, 3
"""What `advance` returns: all has ended; go on; go on with more room for events and segments; all that happens before
`Replay.pause` has happened.
"""

LOOK_S = 600.0
"""How often nodes that are kept in vain are looked at, though nothing happens."""


@shared
class Setting(NamedTuple):
    """What is known of run times, and what stopping costs."""

    source: int
    """0: nothing; 1: what has ended (`predict`); 2: `given`."""
    is_certain: bool
    """Expected run times count from the first job on, without having to prove themselves."""
    prior_s: float
    pull: float
    restore_factor: float
    is_wary: bool
    """Jobs are stopped by key only while that pays."""


@shared
class Replay(NamedTuple):
    """All of one replay."""

    pool: Pool
    order: Order
    setting: Setting
    history: History
    facts: Rows
    """By job."""
    by_submit: Ints
    """Jobs in the order of their submits."""
    events: Rows
    """Heap; a running job's event counts only while its `due` says the same."""
    segments: Rows
    """The log: unbroken runs on one set of nodes."""
    nodes: Ints
    """Nodes of the workers of all segments, one segment after the other."""
    at: Ints
    """(7,) where the replay stands."""
    pause: Floats
    """(1,) time before which it stops, so that something may be learned; infinity: never."""


@compiled
def advance(replay: Replay, most: int) -> int:
    """Replay the next `most` moments at which something happens; return DONE, MORE, GROW or PAUSE."""
    at, by_submit, jobs = replay.at, replay.by_submit, replay.pool.jobs
    for _ in range(most):
        if at[SUBMITS] == len(by_submit) and not at[EVENTS]:
            return DONE
        if is_short(replay):
            return GROW
        now = np.inf
        if at[SUBMITS] < len(by_submit):
            now = jobs[by_submit[at[SUBMITS]]].submit
        if at[EVENTS]:
            now = min(now, replay.events[0].at)
        if now >= replay.pause[0]:
            return PAUSE
        while at[EVENTS] and replay.events[0].at <= now:
            handle(replay, now)
        while at[SUBMITS] < len(by_submit) and jobs[by_submit[at[SUBMITS]]].submit <= now:
            admit(replay, by_submit[at[SUBMITS]], now)
            at[SUBMITS] += 1
        decide(replay.pool, replay.order, now)
        follow(replay, now)
    return MORE


@compiled
def is_short(replay: Replay) -> bool:
    """Whether one more moment might need more room than there is."""
    at = replay.at
    return bool(
        at[EVENTS] + 3 * len(replay.facts) > len(replay.events)
        or at[SEGMENTS] + at[RUNS] > len(replay.segments)
        or at[WORKERS] + at[HELD] > len(replay.nodes)
    )


@compiled
def handle(replay: Replay, now: float) -> None:
    """Take the first event: a job ends, outruns its estimate, or has waited too long."""
    pool, at, job = replay.pool, replay.events[0].at, replay.events[0].job
    replay.at[EVENTS] = pop(replay.events, replay.at[EVENTS])
    row, fact = pool.jobs[job], replay.facts[job]
    if at >= due_late(pool, replay.order, job):
        make_late(pool, job)
    elif row.state == WAITING and not row.is_late:
        watch_wait(replay, job, now)
    if row.state != RUNNING or fact.due != at:
        return
    if done(row, now) < fact.duration - 1e-6:
        wake_cells_of(pool, job)
        schedule(replay, job, now)
        return
    note_segment(replay, job, row.begun, now, False)
    end(pool, replay.order, job, now)
    replay.at[ENDS] += 1
    if replay.setting.source == 1:
        leave(replay.history, job, row.submit)
    if replay.setting.source:
        learn(replay.history, job, fact.duration)
        pool.size[KNOWN] = 1 if replay.setting.is_certain else replay.history.ended[IS_TRUSTED]
        if replay.setting.is_wary:
            pool.size[BY_KEY] = may_stop_by_key(replay.history)


@compiled
def follow(replay: Replay, now: float) -> None:
    """What a decision has stopped and started goes on from here."""
    pool = replay.pool
    for at in range(pool.size[STOPS]):
        note_segment(replay, pool.plan[at].stop, pool.plan[at].begun, now, True)
        watch_wait(replay, pool.plan[at].stop, now)
    for at in range(pool.size[STARTS]):
        job = pool.plan[at].start
        row = pool.jobs[job]
        if row.runs > 1:
            row.lead = restore_s(pool.classes[row.klass].devices, replay.setting.restore_factor)
        replay.at[RUNS] += 1
        replay.at[HELD] += row.place_end - row.place
        schedule(replay, job, now)
    if pool.size[KEPT]:
        watch_kept(replay, now)


@compiled
def watch_kept(replay: Replay, now: float) -> None:
    """Set the event of a late job's nodes being let go of, or lent to fewer, though nothing else happens."""
    pool = replay.pool
    for cell in range(len(pool.cells)):
        job, until = pool.cells[cell].held_for, pool.cells[cell].held_until
        if job >= 0 and not now < replay.facts[job].due < np.inf:
            due = until if until > now else now + LOOK_S
            replay.facts[job].due = due
            replay.at[EVENTS] = push(replay.events, replay.at[EVENTS], due, job)


@compiled
def admit(replay: Replay, job: int, now: float) -> None:
    """A job is submitted."""
    setting, history, order = replay.setting, replay.history, replay.order
    guess = setting.prior_s
    if setting.source == 1:
        guess = expect(history, job, now, setting.prior_s, setting.pull)
        come(history, job, now)
    elif setting.source == 2:
        guess = replay.facts[job].given
        history.guess[job] = np.log(1.0 + guess)
    if not (setting.is_certain or history.ended[IS_TRUSTED]):
        guess = setting.prior_s
    replay.pool.jobs[job].estimate = max(order.floor_s, guess)
    wait(replay.pool, order, job)
    watch_wait(replay, job, now)


@compiled
def due_late(pool: Pool, order: Order, job: int) -> float:
    """When a waiting job becomes late."""
    cap_s = max(order.wait_cap_s, order.cap_factor * pool.pace[WAIT])
    return float(pool.jobs[job].submit + pool.jobs[job].work + cap_s)


@compiled
def watch_wait(replay: Replay, job: int, now: float) -> None:
    """Set the event of a job's becoming late."""
    at = due_late(replay.pool, replay.order, job)
    if at < np.inf:
        replay.at[EVENTS] = push(replay.events, replay.at[EVENTS], max(at, now), job)


@compiled
def schedule(replay: Replay, job: int, now: float) -> None:
    """Set the next event of a running job: it ends, outruns its estimate, or has run for long enough to be stopped."""
    row, fact, order = replay.pool.jobs[job], replay.facts[job], replay.order
    begin = row.begun + row.lead
    fact.due = begin + fact.duration - row.work
    for run_s in (max(order.min_run_s, row.lead), order.turn_s):
        if order.preempts and now < begin + run_s:
            fact.due = min(fact.due, begin + run_s + 1e-3)
    if order.preempts and order.growth > 1.0:
        estimate = outgrown(order, row.estimate, done(row, now))
        fact.due = min(fact.due, begin + estimate - row.work)
    replay.at[EVENTS] = push(replay.events, replay.at[EVENTS], fact.due, job)


@compiled
def note_segment(replay: Replay, job: int, begun: float, now: float, is_stop: bool) -> None:
    """A running job ends or stops: keep when and where it ran."""
    row, workers, segment = replay.pool.jobs[job], replay.pool.workers, replay.segments[replay.at[SEGMENTS]]
    segment.job, segment.start, segment.end = job, begun, now
    for worker in range(row.place, row.place_end):
        replay.nodes[replay.at[WORKERS]] = workers[worker].was if is_stop else workers[worker].node
        replay.at[WORKERS] += 1
    replay.at[SEGMENTS] += 1
    replay.at[RUNS] -= 1
    replay.at[HELD] -= row.place_end - row.place


@compiled
def restore_s(devices: int, factor: float) -> float:
    """Seconds that a restart from a checkpoint takes."""
    if devices <= 1:
        return 7.0 * factor
    return 30.0 * factor if devices <= 8 else 60.0 * factor
