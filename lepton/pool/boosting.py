"""Boosted trees beside the learned means: what they are made from, and when they count. Pure: who fits is passed in.

Trees are made now and then from jobs that had ended by then, and say something of every job that is submitted later.
They are tried before they count: what they said of each job at its submit is kept beside what the means said, and
they count for the next jobs while, over the last day, they were the better of the two.

Jobs that still run are those that run long: left out, everything learned from a day would be too short. So a running
job is an example too. For the fit it is one that ends at twice what it has done (or at what the means expect, if that
is more); for the judgement, one of which it is known only that it is no shorter than that.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lepton.pool.kernel.predict import IS_BOOSTED, LEAST, History, correlation
from lepton.pool.kernel.trees import Trees
from lepton.pool.trace import Floats

EVERY_S = 21_600.0
"""Between two fits."""
DAY_S = 86_400.0
"""What they are judged by: the last so many seconds."""
FEWEST = 500
"""Examples from which trees are made."""
MOST = 20_000
"""Endings from which trees are made: the last ones."""
JUDGED = 100
"""Examples of the last day that a judgement needs."""

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """N jobs of which something is known, as logs of 1 + seconds."""

    features: Features
    """(N, F) at submit."""
    mean: Floats
    """(N,) what the means said at submit."""
    boosted: Floats
    """(N,) what the trees said; NaN: nothing."""
    done: Floats
    """(N,) how long it ran, or has run so far."""
    ended: Floats
    """(N,) when it ended; NaN: it has not."""


class Examples:
    """The last `room` jobs of which something is known, in so many rows of memory."""

    def __init__(self, features: int, room: int = MOST) -> None:
        """Of each so many features."""
        self._features = np.zeros((room, features), np.float32)
        self._numbers = np.zeros((room, 4))
        self._count = 0

    def add(self, features: Features, mean: float, boosted: float, done: float, ended: float) -> None:
        """One more, as in `Past`; it takes the place of the oldest."""
        at = self._count % len(self._numbers)
        self._features[at], self._numbers[at] = features, (mean, boosted, done, ended)
        self._count += 1

    def past(self) -> Past:
        """All of them, copied."""
        count = min(self._count, len(self._numbers))
        mean, boosted, done, ended = self._numbers[:count].T.copy()
        return Past(features=self._features[:count].copy(), mean=mean, boosted=boosted, done=done, ended=ended)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What trees are made from."""

    features: Features
    target: Floats
    quantile: float
    """Of the logs of run times that they are to say."""


Fit = Callable[[Lesson], Trees]
"""Makes trees; equal lessons give equal trees."""


def relearn(history: History, past: Past, now: float, quantile: float, fit: Fit) -> History:
    """The same history with trees made anew, which count if those before were better than the means."""
    history.ended[IS_BOOSTED] = is_better(past, now, quantile)
    lesson = lesson_of(past, quantile)
    return history if lesson is None else history._replace(trees=fit(lesson))


def joined(one: Past, other: Past) -> Past:
    """All jobs of two pasts."""
    both = {each.name: np.concatenate([getattr(one, each.name), getattr(other, each.name)]) for each in fields(Past)}
    return Past(**both)


def lesson_of(past: Past, quantile: float) -> Lesson | None:
    """What is to be learned from the past; None while that is too little."""
    alive = np.isnan(past.ended)
    last = np.flatnonzero(~alive)
    last = last[np.argsort(past.ended[last], kind="stable")][-MOST:]
    rows = np.concatenate([last, np.flatnonzero(alive)])
    if len(last) < FEWEST:
        return None
    likely = np.maximum(np.log1p(2 * np.expm1(past.done)), past.mean)
    return Lesson(past.features[rows], np.where(alive, likely, past.done)[rows], quantile)


def is_better(past: Past, now: float, quantile: float) -> bool:
    """Whether the trees were better than the means over the last day, and ranked jobs better than chance."""
    counts = np.isfinite(past.boosted) & (np.isnan(past.ended) | (past.ended > now - DAY_S))
    if counts.sum() < JUDGED:
        return False
    boosted, mean, done = past.boosted[counts], past.mean[counts], past.done[counts]
    alive = np.isnan(past.ended[counts])
    if correlation(boosted, done) <= max(LEAST, 3 / np.sqrt(counts.sum())):
        return False
    return loss(boosted, done, alive, quantile) < loss(mean, done, alive, quantile)


def loss(guess: Floats, done: Floats, alive: NDArray[np.bool_], quantile: float) -> float:
    """Mean pinball loss of guesses that are freed of what they are wrong by on the whole, for that orders nobody.

    A job that still runs costs only what it has outrun its guess by.
    """
    error = done - guess
    error = error - np.quantile(error, quantile)
    return float(np.where(error > 0, quantile * error, np.where(alive, 0.0, (quantile - 1) * error)).mean())
