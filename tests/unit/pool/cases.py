"""Small made pools for properties: everything follows from one seed, so that a failing case is one number."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lepton.pool.arrays import Rules, fits, given_of, order_of, replay_of, setting_of
from lepton.pool.kernel import replay as kernel
from lepton.pool.policy import CALM, OURS, POLICIES, Policy, Source
from lepton.pool.replay import Outcome, grown, outcome_of
from lepton.pool.trace import Cluster, Ints, Trace

QUICK = {
    "floor_s": 5.0,
    "prior_s": 5.0,
    "margin": 0.0,
    "turn_s": 0.0,
}
ORDERS: dict[str, Policy] = {name: each for name, each in POLICIES.items() if each.source is not Source.GIVEN} | {
    "calm": CALM,
    "quick to stop": replace(OURS, **QUICK),  # type: ignore[arg-type]
    "late": replace(CALM, wait_cap_s=300.0, shared_cap_s=300.0, cap_factor=0.0),
    "late and preemptive": replace(OURS, wait_cap_s=300.0, shared_cap_s=300.0, cap_factor=0.0, **QUICK),  # type: ignore[arg-type]
    "late at once": replace(OURS, wait_cap_s=5.0, shared_cap_s=5.0, cap_factor=0.0, **QUICK),  # type: ignore[arg-type]
}
NAMES = sorted(ORDERS)


@dataclass(frozen=True, slots=True)
class Case:
    """One pool and what comes to it."""

    trace: Trace
    cluster: Cluster
    policy: Policy
    is_partitioned: bool
    ranks: Ints | None
    """(queues, sizes) a priority for each; by size modulo 3."""
    limit: Ints
    """(queues,) devices that each may hold at most."""
    part: int
    """Thousandths that jobs of one device want of one; 0: all of it."""
    has_guarantees: bool = True
    idle: kernel.Replay | None = None
    """Arrays of such a replay before it begins, which it takes copies of; None: they are made."""

    def milli(self, job: Ints) -> Ints:
        """What jobs hold in thousandths of devices."""
        gpus = self.trace.gpus[job]
        return np.where((gpus == 1) & (self.part > 0), self.part, 1000 * gpus)


ALIKE = 10
ENDLESS_S = 1e6
"""Longer than all others together."""
LONG = 1_000_000
"""More moments, and more runs, than any case comes to."""


def trace_of(chance: np.random.Generator, queues: list[str], sizes: list[int]) -> Trace:
    """5 to 30 jobs, in bursts or not, with run times that differ widely; now and then some that seem to have no end."""
    jobs, span = int(chance.integers(5, 31)), int(chance.choice([50, 1000, 5000]))
    duration = np.exp(chance.normal(5, 1.5, jobs)).round()
    if chance.random() < 0.2:
        duration[chance.random(jobs) < 0.1] = ENDLESS_S
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=chance.integers(0, len(queues), jobs),
        queues=queues,
        user=chance.integers(0, 3, jobs),
        users=["u", "v", "w"],
        submit=chance.integers(0, span, jobs).astype(np.float64),
        duration=duration,
        gpus=chance.choice(sizes, jobs),
        cpus=np.zeros(jobs, np.int64),
    )


@lru_cache(maxsize=1)
def idle_case(seed: int) -> Case:
    """A trace, nodes and queues, and their arrays, whose making takes longer than a replay."""
    chance = np.random.default_rng(seed)
    nodes = {f"q{queue}": int(chance.integers(1, 3)) for queue in range(int(chance.integers(1, 4)))}
    trace = trace_of(chance, list(nodes), [0, 1, 1, 2, 4, 8, 12, 16])
    cluster = Cluster(nodes=nodes, per_node=int(chance.choice([4, 8])))
    is_partitioned = bool(chance.integers(2))
    idle = replay_of(trace, cluster, CALM, Rules(is_partitioned=is_partitioned))
    return Case(trace, cluster, CALM, is_partitioned, None, np.full(len(nodes), 2**62), 0, idle=idle)


def any_case(seed: int) -> Case:
    """Queues, guarantees, limits, priorities, gangs, parts of devices, orders that stop jobs or not; `ALIKE` seeds in a
    row have the trace and the nodes in common.
    """
    base, chance = idle_case(seed // ALIKE), np.random.default_rng([seed, 1])
    trace, queues = base.trace, len(base.cluster.nodes)
    largest = np.array([trace.gpus[trace.queue == queue].max(initial=0) for queue in range(queues)])
    return replace(
        base,
        policy=ORDERS[NAMES[int(chance.integers(len(NAMES)))]],
        ranks=chance.choice([0, 4, 8], (queues, 3)) if chance.random() < 0.4 else None,
        limit=largest + chance.integers(0, 12, queues) if chance.random() < 0.4 else base.limit,
        part=int(chance.choice([0, 0, 250, 500, 600])),
    )


def begun(case: Case) -> kernel.Replay:
    """A replay of a case that stands at its beginning."""
    rules = Rules(is_partitioned=case.is_partitioned)
    if case.idle is None:
        return arranged(replay_of(case.trace, case.cluster, case.policy, rules), case)
    idle = case.idle
    replay = idle._replace(
        pool=copied(idle.pool),
        order=order_of(case.policy, is_shared=not case.is_partitioned),
        setting=setting_of(case.policy, rules),
        history=copied(idle.history),
        facts=idle.facts.copy(),
        at=idle.at.copy(),
    )
    replay.facts.given = given_of(case.trace, case.policy, rules)
    return arranged(replay, case)


def copied(arrays: Any) -> Any:
    """A named tuple of copies of arrays; what else is in it stays."""
    return type(arrays)(*(each.copy() if hasattr(each, "copy") else each for each in arrays))


def replayed(case: Case) -> Outcome:
    """The case to its end, which has to come."""
    replay = begun(case)
    while (said := kernel.advance(replay, LONG)) == kernel.GROW:
        assert replay.at[kernel.SEGMENTS] < LONG, "the pool only switches"
        replay = grown(replay)
    assert said == kernel.DONE, "the pool only looks"
    return outcome_of(replay, case.trace, case.cluster, ~fits(case.trace, case.cluster, case.is_partitioned))


def arranged(replay: kernel.Replay, case: Case) -> kernel.Replay:
    """The replay with limits, priorities and parts of devices, of which traces know nothing."""
    pool = replay.pool
    classes, accounts, sizes = pool.classes, pool.classes.account, pool.need[:, 0]
    pool.limit[: len(case.limit), 0] = case.limit
    if not case.has_guarantees:
        pool.guarantee[:] = 0
    if case.ranks is not None:
        classes.rank = case.ranks[accounts, sizes % 3]
    if not case.part:
        return replay
    for klass in np.flatnonzero(sizes == 1):
        part = pool.parts[int(classes.part[klass])]
        part.devices, part.milli = 0, case.part
        classes[int(klass)].devices = 0
    shares = np.full((len(pool.nodes), case.cluster.per_node), 1000, np.int64)
    return replay._replace(pool=pool._replace(shares=shares))
