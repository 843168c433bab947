"""Boosted trees against learned means: `TRACES=DIR python benchmarks/pool_learn.py` prints a table.

Replays under the default policy with means alone and with trees too (`lepton pool replay --learn boosted`): Venus,
September 2020, whole, each half alone, and with a random 5 % of its jobs left out (six times); NASA iPSC 1993, 128
processors as 16 nodes of 8; and a month of jobs whose run times nothing announces. Nothing is known before the first
job of each. DIR holds helios-venus-sept2020/ and swf/.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lepton.pool.arrays import Rules
from lepton.pool.figures import figures
from lepton.pool.policy import policy
from lepton.pool.replay import run
from lepton.pool.trace import Cluster, Trace
from lepton.server.boosted import fit
from lepton.store.traces import read_nodes, read_trace

RESAMPLED = 6
KEPT = 0.95
COLUMNS = ("mean_jct_s", "mean_queue_s", "p999_queue_s", "preemptions")


def cases(folder: Path) -> Iterator[tuple[str, Trace, Cluster]]:
    """Name, trace and cluster of each."""
    venus, _ = read_trace(folder / "helios-venus-sept2020" / "jobs.csv.gz")
    cluster = read_nodes(folder / "helios-venus-sept2020" / "vc_nodes.csv", per_node=8)
    middle, chance = np.median(venus.submit), np.random.default_rng(11)
    yield "Venus", venus, cluster
    yield "Venus, first half", venus.only(venus.submit < middle), cluster
    yield "Venus, second half", venus.only(venus.submit >= middle), cluster
    for at in range(RESAMPLED):
        yield f"Venus, resampled {at + 1}", venus.only(chance.random(len(venus)) < KEPT), cluster
    nasa, _ = read_trace(folder / "swf" / "NASA-iPSC-1993-3.1-cln.swf.zip")
    yield "NASA iPSC", nasa, Cluster(nodes={"all": 16})
    yield "made, nothing to learn", *unannounced()


def unannounced(jobs: int = 20_000, nodes: int = 40, load: float = 0.95) -> tuple[Trace, Cluster]:
    """A month of jobs whose run times have nothing to do with anything that is known of them."""
    chance = np.random.default_rng(0)
    gpus = chance.choice([1, 2, 4, 8, 16, 32], jobs, p=[0.55, 0.1, 0.1, 0.18, 0.05, 0.02])
    duration = np.exp(chance.normal(6, 2, jobs)).clip(1, 1e6).round()
    span = (gpus * duration).sum() / (nodes * 8 * load)
    users = [str(user) for user in range(100)]
    return Trace(
        name="made",
        id=[str(job) for job in range(jobs)],
        queue=np.zeros(jobs, np.int64),
        queues=["all"],
        user=chance.integers(0, len(users), jobs),
        users=users,
        submit=np.sort(chance.uniform(0, span, jobs)).round(),
        duration=duration,
        gpus=gpus,
        cpus=gpus,
    ), Cluster(nodes={"all": nodes})


def main() -> None:
    """Every case, as a line for people and one of JSON."""
    for name, trace, cluster in cases(Path(os.environ["TRACES"])):
        found = {}
        for how, chosen in (("means", None), ("boosted", fit)):
            began = time.process_time()
            all_figures = figures(run(trace, cluster, policy("lepton"), Rules(fit=chosen)))
            found[how] = {column: all_figures[column] for column in COLUMNS} | {"cpu_s": time.process_time() - began}
        change = found["boosted"]["mean_queue_s"] / found["means"]["mean_queue_s"] - 1
        words = "; ".join(
            f"{how} JCT {each['mean_jct_s']:,.0f} queue {each['mean_queue_s']:,.0f} p99.9 {each['p999_queue_s']:,.0f} s"
            for how, each in found.items()
        )
        print(f"{name:24} {words}; waiting {100 * change:+.1f} %", file=sys.stderr)
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main()
