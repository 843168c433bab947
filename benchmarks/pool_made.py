"""What the default comes to on clusters that nobody has tuned it for: `python benchmarks/pool_made.py [TRACES]`.

Made traces of 3,000 jobs of one queue, drawn at random from a grid: run times lognormal (sigma 0.5 to 2.5) with a mean
of 10 minutes to 4 hours, which users have habits in or nothing announces; loads 0.6 to 1.1; up to 30 % of jobs gangs of
up to half the cluster; arrivals Poisson or in bursts; 4, 16 or 64 nodes of 8. Half of the seeds (`CHOSEN`) was looked
at while the rules were made, the other half (`UNSEEN`) only for the table; `--count` is for each seed. Each trace is
replayed in fixed partitions and in one pool, preemptive and not, beside first come first served that passes by who does
not fit. With a folder of traces, Venus and its halves and NASA's iPSC are replayed too. It prints the tables for
`docs/pool-policy.md`, and one line of JSON for each trace with `--raw FILE`.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton.pool.arrays import Rules
from lepton.pool.policy import CALM, OURS, POLICIES
from lepton.pool.replay import run
from lepton.pool.trace import Cluster, Trace
from lepton.store.traces import read_nodes, read_trace

JOBS = 3000
USERS = 40
SIZES, SHARES = (1, 2, 4, 8), (0.6, 0.12, 0.1, 0.18)
CHOSEN, UNSEEN = (1, 3), (2, 4)
GRID: dict[str, tuple[Any, ...]] = {
    "nodes": (4, 16, 64),
    "sigma": (0.5, 1.0, 1.5, 2.0, 2.5),
    "load": (0.6, 0.7, 0.8, 0.9, 1.0, 1.1),
    "gangs": (0.0, 0.02, 0.1, 0.3),
    "bursty": (False, True),
    "mean_s": (600, 3600, 15_000),
    "known": (0.0, 0.0, 0.7),
}
"""`gangs`: their share of jobs; `known`: the part of the variance of log run times that comes from user and size."""
POLICY = {"greedy": POLICIES["fifo-greedy"], "preemptive": OURS, "nothing stopped": CALM}
Chance = np.random.Generator
Row = dict[str, Any]


def made(chance: Chance, of: Row) -> tuple[Trace, Cluster]:
    """One trace and its cluster."""
    small = chance.choice(SIZES, JOBS, p=SHARES)
    wide = 8 * np.minimum(2 ** chance.integers(1, 6, JOBS), max(2, of["nodes"] // 2))
    gpus = np.where(chance.random(JOBS) < of["gangs"], wide, small)
    user = chance.integers(0, USERS, JOBS)
    habit = chance.normal(0, 1, (USERS, 64))[user, np.minimum(gpus, 63)]
    log = of["sigma"] * (np.sqrt(of["known"]) * habit + np.sqrt(1 - of["known"]) * chance.normal(0, 1, JOBS))
    duration = (of["mean_s"] * np.exp(log - of["sigma"] ** 2 / 2)).clip(1, 3e6).round()
    gaps = chance.exponential(1.0, JOBS)
    if of["bursty"]:
        gaps = gaps * np.repeat(np.exp(chance.normal(0, 1.5, JOBS // 50)), 50)
    at = np.cumsum(gaps)
    span = float((gpus * duration).sum()) / (of["nodes"] * 8 * of["load"])
    return Trace(
        name="made",
        id=[str(job) for job in range(JOBS)],
        queue=np.zeros(JOBS, np.int64),
        queues=["all"],
        user=user,
        users=[str(each) for each in range(USERS)],
        submit=(at / at[-1] * span).round(),
        duration=duration,
        gpus=gpus,
        cpus=gpus,
    ), Cluster(nodes={"all": of["nodes"]})


def cases(seed: int, count: int) -> Iterator[tuple[Row, Trace, Cluster]]:
    """So many, each drawn from the grid."""
    chance = np.random.default_rng(seed)
    for _ in range(count):
        of = {name: values[int(chance.integers(len(values)))] for name, values in GRID.items()}
        yield of, *made(chance, of)


def measured(of: Row, trace: Trace, cluster: Cluster) -> Row:
    """Mean JCT and p99.9 of queueing in seconds, under each policy."""
    found = dict(of)
    for is_partitioned, track in ((True, "A"), (False, "B")):
        for name, policy in POLICY.items():
            outcome = run(trace, cluster, policy, Rules(is_partitioned=is_partitioned))
            jct = outcome.finished - trace.submit
            queue = np.sort(jct - trace.duration)
            found[f"{track}, {name}"] = [float(jct.mean()), float(queue[int(0.999 * len(queue))])]
    return found


def against_greedy(rows: Sequence[Row], name: str) -> str:
    """Mean JCT against greedy's: geometric mean, the worst, and how many are more than 2 % above it."""
    ratio = np.array([row[name][0] / row[f"{name[0]}, greedy"][0] for row in rows])
    tail = np.array([(row[name][1] + 60) / (row[f"{name[0]}, greedy"][1] + 60) for row in rows])
    mean, far = np.exp(np.log(ratio).mean()), np.exp(np.log(tail).mean())
    above = f"{np.quantile(ratio, 0.9):.2f} | {ratio.max():.2f} | {100 * (ratio > 1.02).mean():.0f} %"
    return f"{mean:.3f} | {above} | {far:.2f}"


def show(title: str, rows: Sequence[Row]) -> None:
    """The tables of some traces."""
    names = [name for name in rows[0] if ", " in name and not name.endswith("greedy")]
    print(f"\n{title}, {len(rows)} traces\n\n| | mean | 90th percentile | worst | above 1.02 | p99.9 queue |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        print(f"| {name} | {against_greedy(rows, name)} |")
    print(f"\n| mean JCT against greedy | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    for by, values in GRID.items():
        for value in sorted(set(values)):
            some = [row for row in rows if row[by] == value]
            ratios = [[row[name][0] / row[f"{name[0]}, greedy"][0] for row in some] for name in names]
            cells = [np.exp(np.log(each).mean()) for each in ratios]
            print(f"| {by} {value} | {' | '.join(f'{each:.2f}' for each in cells)} |")


def given(folder: Path) -> Iterator[tuple[str, Trace, Cluster]]:
    """The traces that there are."""
    venus, _ = read_trace(folder / "helios-venus-sept2020" / "jobs.csv.gz")
    cluster, middle = read_nodes(folder / "helios-venus-sept2020" / "vc_nodes.csv", per_node=8), np.median(venus.submit)
    yield "Venus", venus, cluster
    yield "Venus, first half", venus.only(venus.submit < middle), cluster
    yield "Venus, second half", venus.only(venus.submit >= middle), cluster
    nasa, _ = read_trace(folder / "swf" / "NASA-iPSC-1993-3.1-cln.swf.zip")
    yield "NASA iPSC", nasa, Cluster(nodes={"all": 16})


def main(arguments: Sequence[str]) -> None:
    """All tables."""
    raw = Path(arguments[arguments.index("--raw") + 1]) if "--raw" in arguments else None
    count = int(arguments[arguments.index("--count") + 1]) if "--count" in arguments else 150
    lines = []
    for seeds, title in ((CHOSEN, "Looked at while the rules were made"), (UNSEEN, "Not looked at")):
        rows = [{"seed": seed} | measured(*case) for seed in seeds for case in cases(seed, count)]
        show(title, rows)
        lines += [json.dumps(row) for row in rows]
    folders = [Path(each) for each in arguments if Path(each).is_dir()]
    for name, trace, cluster in given(folders[0]) if folders else ():
        found = measured({}, trace, cluster)
        print(
            f"{name}: " + "; ".join(f"{policy} {values[0]:,.0f} / {values[1]:,.0f}" for policy, values in found.items())
        )
        lines.append(json.dumps({"trace": name} | found))
    if raw:
        raw.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
