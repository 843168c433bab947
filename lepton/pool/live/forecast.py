"""How long a live job will run, and when one that waits will start: the same learners as in a replay."""

from collections import deque
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from math import sqrt
from typing import Self

import numpy as np

from lepton.pool.boosting import Examples, Features, Lesson, Past, is_better, joined, lesson_of
from lepton.pool.hindsight import LARGEST, Verdict
from lepton.pool.kernel import predict
from lepton.pool.kernel.state import first_of, longer
from lepton.pool.kernel.trees import Trees
from lepton.pool.live.views import Wants
from lepton.pool.policy import Policy, Source, Way
from lepton.pool.waits import Waits

LEVELS = 4
"""Groups that a job belongs to, from coarse to fine: size; queue and size; user and size; and what it runs."""
SIDES = 3
"""Groups for features of trees alone: user, queue, program."""
ABSENT = 2**62
"""Row of a group that nobody belonged to yet: beyond all others, as is that of one that came after `still`."""
LIKE = 3
"""Endings of like jobs before they say how long another will probably run."""
LEAST_SPREAD = 0.02
"""Even jobs that have all run equally long differ by so much, in logs."""
PLAIN = 6
"""Features that come with a job: devices, CPUs, workers, the limit that its user gave, hour and day of the week."""


def groups_of(wants: Wants) -> list[tuple[object, ...]]:
    """What a job has in common with others, from coarse to fine; then what is for features of trees alone."""
    size = (len(wants.workers), max((each.amounts() for each in wants.workers), default=()))
    means = [(size,), ("queue", wants.queue, size), ("user", wants.user, size), ("program", wants.program, wants.user)]
    return [*means, ("user", wants.user), ("queue", wants.queue), ("program", wants.program)]


def plain_of(wants: Wants) -> list[float]:
    """Features that come with a job."""
    devices = sum(each.gpu_milli + each.tpu_milli + each.fpga_milli for each in wants.workers) / 1000
    cpus = sum(each.cpu_milli for each in wants.workers) / 1000
    amounts = [float(np.log1p(each)) for each in (devices, cpus, len(wants.workers), wants.limit_s)]
    return [*amounts, wants.since_s // 3600 % 24, wants.since_s // 86_400 % 7]


@dataclass(frozen=True, slots=True)
class Likely:
    """How long a job probably runs: mean and standard deviation of the log of 1 + seconds."""

    mean: float
    spread: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that lives, and what was known and expected of it at its submit, in logs of 1 + seconds."""

    wants: Wants
    guess: float
    mean: float
    boosted: float
    features: Features


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that has ended by itself, as trials see it (`rerun`)."""

    wants: Wants
    ran_s: float
    guess_s: float
    """What was expected at its submit."""
    at_s: float


class Forecast:
    """Learns from what ends and starts."""

    def __init__(self, policy: Policy, *, has_trees: bool = False) -> None:
        """Nothing is known yet.

        Args:
            has_trees: keep what boosted trees are made from; they come with `take`.
        """
        self.waits = Waits()
        self.endings: deque[Ending] = deque(maxlen=LARGEST)
        """The last ones."""
        self.verdict: Verdict | None = None
        """What trials have said; None: there was none yet."""
        self._before = 0
        """Endings that are counted and were never heard of here."""
        self._policy = policy
        self._rows: dict[tuple[object, ...], int] = {}
        self._like: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._asked: dict[str, Asked] = {}
        has_trees = has_trees and policy.quantile > 0
        plain, groups = np.zeros((1, PLAIN) if has_trees else (0, 0)), LEVELS + SIDES * has_trees
        self._history = predict.history(np.zeros((1, groups), np.int64), LEVELS, plain, rows=64, is_trusted=False)
        self._examples = Examples(self._history.features.shape[1]) if has_trees else None

    def expect(self, wants: Wants) -> float:
        """Expected run time in seconds; not more than the limit that its user gave."""
        policy, guess_s = self._policy, self._policy.prior_s
        self._turn_to(wants)
        learned_s = predict.expect(self._history, 0, wants.since_s, policy.prior_s, policy.pull)
        if wants.job not in self._asked:
            self._asked[wants.job] = self._asked_now(wants)
            predict.come(self._history, 0, wants.since_s)
        if policy.source is Source.HISTORY and self._history.ended[predict.IS_TRUSTED]:
            guess_s = learned_s
        if wants.limit_s:
            guess_s = min(guess_s, wants.limit_s)
        return float(max(policy.floor_s, guess_s))

    def learn(self, wants: Wants, ran_s: float, now: float) -> None:
        """A job has ended by itself after so many seconds of work."""
        if wants.job not in self._asked:
            self.expect(wants)
        asked = self._asked[wants.job]
        self.forget(wants.job)
        self.endings.append(Ending(wants, max(0.0, ran_s), self._bounded(asked.wants, asked.guess), now))
        self._history.guess[0] = asked.guess
        predict.learn(self._history, 0, max(0.0, ran_s))
        if self._examples is not None:
            self._examples.add(asked.features, asked.mean, asked.boosted, float(np.log1p(max(0.0, ran_s))), now)

    def likely(self, wants: Wants) -> Likely | None:
        """How long like jobs took, of the finest group of which enough have ended; None: too few have.

        What is told to people goes by this, and what is decided does not: it may be used before it ranks jobs well.
        """
        for row in self._rows_of(wants):
            group = self._history.groups[row] if row < len(self._history.groups) else None
            seen = 0.0 if group is None else float(group.seen)
            if group is not None and seen >= LIKE:
                mean = float(group.total) / seen
                square = max(0.0, float(group.square) - seen * mean * mean) / (seen - 1.0)
                return Likely(mean, max(LEAST_SPREAD, sqrt(square * (1.0 + 1.0 / seen)) * (1.0 + 1.0 / (seen - 1.0))))
        return None

    def still(self, job: str) -> Self:
        """What is known now of how long jobs run, and what this one was told; nothing is to be learned by it."""
        found = copy(self)
        found._history = self._history._replace(groups=first_of(self._history.groups, len(self._rows)))
        found.waits = self.waits.still(job)
        return found

    def _rows_of(self, wants: Wants) -> tuple[int, ...]:
        """Rows of the groups of a job, from fine to coarse; they are never others once they are there."""
        key = wants.program, wants.user, wants.queue, wants.workers
        found = self._like.get(key)
        if found is None:
            found = tuple(self._rows.get(each, ABSENT) for each in reversed(groups_of(wants)[:LEVELS]))
            if ABSENT not in found:
                self._like[key] = found
        return found

    @property
    def is_known(self) -> bool:
        """Whether expected run times count."""
        return self._policy.is_certain or bool(self._history.ended[predict.IS_TRUSTED])

    @property
    def way(self) -> Way:
        """Which way of ours pays: that of the last trial, or before there was one that of a rule of thumb."""
        stops = self._policy.source is not Source.HISTORY or bool(predict.may_stop_by_key(self._history))
        found = None if self.verdict is None else self.verdict.way
        return Way(stops=stops, adapts=self._policy.adapts if found is None else found.adapts)

    def go(self, verdict: Verdict) -> None:
        """Go the way that trials have found, from now on."""
        self.verdict = verdict
        later = sum(each.at_s > verdict.tried_s for each in self.endings)
        self._before = verdict.ended + later - int(self._history.ended[predict.ENDED])
        if verdict.way is not None:
            predict.note_way(self._history, verdict.way.stops)

    @property
    def ended(self) -> int:
        """How many jobs have ended by themselves, so far as is known."""
        return self._before + int(self._history.ended[predict.ENDED])

    def guess_s(self, wants: Wants) -> float:
        """What was expected of a job that lives at its submit, whether such guesses count or not."""
        if wants.job not in self._asked:
            self.expect(wants)
        return self._bounded(wants, self._asked[wants.job].guess)

    def _bounded(self, wants: Wants, guess: float) -> float:
        guess_s = float(np.expm1(guess))
        return min(guess_s, wants.limit_s) if wants.limit_s else guess_s

    def forget(self, job: str) -> None:
        """It lives no more; if it has not ended by itself, nothing is learned from it."""
        asked = self._asked.pop(job, None)
        if asked is not None:
            self._turn_to(asked.wants)
            predict.leave(self._history, 0, asked.wants.since_s)

    def keep_only(self, jobs: Collection[str]) -> None:
        """Forget all jobs but these: of the others nothing was heard."""
        for job in [job for job in self._asked if job not in jobs]:
            self.forget(job)
        self.waits.keep_only(jobs)

    # Boosted trees.

    def past(self, running: Mapping[str, float]) -> Past | None:
        """What trees are made from and judged by; None: nothing is kept for them.

        Args:
            running: job -> seconds for which it has run so far.
        """
        if self._examples is None:
            return None
        known = [(self._asked[job], done_s) for job, done_s in running.items() if job in self._asked and done_s > 0]
        alive = Examples(self._history.features.shape[1], max(1, len(known)))
        for asked, done_s in known:
            alive.add(asked.features, asked.mean, asked.boosted, float(np.log1p(done_s)), np.nan)
        return joined(self._examples.past(), alive.past())

    def judge(self, past: Past, now: float) -> Lesson | None:
        """Let the trees count if they were the better ones over the last day; return what to make new ones from."""
        self._history.ended[predict.IS_BOOSTED] = is_better(past, now, self._policy.quantile)
        return lesson_of(past, self._policy.quantile)

    @property
    def is_boosted(self) -> bool:
        """Whether the trees count."""
        return bool(self._history.ended[predict.IS_BOOSTED])

    def take(self, trees: Trees) -> None:
        """Trees that say something of every job from now on."""
        self._history = self._history._replace(trees=trees)

    def _asked_now(self, wants: Wants) -> Asked:
        history = self._history
        features = history.features[0].copy() if len(history.features) else NOTHING
        return Asked(wants, float(history.guess[0]), float(history.mean[0]), float(history.boosted[0]), features)

    def _turn_to(self, wants: Wants) -> None:
        """Let row 0 of the history be this job."""
        history = self._history
        for level, key in enumerate(groups_of(wants)[: history.group.shape[1]]):
            if key not in self._rows:
                self._rows[key] = len(self._rows)
            history.group[0, level] = self._rows[key]
        if len(history.plain):
            history.plain[0] = plain_of(wants)
        if len(self._rows) > len(history.groups):
            groups = longer(history.groups, 2 * len(history.groups) + LEVELS + SIDES)
            self._history = history._replace(groups=groups)


NOTHING: Features = np.zeros(0, np.float32)
