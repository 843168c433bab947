"""How long a live job will run, and when one that waits will start: the same learners as in a replay."""

import numpy as np

from lepton.pool.kernel import predict
from lepton.pool.kernel.state import longer, rows
from lepton.pool.live.views import Wants
from lepton.pool.policy import Policy, Source
from lepton.pool.waits import Waits

LEVELS = 4
"""Groups that a job belongs to, from coarse to fine: size; queue and size; user and size; and what it runs."""


def groups_of(wants: Wants) -> list[tuple[object, ...]]:
    """What a job has in common with others, from coarse to fine."""
    size = (len(wants.workers), max((each.amounts() for each in wants.workers), default=()))
    return [(size,), ("queue", wants.queue, size), ("user", wants.user, size), ("program", wants.program, wants.user)]


class Forecast:
    """Learns from what ends and starts."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rows: dict[tuple[object, ...], int] = {}
        self._guess: dict[str, float] = {}
        """Job -> log of what was expected of it."""
        self._history = predict.History(
            group=np.zeros((1, LEVELS), np.int64),
            groups=rows(64, predict.GROUP),
            guess=np.zeros(1),
            last=rows(predict.WINDOW, predict.ENDING),
            ended=np.zeros(2, np.int64),
        )
        self.waits = Waits()

    def expect(self, wants: Wants) -> float:
        """Expected run time in seconds; not more than the limit that its user gave."""
        policy, guess_s = self._policy, self._policy.prior_s
        self._turn_to(wants)
        learned_s = predict.expect(self._history, 0, policy.prior_s, policy.pull)
        self._guess[wants.job] = float(self._history.guess[0])
        if policy.source is Source.HISTORY and self._history.ended[1]:
            guess_s = learned_s
        if wants.limit_s:
            guess_s = min(guess_s, wants.limit_s)
        return float(max(policy.floor_s, guess_s))

    def learn(self, wants: Wants, ran_s: float) -> None:
        """A job has ended by itself after so many seconds of work."""
        self._turn_to(wants)
        if wants.job not in self._guess:
            self.expect(wants)
        self._history.guess[0] = self._guess.pop(wants.job)
        predict.learn(self._history, 0, max(0.0, ran_s))

    @property
    def has_learned(self) -> bool:
        """Whether it knows of any job that has ended."""
        return bool(self._history.ended[0])

    def forget(self, job: str) -> None:
        """It will not end by itself."""
        self._guess.pop(job, None)

    def _turn_to(self, wants: Wants) -> None:
        """Let row 0 of the history be this job."""
        for level, key in enumerate(groups_of(wants)):
            if key not in self._rows:
                self._rows[key] = len(self._rows)
            self._history.group[0, level] = self._rows[key]
        if len(self._rows) > len(self._history.groups):
            groups = longer(self._history.groups, 2 * len(self._history.groups) + LEVELS)
            self._history = self._history._replace(groups=groups)
