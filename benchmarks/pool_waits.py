"""What anybody waits at most, and where our order is the wrong one: `python benchmarks/pool_waits.py [TRACES]`.

Two kinds of made traces, ten days each, five seeds: *gangs*, two partitions of 8 nodes at load 0.72 whose run times are
lognormal (sigma 1.5, mean 1 hour), every tenth job a gang of 32 or 64 GPUs, a whole partition; *overload*, queues of 6,
4 and 2 nodes at load 1.14, a few runs of two days and more beside very short ones. Nothing announces run times. Each is
replayed in fixed partitions and in one pool, and with shorter patience; with a folder of traces Venus is, too. It
prints the tables for `docs/pool-policy.md`.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lepton.pool.arrays import Rules
from lepton.pool.policy import CALM, OURS, POLICIES, Policy
from lepton.pool.replay import Outcome, run
from lepton.pool.trace import Cluster, Floats, Ints, Trace
from lepton.store.traces import read_nodes, read_trace

SEEDS = range(1, 6)
DAY_S, HOUR_S = 86_400.0, 3600.0
SPAN_S = 10 * DAY_S
PATIENCE_S = {"7 days": 7 * DAY_S, "4 days": 4 * DAY_S, "2 days": 2 * DAY_S, "1 day": DAY_S, "12 h": DAY_S / 2}
ORDERS: dict[str, Policy] = {
    "greedy": POLICIES["fifo-greedy"],
    "ours": OURS,
    "nothing stopped": CALM,
    "SRTF": POLICIES["srtf"],
}
Case = tuple[Trace, Cluster]


def trace_of(queue: Ints, gpus: Ints, duration: Floats, cluster: Cluster, load: float) -> Trace:
    """As many of these jobs as make so much load, equally spread over the days."""
    busy = np.cumsum(gpus * duration) / (8.0 * sum(cluster.nodes.values()) * SPAN_S)
    count = int(np.searchsorted(busy, load)) + 1
    chance = np.random.default_rng(count)
    return Trace(
        name="made",
        id=[str(job) for job in range(count)],
        queue=queue[:count],
        queues=[*cluster.nodes],
        user=chance.integers(0, 20, count),
        users=[f"u{each}" for each in range(20)],
        submit=np.sort(chance.uniform(0, SPAN_S, count)).round(),
        duration=duration[:count],
        gpus=gpus[:count],
        cpus=gpus[:count],
    )


def gangs(seed: int) -> Case:
    """Gangs as large as their partitions."""
    chance, jobs, cluster = np.random.default_rng(seed), 20_000, Cluster(nodes={"a": 8, "b": 8})
    wide, small = chance.choice([32, 64], jobs), chance.choice([1, 2, 4, 8], jobs, p=[0.6, 0.12, 0.1, 0.18])
    gpus = np.where(chance.random(jobs) < 0.1, wide, small)
    duration = np.exp(chance.normal(np.log(HOUR_S) - 1.5**2 / 2, 1.5, jobs)).clip(1).round()
    return trace_of(chance.integers(0, 2, jobs), gpus, duration, cluster, 0.72), cluster


def overload(seed: int) -> Case:
    """More than there is room for, in every queue."""
    chance, jobs, cluster = np.random.default_rng(seed), 40_000, Cluster(nodes={"a": 6, "b": 4, "c": 2})
    gpus = chance.choice([1, 2, 4, 8], jobs, p=[0.6, 0.12, 0.1, 0.18])
    short = np.exp(chance.normal(np.log(600), 1.5, jobs))
    duration = np.where(chance.random(jobs) < 0.02, chance.uniform(2 * DAY_S, 3 * DAY_S, jobs), short).clip(1).round()
    queue = chance.choice(3, jobs, p=[6 / 12, 4 / 12, 2 / 12])
    return trace_of(queue, gpus, duration, cluster, 1.14), cluster


def told(outcome: Outcome) -> dict[str, float]:
    """Mean JCT in s, p99.9 of queueing in s, longest wait in h; of gangs of a whole partition, and of each queue."""
    trace = outcome.trace
    took = outcome.finished - trace.submit
    wait = np.maximum(0.0, took - trace.duration)
    found = {
        "mean JCT s": took.mean(),
        "p99.9 s": np.sort(wait)[int(0.999 * len(wait))],
        "longest h": wait.max() / HOUR_S,
    }
    if (whole := trace.gpus == 64).any():
        found |= {"gangs of 64: mean h": wait[whole].mean() / HOUR_S, "longest of them h": wait[whole].max() / HOUR_S}
    if len(trace.queues) == 3:
        found |= {f"mean JCT s, {name}": took[trace.queue == at].mean() for at, name in enumerate(trace.queues)}
    return {name: float(value) for name, value in found.items()}


def row(name: str, found: list[Mapping[str, float]]) -> None:
    """A line of a table: means over seeds."""
    cells = [f"{np.mean([each[column] for each in found]):,.0f}" for column in found[0]]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Every table."""
    made = {make.__name__: [make(seed) for seed in SEEDS] for make in (gangs, overload)}
    for title, cases in made.items():
        jobs, columns = (
            ", ".join(f"{len(trace):,}" for trace, _ in cases),
            ", ".join(told(run(*cases[0], OURS, Rules()))),
        )
        print(f"\n{title}: {jobs} jobs; {columns}")
        for place, rules in {"partitions": Rules(), "one pool": Rules(is_partitioned=False)}.items():
            for name, policy in ORDERS.items():
                row(f"{place}, {name}", [told(run(*case, policy, rules)) for case in cases])
    more = []
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1]) / "helios-venus-sept2020"
        more = [(read_trace(folder / "jobs.csv.gz")[0], read_nodes(folder / "vc_nodes.csv", per_node=8))]
    for name, patience_s in PATIENCE_S.items():
        policy = replace(OURS, wait_cap_s=patience_s, shared_cap_s=patience_s)
        for place, rules in {"partitions": Rules(), "one pool": Rules(is_partitioned=False)}.items():
            for title, some in made.items():
                row(f"{name}, {title}, {place}", [told(run(*case, policy, rules)) for case in some])
        for case in more:
            row(f"{name}, Venus, partitions", [told(run(*case, policy, Rules()))])


if __name__ == "__main__":
    main()
