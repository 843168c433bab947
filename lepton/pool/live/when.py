"""When a waiting job probably starts, by what others have waited and by what is known at this moment. Asking decides
nothing; where nobody can know, nothing is said.
"""

from collections.abc import Iterable, Sequence

from lepton.pool.kernel.accounts import is_guaranteed
from lepton.pool.live.entry import Entry
from lepton.pool.live.pool import LivePool
from lepton.pool.live.trial import in_its_way
from lepton.pool.live.views import Phase, Reason
from lepton.pool.live.why import before
from lepton.pool.quota import DEFAULT
from lepton.pool.tree import longest_grace_s

SOON_S = 10.0
"""What a decision, the end of workers and the next decision take, beside all that is waited for."""

Between = tuple[float, float]
"""Two moments, in seconds since 1970."""


def starts_between(live: LivePool, job: str, why: Sequence[Reason], now: float) -> Between | None:
    """Between which moments a waiting job probably starts; None: it does not wait, or nobody can know.

    Args:
        why: the reasons for which it waits.
    """
    entry = live.jobs.get(job)
    if entry is None or entry.truth.phase is not Phase.QUEUED or any(map(_is_endless, why)):
        return None
    facts = {reason.code: reason.facts for reason in why}
    if "promised" in facts:
        return now, now + _ending_s(live, _names(facts["promised"]["waits_for"]))
    if "turn" in facts and not facts["turn"]["before_it"]:
        return now, now + SOON_S
    return _taken_back(live, entry, now) or _usual(live, entry, facts.get("reserved"), now)


def _is_endless(reason: Reason) -> bool:
    """Whether it waits for what people must do: open a node, add one, raise a limit."""
    if reason.code == "quota":
        return int(str(reason.facts["asked"])) > int(str(reason.facts["limit"]))
    return reason.code == "node_state" or (reason.code == "shape" and "fix" in reason.facts)


def _names(found: object) -> list[str]:
    return [str(each) for each in found] if isinstance(found, list | tuple) else []


def _ending_s(live: LivePool, jobs: Iterable[str]) -> float:
    """Within how many seconds all of these have ended, if they are stopped now."""
    longest_s = 0.0
    for job in jobs:
        wants = live.jobs[job].wants
        most_s = longest_grace_s(live.rights.queues, wants.queue or DEFAULT)
        longest_s = max(longest_s, min(wants.grace_s, most_s))
    return longest_s + SOON_S


def _taken_back(live: LivePool, entry: Entry, now: float) -> Between | None:
    """Of one that is the first to get what its queue is guaranteed, if others would have to make room for it."""
    assert entry.klass is not None
    policy = live.policy
    if not is_guaranteed(live.seats.tables.pool, entry.klass.index) or before(live, entry, now):
        return None
    stopped = in_its_way(live.seats, entry, live.clock.own(now))
    if stopped is None:
        return None
    own = live.clock.own(now)
    left_s = max(0.0, policy.grace_s - (own - entry.waits_from)) + policy.min_run_s + policy.rest_s
    return now, now + left_s + _ending_s(live, stopped)


def _usual(live: LivePool, entry: Entry, reserved: object, now: float) -> Between | None:
    """By what others have waited; not before what is kept for another has been taken."""
    told = live.state_wait(entry.wants.job, now)
    if told is None or live.forecast.waits.is_blind(entry.wants.job):
        return None
    low, high = told[0] + told[1], told[0] + told[2]
    if not isinstance(reserved, dict):
        return low, high
    until = reserved["until"]
    if until is None or until <= now:
        return None
    rest_s = 0.0 if reserved["for"] == entry.wants.job else high - low
    return max(now, low), max(high, until + rest_s)
