"""How long will it run? Learned from what has ended, as it ends: the mean of log run times by ever finer groups.

A job belongs to one group on each level, from coarse to fine (its size; its queue and size; its user and size; ...).
The estimate starts from a prior and is drawn on each level towards the mean of that group, by as much as the group has
seen. The mean of logs is the median of a log-normal: with run times that differ by a factor of 10,000 an arithmetic
mean is one job's run time. Nothing but what had ended by the time of asking is used.

Boosted trees (`kernel.trees`), made outside the kernel from what had ended by then, may stand beside the means. Both
say what they expect of each job; the trees count only while `IS_BOOSTED` says so, which is decided outside too.

Estimates are trusted only while they rank jobs better than chance: Spearman's correlation with the truth over the last
`WINDOW` endings must exceed `LEAST` and three standard errors. Until then all jobs are expected to run equally long.
"""

from typing import NamedTuple

import numpy as np

from lepton.pool.kernel.compiled import compiled, compiled_allocating, shared
from lepton.pool.kernel.state import Floats, Ints, Rows
from lepton.pool.kernel.state import rows as table
from lepton.pool.kernel.trees import Trees, grown_sum, no_trees

WINDOW = 1000
EVERY = 100
"""Endings between two looks at the correlation."""
LEAST = 0.1
SPREAD = 8.0
"""Where run times vary less, a job that has run long is not expected to run much longer than a new one."""
LONGEST_LOG = 16.0
"""Log of the longest run time that is ever expected, 100 days."""
GROUP = np.dtype(
    [
        ("total", "f8"),  # of log(1 + run time) of what has ended,
        ("square", "f8"),  # of its square,
        ("seen", "f8"),  # and how many
        ("recent", "f8"),  # mean log in which the last endings count most
        ("last", "f8"),  # of the last one
        ("alive", "f8"),  # how many have come and not ended,
        ("alive_at", "f8"),  # the sum of when they came,
        ("came_at", "f8"),  # and when the last one came
    ]
)
RECENT = 0.3
"""Weight of the last ending in `recent`."""
ENDING = np.dtype([("guess", "f8"), ("truth", "f8")])  # logs
OF_GROUP = 8
"""Features of each group."""
ENDED, IS_TRUSTED, IS_BOOSTED, IS_SPREAD, IS_TRIED = 0, 1, 2, 3, 4
"""Indices of `History.ended`."""


@shared
class History(NamedTuple):
    """What is known of how long jobs run. Guesses are logs of 1 + seconds."""

    group: Ints
    """(J, G) row in `groups` of each job; the first `levels` are those of the means, from coarse to fine."""
    levels: int
    groups: Rows
    guess: Floats
    """(J,) what was expected at submit, trusted or not: one of"""
    mean: Floats
    """(J,) what the means said, and"""
    boosted: Floats
    """(J,) what the trees said; NaN: nothing, there were none."""
    plain: Floats
    """(J, P) features that come with the job."""
    features: "np.ndarray[tuple[int, int], np.dtype[np.float32]]"
    """(J, F) all features at submit, where trees are to be made from them; else (0, 0)."""
    trees: Trees
    last: Rows
    """The last endings, a ring."""
    ended: Ints
    """(4,) endings seen; 1 while estimates are trusted, else 0; 1 while the trees count where they say anything; 1
    while run times are spread so widely that it pays to stop long jobs for new ones whatever is expected of them.
    """


def history(group: Ints, levels: int, plain: Floats, *, rows: int, is_trusted: bool) -> History:
    """A history in which nothing is known yet.

    Args:
        plain: (J, P); of shape (0, 0) no trees are made, and no features kept.
        rows: how many groups there are.
    """
    jobs, features = len(group), 1 + plain.shape[1] + OF_GROUP * group.shape[1]
    return History(
        group=group,
        levels=levels,
        groups=table(rows, GROUP),
        guess=np.zeros(jobs),
        mean=np.zeros(jobs),
        boosted=np.full(jobs, np.nan),
        plain=plain,
        features=np.zeros((len(plain), features if len(plain) else 0), np.float32),
        trees=no_trees(),
        last=table(WINDOW, ENDING),
        ended=np.array([0, is_trusted, 0, 1, 0], np.int64),
    )


@compiled
def expect(history: History, job: int, now: float, prior_s: float, pull: float) -> float:
    """Expected run time of a job in seconds; `pull` is how many endings the coarser level counts for."""
    guess = np.log(1.0 + prior_s)
    for level in range(history.levels):
        group = history.groups[history.group[job, level]]
        guess = (group.total + pull * guess) / (group.seen + pull)
    guess = min(guess, LONGEST_LOG)
    history.mean[job], history.boosted[job] = guess, np.nan
    if len(history.features):
        note_features(history, job, now, np.log(1.0 + prior_s))
        if len(history.trees.roots):
            history.boosted[job] = min(max(grown_sum(history.trees, history.features[job]), 0.0), LONGEST_LOG)
            if history.ended[IS_BOOSTED]:
                guess = history.boosted[job]
    history.guess[job] = guess
    return float(np.exp(guess) - 1.0)


@compiled
def note_features(history: History, job: int, now: float, prior: float) -> None:
    """Write down what is known of a job at its submit."""
    features = history.features[job]
    features[0] = history.mean[job]
    at = 1
    for each in range(history.plain.shape[1]):
        features[at] = history.plain[job, each]
        at += 1
    for level in range(history.group.shape[1]):
        group = history.groups[history.group[job, level]]
        seen, mean = max(group.seen, 1.0), (group.total + prior) / (group.seen + 1.0)
        features[at] = mean
        features[at + 1] = group.recent if group.seen else mean
        features[at + 2] = group.last if group.seen else mean
        features[at + 3] = np.sqrt(max(0.0, group.square / seen - (group.total / seen) ** 2))
        features[at + 4] = np.log(1.0 + group.seen)
        features[at + 5] = group.alive
        features[at + 6] = np.log(1.0 + max(0.0, now - group.alive_at / group.alive)) if group.alive else -1.0
        features[at + 7] = np.log(1.0 + max(0.0, now - group.came_at)) if group.came_at else LONGEST_LOG
        at += OF_GROUP


@compiled
def come(history: History, job: int, now: float) -> None:
    """A job is submitted. Only features of trees ask who lives."""
    for level in range(history.group.shape[1] if len(history.features) else 0):
        group = history.groups[history.group[job, level]]
        group.alive += 1.0
        group.alive_at += now
        group.came_at = now


@compiled
def leave(history: History, job: int, came_at: float) -> None:
    """A job that came then is gone."""
    for level in range(history.group.shape[1] if len(history.features) else 0):
        group = history.groups[history.group[job, level]]
        group.alive -= 1.0
        group.alive_at -= came_at
        if group.alive <= 0.0:
            group.alive = group.alive_at = 0.0


@compiled
def learn(history: History, job: int, ran_s: float) -> None:
    """A job has ended after `ran_s` seconds of work."""
    truth = np.log(1.0 + ran_s)
    for level in range(history.group.shape[1]):
        group = history.groups[history.group[job, level]]
        group.recent = group.recent + RECENT * (truth - group.recent) if group.seen else truth
        group.last = truth
        group.total += truth
        group.square += truth * truth
        group.seen += 1.0
    ending = history.last[history.ended[ENDED] % WINDOW]
    ending.guess, ending.truth = history.guess[job], truth
    history.ended[ENDED] += 1
    if history.ended[ENDED] % EVERY == 0:
        count = min(history.ended[ENDED], WINDOW)
        needed = max(LEAST, 3.0 / np.sqrt(count))
        ranked_by = correlation(history.last.guess[:count], history.last.truth[:count])
        history.ended[IS_TRUSTED] = 1 if ranked_by > needed else 0
        if not history.ended[IS_TRIED]:
            history.ended[IS_SPREAD] = 1 if spread(history.last.truth[:count]) > SPREAD else 0


@compiled
def may_stop_by_key(history: History) -> int:
    """1 if it pays to stop running jobs for others because of what is expected of them; else 0."""
    return int(history.ended[IS_SPREAD])


def note_way(history: History, stops: bool) -> None:
    """It was tried out whether it pays to stop jobs by key: from now on that counts, and no rule of thumb."""
    history.ended[IS_SPREAD], history.ended[IS_TRIED] = stops, 1


@compiled
def spread(truths: Floats) -> float:
    """Variance over squared mean of run times, given as logs of 1 + seconds: 0 of equal ones, 1 of exponential ones."""
    total, square = 0.0, 0.0
    for truth in truths:
        ran_s = np.exp(truth) - 1.0
        total += ran_s
        square += ran_s * ran_s
    return float(len(truths) * square / (total * total) - 1.0) if total > 0.0 else 0.0


@compiled_allocating
def correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    a, b = ranks(one), ranks(other)
    a -= a.mean()
    b -= b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


@compiled_allocating
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
