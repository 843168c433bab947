"""The last jobs of a live pool, to be run once more in virtual time: what trials of its ways go by (`hindsight`). Pure.

They are entered into arrays that the live pool's own code makes of its nodes, queues and quotas, and replayed by the
code that replays traces: what decides in production is tried, on its own shapes of nodes and jobs. What a server does a
moment later is done at once here, for nothing happens between two events: graces and rests are over, and one decision
looks for as many victims as it takes.
"""

from dataclasses import dataclass, replace

import numpy as np

from lepton.pool.arrays import Rules, begun, order_of, setting_of
from lepton.pool.hindsight import endings, probable_s, tried
from lepton.pool.kernel import predict
from lepton.pool.kernel.replay import FACT, Replay
from lepton.pool.kernel.state import rows
from lepton.pool.live.entry import Entry
from lepton.pool.live.forecast import Forecast
from lepton.pool.live.habits import Habits
from lepton.pool.live.pool import LivePool
from lepton.pool.live.seats import Seats
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import OURS, Policy
from lepton.pool.replay import finished_of
from lepton.pool.shape import Machine
from lepton.pool.trace import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """J jobs that have ended lately or live, as far as they are known, and where they run."""

    machines: tuple[Machine, ...]
    rights: Rights
    policy: Policy
    jobs: tuple[Wants, ...]
    ran_s: Floats
    """(J,) run times; of those that live, what is probable."""
    guess_s: Floats
    """(J,) what was expected at their submits."""
    is_known: bool
    """Whether what is expected counts."""


def rerun_of(live: LivePool, now: float) -> Rerun | None:
    """What a live pool would try its ways on now, a wall time; None: nothing, too many live."""
    alive = [entry for entry in live.jobs.values() if entry.truth.phase is not Phase.PAUSED]
    alive.sort(key=lambda entry: (entry.wants.since_s, entry.wants.job))
    count = endings(len(alive))
    if not count:
        return None
    last, alive = [*live.forecast.endings][-count:], alive[: 2 * count]
    jobs = (*(each.wants for each in last), *(entry.wants for entry in alive))
    ran_s = np.array([each.ran_s for each in last])
    span_s = now - min((each.since_s for each in jobs), default=now)
    probable = probable_s(np.array([worked_s(entry, now) for entry in alive]), ran_s)
    is_endless = np.array([entry.wants.is_endless for entry in alive], np.bool_)
    return Rerun(
        machines=tuple(live.machines.values()),
        rights=live.rights,
        policy=live.policy,
        jobs=jobs,
        ran_s=np.concatenate([ran_s, np.where(is_endless, 2 * span_s, probable)]),
        guess_s=np.array([each.guess_s for each in last] + [live.forecast.guess_s(entry.wants) for entry in alive]),
        is_known=live.forecast.is_known,
    )


def worked_s(entry: Entry, now: float) -> float:
    """For how long a living job has run so far, in all starts; `now` is a wall time."""
    running_s = max(0.0, now - entry.truth.began_s) if entry.truth.phase is Phase.HOLDS else 0.0
    return entry.truth.worked_s + running_s


def means_of(rerun: Rerun) -> list[float]:
    """Mean time to completion by each way that is tried, in seconds; NaN: nobody comes to an end."""
    policy = replace(rerun.policy, searches=OURS.searches, grace_s=0.0, rest_s=0.0)
    return tried(policy, lambda each: mean_s(rerun, each), is_known=rerun.is_known)


def mean_s(rerun: Rerun, policy: Policy) -> float:
    """Mean time to completion of those that have an end, under a policy; what serves only holds its place."""
    replay = replay_of(rerun, policy)
    took_s = finished_of(replay) - replay.pool.jobs.submit[: len(rerun.jobs)]
    counts = np.isfinite(took_s) & np.array([not each.is_endless for each in rerun.jobs], np.bool_)
    return float(took_s[counts].mean()) if counts.any() else float("nan")


def replay_of(rerun: Rerun, policy: Policy) -> Replay:
    """A replay of these jobs on the nodes of a live pool, at its beginning; its clock begins with the first submit."""
    seats = Seats(rerun.machines, rerun.rights, policy, Forecast(policy), Habits())
    first_s = min((wants.since_s for wants in rerun.jobs), default=0.0)
    for wants in rerun.jobs:
        row = seats.add(Entry(wants, Truth(phase=Phase.QUEUED), wants.since_s - first_s), 0.0)
        seats.tables.pool.jobs[row].saved = np.inf if wants.can_resume else 0.0  # who can has done so
    jobs, rules = len(rerun.jobs), Rules(is_partitioned=False)
    facts = rows(jobs, FACT)
    facts.duration, facts.given = rerun.ran_s, rerun.guess_s
    return begun(
        seats.tables.pool,
        facts,
        predict.history(np.zeros((jobs, 1), np.int64), 0, np.zeros((0, 0)), rows=1, is_trusted=rerun.is_known),
        order=order_of(policy, is_shared=True),
        setting=setting_of(policy, rules),
    )
