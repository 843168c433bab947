"""The whole table of one trace: our policy with and without stopping jobs, partitions and predictions, beside bounds
and what was published of it; whether it is exact, robust and honest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton.pool.arrays import Rules
from lepton.pool.figures import figures, waits_of
from lepton.pool.intervals import Usual, intervals_of, judged
from lepton.pool.policy import POLICIES, policy
from lepton.pool.replay import Outcome, run
from lepton.pool.trace import Cluster, Floats, Trace

SHUFFLES = 5
GREEDY = "A, nothing stopped: first come first served, greedy"
SHUFFLED = "shuffled predictions, worst mean JCT against greedy"
EXACT = ("fifo", "sjf")
"""Policies whose published schedules ours must be equal to."""
PROMISED_S = 24 * 3600.0
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A trace, and what else is known of it."""

    trace: Trace
    cluster: Cluster
    predictions: Floats | None = None
    """(J,) run times that others predicted."""
    published: Mapping[str, Floats] = field(default_factory=dict)
    """Name of a published schedule -> (J,) when it ended each job."""

    def run(self, name: str, rules: Rules, *, may_preempt: bool = True) -> Outcome:
        """A replay under one of our policies."""
        chosen = policy(name, may_preempt=may_preempt, has_predictions=rules.given is not None)
        return run(self.trace, self.cluster, chosen, rules)


def table(given: Given, step: Step) -> dict[str, Any]:
    """Figures by row; a row of one number is that number. `step` is told of each row that is made."""
    found: dict[str, Any] = {}
    for name, ends in given.published.items():
        found[f"published: {name}"] = published(given.trace, ends)
    for name in (each for each in EXACT if each in given.published):
        same = (given.run(name, Rules()).finished == given.published[name]).mean()
        found[f"share of {name}'s ends equal to the published"] = float(same)
        step(name)
    for label, (name, rules, may_preempt) in rows(given.predictions).items():
        outcome = given.run(name, rules, may_preempt=may_preempt)
        found[label] = figures(outcome) | promises(given, outcome) | {"told": told(outcome)}
        step(label)
    if given.predictions is not None:
        greedy = found[GREEDY]["mean_jct_s"]
        found[SHUFFLED] = max(shuffled(given, seed) for seed in range(SHUFFLES)) / greedy if greedy else 1.0
    for half, figure in halves(given).items():
        found[half] = figure
        step(half)
    return found


def rows(predictions: Floats | None) -> dict[str, tuple[str, Rules, bool]]:
    """Row -> policy, rules, whether jobs may be stopped. A: fixed partitions; B: one pool."""
    by_others = {
        "A, nothing stopped, published predictions": ("lepton", Rules(given=predictions), False),
        "A, preemptive, published predictions": ("lepton", Rules(given=predictions), True),
    }
    return {
        GREEDY: ("fifo-greedy", Rules(), False),
        "A, nothing stopped": ("lepton", Rules(), False),
        "A, preemptive": ("lepton", Rules(), True),
        "A, preemptive, restarts cost ten times as much": ("lepton", Rules(restore_factor=10), True),
        **({} if predictions is None else by_others),
        "A, preemptive: SRTF, clairvoyant": ("srtf", Rules(), True),
        "B, nothing stopped": ("lepton", Rules(is_partitioned=False), False),
        "B, preemptive": ("lepton", Rules(is_partitioned=False), True),
    }


def published(trace: Trace, ends: Floats) -> dict[str, float]:
    """Figures of a published schedule."""
    waits = ends - trace.submit - trace.duration
    return {
        "mean_jct_s": float((ends - trace.submit).mean()),
        "mean_queue_s": float(waits.mean()),
        "p999_queue_s": float(np.sort(waits)[int(0.999 * len(waits))]),
        "longest_queue_h": float(waits.max()) / 3600,
    }


def told(outcome: Outcome) -> dict[str, Any]:
    """How what waiting jobs were told held, beside what the last 200 waits would have told."""
    usual = judged(outcome, intervals_of(outcome, Usual))
    return judged(outcome, intervals_of(outcome)) | {"usual": usual}


def promises(given: Given, outcome: Outcome) -> dict[str, float]:
    """Does nobody wait beyond all measure (24 h, or 5 times its run time)? And is no queue worse off than alone under
    the clairvoyant SRTF, where such a schedule was published?
    """
    trace, waits, ran = outcome.trace, waits_of(outcome), ~outcome.is_refused
    over = (waits / np.maximum(PROMISED_S, 5 * trace.duration))[ran]
    found = {"longest_wait_against_promise": float(over.max(initial=0.0))}
    if "srtf" in given.published:
        ours, alone = outcome.finished - trace.submit, given.published["srtf"] - trace.submit
        its = [(trace.queue == queue) & ran for queue in range(len(trace.queues))]
        found["worst_queue_against_srtf_alone"] = max(
            float(ours[of].mean() / alone[of].mean()) for of in its if of.any()
        )
    return found


def shuffled(given: Given, seed: int) -> float:
    """Mean JCT with predictions that belong to other jobs."""
    assert given.predictions is not None
    mixed = np.random.default_rng(seed).permutation(given.predictions)
    return float(figures(given.run("lepton", Rules(given=mixed), may_preempt=False))["mean_jct_s"])


def halves(given: Given) -> dict[str, float]:
    """Mean queue in seconds of each half of the trace by itself."""
    submit, found = given.trace.submit, {}
    middle = float(np.median(submit)) if len(submit) else 0.0
    orders = {
        "preemptive": policy("lepton"),
        "nothing stopped": policy("lepton", may_preempt=False),
        "first come first served, greedy": POLICIES["fifo-greedy"],
    }
    for half, keep in (("first half", submit < middle), ("second half", submit >= middle)):
        for name, chosen in orders.items():
            outcome = run(given.trace.only(keep), given.cluster, chosen, Rules())
            found[f"mean queue s, {half}, {name}"] = float(figures(outcome)["mean_queue_s"])
    return found
