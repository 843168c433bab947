"""How long anybody waits at most in the default preemptive order, as `docs/pool-policy.md` says it: against streams of
small jobs that fill the pool for far longer.
"""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.arrays import Rules
from lepton.pool.kernel.reserve import SHARE
from lepton.pool.policy import OURS
from lepton.pool.replay import Outcome, run
from lepton.pool.trace import Cluster, Trace

PATIENCE_S = 300.0
OURS_SOON = replace(OURS, wait_cap_s=PATIENCE_S, shared_cap_s=PATIENCE_S, cap_factor=0.0)
RESTART_S = 60.0
PER_NODE = 8
NODES = {"owner": 2, "stream": 1, "idle": 1}


def stream(chance: np.random.Generator, gangs: list[int], *, queues: list[str]) -> Trace:
    """Gangs of so many devices in the first queue, and small jobs in the second that ask for more than there is."""
    jobs, mean_s = int(chance.integers(1200, 1500)), float(chance.uniform(40, 80))
    gpus = np.concatenate([gangs, chance.choice([1, 2, 4, 8], jobs)]).astype(np.int64)
    duration = np.concatenate([np.full(len(gangs), 50.0), np.minimum(2 * mean_s, chance.exponential(mean_s, jobs)) + 1])
    work = float((gpus * duration)[len(gangs) :].sum())
    span = work / (PER_NODE * sum(NODES.values()) * float(chance.uniform(1.0, 1.1)))
    came = np.sort(chance.uniform(0, span, jobs))
    return Trace(
        name="stream",
        id=[str(job) for job in range(len(gpus))],
        queue=np.concatenate([np.zeros(len(gangs)), np.full(jobs, len(queues) > 1)]).astype(np.int64),
        queues=queues,
        user=np.zeros(len(gpus), np.int64),
        users=["u"],
        submit=np.concatenate([np.full(len(gangs), 200.0), came]).round(),
        duration=duration.round(),
        gpus=gpus,
        cpus=np.zeros(len(gpus), np.int64),
    )


def waits_of(outcome: Outcome, gangs: int) -> list[float]:
    """Of each gang: from its submit to its first start."""
    return [float(each) for each in (outcome.first - outcome.trace.submit)[:gangs]]


def bound_s(trace: Trace, before: int) -> float:
    """Twice the patience; then, for it and each that is late before it, the longest run, and the time in which what is
    idle meanwhile is earned back.
    """
    longest_s = float(trace.duration.max()) + RESTART_S
    return 2 * PATIENCE_S + (1 + before) * longest_s * (1 + 1 / SHARE)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    is_partitioned=st.booleans(),
    gangs=st.lists(st.sampled_from([16, 24, 32]), min_size=1, max_size=2),
)
def test_a_gang_waits_no_longer_than_is_promised(seed: int, is_partitioned: bool, gangs: list[int]) -> None:
    trace = stream(np.random.default_rng(seed), gangs, queues=["all"])
    outcome = run(trace, Cluster(nodes={"all": 4}, per_node=PER_NODE), OURS_SOON, Rules(is_partitioned=is_partitioned))
    for before, waited_s in enumerate(sorted(waits_of(outcome, len(gangs)))):
        assert waited_s <= bound_s(trace, before), (waited_s, bound_s(trace, before))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**9), gpus=st.sampled_from([20, 24]))
def test_one_beyond_its_guarantee_waits_no_longer_beside_what_is_guaranteed_to_others(seed: int, gpus: int) -> None:
    trace = stream(np.random.default_rng(seed), [gpus], queues=list(NODES))
    outcome = run(trace, Cluster(nodes=NODES, per_node=PER_NODE), OURS_SOON, Rules(is_partitioned=False))
    (waited_s,) = waits_of(outcome, 1)
    assert waited_s <= bound_s(trace, 0)
