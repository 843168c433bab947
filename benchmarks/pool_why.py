"""What it costs to ask why a job waits, on a live pool of 10,000 full nodes in which 100,000 jobs wait:
`python benchmarks/pool_why.py` prints a table.

The pool is that of `pool_live.py`; no job has ended yet. Asked are jobs at the front of the queue, in the middle and at
its end. While one asks no decision can be made: all of it counts. In milliseconds of CPU.
"""

import sys
import time
from statistics import median

import numpy as np
from pool_live import Load, filled

from lepton.pool.live.views import Phase
from lepton.pool.live.when import starts_between
from lepton.pool.live.why import reasons

ASKED = 40


def ask(load: Load, count: int = ASKED) -> tuple[list[float], list[float]]:
    """CPU milliseconds of the reasons, and of the moments between which they start, of so many waiting jobs."""
    waiting = [job for job, entry in load.pool.jobs.items() if entry.truth.phase is Phase.QUEUED]
    why, when = [], []
    for at in np.linspace(0, len(waiting) - 1, count).astype(int):
        begin = time.process_time()
        found = reasons(load.pool, waiting[at], load.now)
        told = time.process_time()
        starts_between(load.pool, waiting[at], found, load.now)
        why.append(1e3 * (told - begin))
        when.append(1e3 * (time.process_time() - told))
    return why, when


def main(nodes: int, waiting: int) -> None:
    """Every row."""
    ask(filled(100, 100), 5)  # compiles
    load = filled(nodes, waiting)
    print(f"{nodes:,} nodes, {waiting:,} waiting\n\n| | p50 | p99 | worst |\n| --- | --- | --- | --- |")
    why, when = ask(load)
    both = [first + second for first, second in zip(why, when, strict=True)]
    for what, costs in (("reasons", why), ("starts between", when), ("both", both)):
        costs.sort()
        print(f"| {what} | {median(costs):.2f} | {costs[int(0.99 * len(costs))]:.2f} | {costs[-1]:.2f} |")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3])) if len(sys.argv) == 3 else main(10_000, 100_000)
