"""The trials' loop: which way of ours would have been the best for what came lately (`pool.hindsight`)?

The server that decides tries, in a process of its own that ends, and stores what that says with its event. From there
every server takes it, when it looks at the jobs: so it holds for the next decision, survives this server, and is as if
it had not been where that process fails.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite

from lepton.core.clock import Clock
from lepton.core.event import Event
from lepton.core.resource import Json
from lepton.pool.hindsight import WAYS, Trials, Verdict
from lepton.pool.live.rerun import Rerun, rerun_of
from lepton.pool.policy import Way, words
from lepton.server import verdicts
from lepton.server.apart import Apart
from lepton.server.placing import Placing
from lepton.store import events
from lepton.store.database import Database, Tx

ACTOR = "loop:trials"
EVERY_S = 10.0
"""Between two looks whether there were endings enough."""
AGAIN_S, LATEST_S = 600.0, 86_400.0
"""Until a trial that failed is made again: twice as long each time, and no longer than that."""
PROGRAM = "lepton.server.rerunning"
Means = Callable[[Rerun], list[float]]
"""Mean time to completion by each of `WAYS`; NaN where nobody comes to an end."""


def means_apart(apart: Apart) -> Means:
    """Means that a process of its own finds out.

    Raises:
        EngineError: it has failed; the message says how.
    """
    return lambda rerun: list(map(float, json.loads(apart.run(PROGRAM, pickle.dumps(rerun)))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A trial that is due, and what was known before it."""

    rerun: Rerun | None
    """None: too many live."""
    trials: Trials
    now: Way
    before: Verdict
    """Of the last trial, with how many have ended by now, and the last of them."""


class Trying:
    """Tries what pays on what a mirror has seen."""

    def __init__(self, database: Database, placing: Placing, *, clock: Clock, means: Means) -> None:
        self._database = database
        self._placing = placing
        self._clock = clock
        self._means = means
        self._not_before = float("-inf")
        self._pause_s = AGAIN_S

    def turn(self) -> float | None:
        """Make a trial if one is due."""
        if not self._placing.is_deciding or self._clock.monotonic() < self._not_before:
            return None
        due = self._due()
        if due is None:
            return None
        self._not_before = self._clock.monotonic() + self._pause_s  # if it fails
        self._pause_s = min(2 * self._pause_s, LATEST_S)
        means = [] if due.rerun is None else self._means(due.rerun)
        self._not_before, self._pause_s = float("-inf"), AGAIN_S
        verdict, event = heard(due, means, self._clock.now())
        self._database.write(lambda tx: self._note(tx, verdict, event))
        return None

    def _due(self) -> Due | None:
        mirror = self._placing.mirror
        with mirror.lock:
            forecast, policy = mirror.live.forecast, mirror.live.policy
            before = forecast.verdict or Verdict()
            trials = before.trials()
            if forecast.ended < trials.due or not (policy.is_wary and policy.preempts):
                return None
            last_s = forecast.endings[-1].at_s if forecast.endings else before.tried_s
            before = replace(before, ended=forecast.ended, tried_s=last_s)
            rerun = rerun_of(mirror.live, mirror.now())
            return Due(rerun=rerun, trials=trials, now=forecast.way, before=before)

    def _note(self, tx: Tx, verdict: Verdict, event: Event | None) -> None:
        self._placing.check(tx)
        verdicts.put(tx, verdict)
        if event is not None:
            events.append(tx, event)


def heard(due: Due, means: list[float], at: datetime) -> tuple[Verdict, Event | None]:
    """What is known after a trial, and what to tell of it; without means, or where nobody came to an end, nothing."""
    verdict, event = due.before, None
    jobs = 0 if due.rerun is None else len(due.rerun.jobs)
    if means and all(map(isfinite, means)):
        way = due.trials.hear(means, due.now)
        since_s = verdict.since_s if way == verdict.way else at.timestamp()
        verdict = replace(verdict, way=way, since_s=since_s)
        why, data = told(due.now, way, means, jobs), data_of(way, means, jobs)
        event = Event(subject="pool", kind="pool", workspace="", verb="tried", why=why, actor=ACTOR, at=at, data=data)
    due.trials.wait(verdict.ended, jobs)
    return replace(verdict, due=due.trials.due, said=tuple(due.trials.said.tolist())), event


def told(before: Way, way: Way, means: list[float], jobs: int) -> str:
    """What a trial has said, for people."""
    said = "; ".join(f"{mean:,.1f} s with {words(each)}" for each, mean in zip(WAYS, means, strict=True))
    goes = "as before" if way == before else "from now on"
    return f"{goes} {words(way)}; the last {jobs:,} jobs would have taken, in the mean, {said}"


def data_of(way: Way, means: list[float], jobs: int) -> dict[str, Json]:
    """The same for programs."""
    by_way = [{**each._asdict(), "mean_s": round(mean, 3)} for each, mean in zip(WAYS, means, strict=True)]
    return {**way._asdict(), "jobs": jobs, "tried": by_way}
