"""When a waiting job probably starts: by what is known at this moment, else by what others have waited. Asking decides
nothing; where nobody can know, nothing is said.
"""

from collections.abc import Iterable, Sequence
from math import inf

from lepton.pool.kernel.accounts import is_guaranteed
from lepton.pool.live.ahead import Facts, fits_by_runs, starts_by_runs
from lepton.pool.live.entry import Entry
from lepton.pool.live.pool import LivePool
from lepton.pool.live.trial import in_its_way
from lepton.pool.live.turn import before
from lepton.pool.live.views import Phase, Reason, Wants
from lepton.pool.live.why import kept_nodes
from lepton.pool.quota import DEFAULT
from lepton.pool.tree import longest_grace_s

SOON_S = 10.0
"""What a decision, the end of workers and the next decision take, beside all that is waited for."""

Between = tuple[float, float]
"""Two moments, in seconds since 1970."""


def starts_between(live: LivePool, job: str, why: Sequence[Reason], now: float) -> Between | None:
    """Between which moments a waiting job probably starts; None: it does not wait, or nobody can know.

    What has begun to pass begins now; what has passed altogether is said anew.

    Args:
        why: the reasons for which it waits.
    """
    entry = live.jobs.get(job)
    if entry is None or entry.truth.phase is not Phase.QUEUED or any(map(_is_endless, why)):
        return None
    found = _found(live, entry, {reason.code: reason.facts for reason in why}, now)
    if found is None:
        return None
    low = max(now, found[0])
    return low, found[1] if found[1] > now else low + SOON_S


def _found(live: LivePool, entry: Entry, facts: Facts, now: float) -> Between | None:
    """By what is known best."""
    if "promised" in facts:
        return now, _kept_by(live, entry, _names(facts["promised"]["waits_for"]))
    if "turn" in facts and not facts["turn"]["before_it"]:
        return now, now + SOON_S
    if soon := _taken_back(live, entry, now):
        return soon
    by_runs, is_sure = _by_runs(live, entry, facts, now)
    return by_runs if is_sure else _usual(live, entry, facts, now) or by_runs


def _is_endless(reason: Reason) -> bool:
    """Whether it waits for what people must do: open a node, add one, raise a limit."""
    if reason.code == "quota":
        return int(str(reason.facts["asked"])) > int(str(reason.facts["limit"]))
    return (reason.code == "node_state" and bool(reason.facts["only"])) or (
        reason.code == "shape" and "fix" in reason.facts
    )


def _names(found: object) -> list[str]:
    return [str(each) for each in found] if isinstance(found, list | tuple) else []


def _kept_by(live: LivePool, entry: Entry, leaving: Iterable[str]) -> float:
    """When a promise is kept at the latest: once all of these have had their grace, from when each was asked."""
    ends = [live.jobs[job].asked_s + _grace_s(live, live.jobs[job].wants) for job in leaving]
    return live.clock.wall(max([entry.promised_s, *ends])) + SOON_S


def _grace_s(live: LivePool, wants: Wants) -> float:
    """Within how many seconds a job ends that is stopped for another."""
    return min(wants.grace_s, longest_grace_s(live.rights.queues, wants.queue or DEFAULT))


def _taken_back(live: LivePool, entry: Entry, now: float) -> Between | None:
    """Of one that is the first to get what its queue is guaranteed, if others would have to make room for it."""
    assert entry.klass is not None
    policy = live.policy
    if not is_guaranteed(live.seats.tables.pool, entry.klass.index) or before(live, entry, now):
        return None
    own = live.clock.own(now)
    stopped = in_its_way(live.seats, entry, own)
    if stopped is None:
        return None
    grace_s = max((_grace_s(live, live.seats.known_at(row)[0]) for row in stopped), default=0.0)
    begun = max((float(live.seats.tables.pool.jobs[row].begun) for row in stopped), default=-inf)
    asked = max(own, begun + policy.min_run_s, entry.waits_from + policy.grace_s + policy.min_run_s)
    return now, live.clock.wall(asked) + policy.rest_s + grace_s + SOON_S


def _by_runs(live: LivePool, entry: Entry, facts: Facts, now: float) -> tuple[Between | None, bool]:
    """By how long those run that hold what it waits for, and who goes before it; and whether that is known well."""
    reserved = facts.get("reserved")
    if reserved is not None and reserved["for"] == entry.wants.job:
        found = fits_by_runs(live, entry, kept_nodes(live, entry), now)
    else:
        found = starts_by_runs(live, entry, facts, now)
    if found is None:
        return None, False
    (low, high), is_sure = found
    return (live.clock.wall(low) - SOON_S, live.clock.wall(high) + SOON_S), is_sure


def _usual(live: LivePool, entry: Entry, facts: Facts, now: float) -> Between | None:
    """By what others have waited; not before what is kept for another has been taken."""
    told, reserved = live.state_wait(entry.wants.job, now), facts.get("reserved")
    if told is None or live.forecast.waits.is_blind(entry.wants.job):
        return None
    low, high = told[0] + told[1], told[0] + told[2]
    if reserved is None:
        return low, high
    until = reserved["until"]
    if not isinstance(until, float) or until <= now:
        return None
    rest_s = 0.0 if reserved["for"] == entry.wants.job else high - low
    return low, max(high, until + rest_s)
