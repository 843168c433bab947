"""How long will it run? Learned from what has ended, as it ends: the mean of log run times by ever finer groups.

A job belongs to one group on each level, from coarse to fine (its size; its queue and size; its user and size; ...).
The estimate starts from a prior and is drawn on each level towards the mean of that group, by as much as the group has
seen. The mean of logs is the median of a log-normal: with run times that differ by a factor of 10,000 an arithmetic
mean is one job's run time. Nothing but what had ended by the time of asking is used.

Estimates are trusted only while they rank jobs better than chance: Spearman's correlation with the truth over the last
`WINDOW` endings must exceed `LEAST` and three standard errors. Until then all jobs are expected to run equally long.
"""

from typing import NamedTuple

import numpy as np

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import Floats, Ints, Rows

WINDOW = 1000
EVERY = 100
"""Endings between two looks at the correlation."""
LEAST = 0.1
LONGEST_LOG = 16.0
"""Log of the longest run time that is ever expected, 100 days."""
GROUP = np.dtype([("total", "f8"), ("seen", "f8")])  # of log(1 + run time), and how many
ENDING = np.dtype([("guess", "f8"), ("truth", "f8")])  # logs


class History(NamedTuple):
    """What is known of how long jobs run."""

    group: Ints
    """(J, levels) row in `groups` of each job."""
    groups: Rows
    guess: Floats
    """(J,) log of what was expected at submit, trusted or not."""
    last: Rows
    """The last endings, a ring."""
    ended: Ints
    """(2,) endings seen; 1 while estimates are trusted, else 0."""


@compiled
def expect(history: History, job: int, prior_s: float, pull: float) -> float:
    """Expected run time of a job in seconds; `pull` is how many endings the coarser level counts for."""
    guess = np.log(1.0 + prior_s)
    for level in range(history.group.shape[1]):
        group = history.groups[history.group[job, level]]
        guess = (group.total + pull * guess) / (group.seen + pull)
    history.guess[job] = min(guess, LONGEST_LOG)
    return float(np.exp(history.guess[job]) - 1.0)


@compiled
def learn(history: History, job: int, ran_s: float) -> None:
    """A job has ended after `ran_s` seconds of work."""
    truth = np.log(1.0 + ran_s)
    for level in range(history.group.shape[1]):
        group = history.groups[history.group[job, level]]
        group.total += truth
        group.seen += 1.0
    ending = history.last[history.ended[0] % WINDOW]
    ending.guess, ending.truth = history.guess[job], truth
    history.ended[0] += 1
    if history.ended[0] % EVERY == 0:
        count = min(history.ended[0], WINDOW)
        needed = max(LEAST, 3.0 / np.sqrt(count))
        ranked_by = correlation(history.last.guess[:count], history.last.truth[:count])
        history.ended[1] = 1 if ranked_by > needed else 0


@compiled
def correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    a, b = ranks(one), ranks(other)
    a -= a.mean()
    b -= b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


@compiled
def ranks(values: Floats) -> Floats:
    """Rank of each value, equal ones sharing the mean of theirs."""
    order = np.argsort(values, kind="mergesort")
    rank = np.empty(len(values))
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for at in range(first, last + 1):
            rank[order[at]] = (first + last) / 2
        first = last + 1
    return rank
