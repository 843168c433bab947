"""What it costs to ask why a job waits, on a live pool of 10,000 full nodes in which 100,000 jobs wait:
`python benchmarks/pool_why.py` prints a table.

The pool is that of `pool_live.py`, first before any job has ended, then after 2,000 have, each with another that came
and a decision: so it is known how long like jobs run. Asked are jobs at the front of the queue, in the middle and at
its end. While the picture is taken no decision can be made (`locked`); the rest is computed beside it. In milliseconds
of CPU.
"""

import sys
import time
from statistics import median

import numpy as np
from pool_live import Load, filled, steady

from lepton.pool.live.views import Phase
from lepton.pool.live.when import starts_between
from lepton.pool.live.why import reasons

ASKED = 40
ENDED = 2000
STAGES = ("locked", "reasons", "starts between", "all")


def ask(load: Load, count: int = ASKED) -> list[list[float]]:
    """CPU milliseconds of each stage, for so many waiting jobs."""
    waiting = [job for job, entry in load.pool.jobs.items() if entry.truth.phase is Phase.QUEUED]
    costs: list[list[float]] = []
    for at in np.linspace(0, len(waiting) - 1, count).astype(int):
        times = [time.process_time()]
        still = load.pool.still(waiting[at], load.now)
        times.append(time.process_time())
        found = reasons(still, waiting[at], load.now)
        times.append(time.process_time())
        starts_between(still, waiting[at], found, load.now)
        times.append(time.process_time())
        costs.append([1e3 * each for each in (*np.diff(times), times[-1] - times[0])])
    return costs


def tell(title: str, costs: list[list[float]]) -> None:
    """Print a table."""
    print(f"{title}\n\n| | p50 | p99 | worst |\n| --- | --- | --- | --- |")
    for what, each in zip(STAGES, map(sorted, zip(*costs, strict=True)), strict=True):
        print(f"| {what} | {median(each):.2f} | {each[int(0.99 * len(each))]:.2f} | {each[-1]:.2f} |", flush=True)
    print()


def main(nodes: int, waiting: int) -> None:
    """Every row."""
    ask(filled(100, 100), 5)  # compiles
    load = filled(nodes, waiting)
    tell(f"{nodes:,} nodes, {waiting:,} waiting", ask(load))
    steady(load, 2 * ENDED)
    tell(f"the same, {ENDED:,} jobs have ended", ask(load))


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3])) if len(sys.argv) == 3 else main(10_000, 100_000)
