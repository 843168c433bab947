"""What are trials worth to a running pool? `python benchmarks/pool_trials.py` prints a table for `docs/pool-policy.md`.

Made traces (`pool_made.py`: 3,000 jobs of one queue on 16 nodes, a mean of an hour) are submitted to a live pool in
virtual time whose world obeys at once (`pool_told.py`): with the rule of thumb alone, and with the trials that a server
makes, when it makes them; with a patience of 7 days, for 12 h of it cost more than any way wins where load is 1 and
more. Mean time to completion, beside first come first served that passes by who does not fit.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from pool_made import made
from pool_told import POLICY, World

from lepton.core.launch import Devices
from lepton.pool.arrays import Rules
from lepton.pool.hindsight import Verdict
from lepton.pool.live.pool import LivePool
from lepton.pool.live.rerun import means_of, rerun_of
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import OURS, POLICIES
from lepton.pool.replay import run
from lepton.pool.shape import Machine
from lepton.pool.trace import Cluster, Trace

SEEDS = (1, 2)
CASES = (
    (0.5, 1.1, 0.02, 0.0),
    (1.0, 1.0, 0.1, 0.0),
    (1.5, 1.0, 0.1, 0.0),
    (1.5, 1.0, 0.0, 0.0),
    (2.0, 1.0, 0.0, 0.0),
    (1.5, 0.9, 0.02, 0.7),
    (1.5, 1.0, 0.0, 0.7),
    (2.5, 1.0, 0.02, 0.7),
)
"""Sigma of log run times; load; share of gangs; how much of the spread users and sizes announce."""


class Noting(LivePool):
    """A live pool that remembers when jobs ended."""

    gone: dict[str, float]

    def put(self, wants: Wants, truth: Truth, now: float) -> None:
        """As in a live pool."""
        if truth.phase is Phase.GONE:
            self.gone[wants.job] = now
        super().put(wants, truth, now)


@dataclass
class Trying(World):
    """A world in which what pays is tried out, or not."""

    tries: bool = True
    ways: list[str] = field(default_factory=list)

    def decide(self, now: float) -> None:
        """Make a trial if one is due, then decide."""
        forecast = self.pool.forecast
        before = forecast.verdict or Verdict()
        rerun = rerun_of(self.pool, now) if self.tries and forecast.ended >= before.due else None
        if rerun is not None:
            trials = before.trials()
            way = trials.hear(means_of(rerun), forecast.way)
            trials.wait(forecast.ended, len(rerun.jobs))
            forecast.go(Verdict(way=way, tried_s=now, ended=forecast.ended, due=trials.due, said=tuple(trials.said)))
            self.ways.append("".join("ny"[each] for each in way))
        super().decide(now)


def lived(trace: Trace, cluster: Cluster, *, tries: bool) -> tuple[float, list[str]]:
    """Mean time to completion in a live pool, in seconds; and the ways that trials found (stops, adapts)."""
    pool = Noting(replace(POLICY, wait_cap_s=OURS.wait_cap_s, shared_cap_s=OURS.shared_cap_s))
    pool.gone = {}
    devices, nodes = Devices(cpu_milli=64_000, gpu_milli=8000), sum(cluster.nodes.values())
    pool.put_machines([Machine(name=f"n{at:03}", total=devices) for at in range(nodes)], 0.0)
    world = Trying(trace, pool, True, tries=tries)
    world.run()
    return float(np.mean([pool.gone[id] - came for id, came in zip(trace.id, trace.submit, strict=True)])), world.ways


def main() -> None:
    """A line for each trace."""
    print("| sigma, load, gangs, announced; seed | greedy | rule of thumb | trials | ways found |\n|" + " --- |" * 5)
    names = ("sigma", "load", "gangs", "known")
    for case in CASES:
        for seed in SEEDS:
            of = dict(zip(names, case, strict=True)) | {"nodes": 16, "bursty": False, "mean_s": 3600}
            trace, cluster = made(np.random.default_rng(seed), of)
            outcome = run(trace, cluster, POLICIES["fifo-greedy"], Rules())
            greedy = float((outcome.finished - trace.submit).mean())
            (plain, _), (tried, ways) = lived(trace, cluster, tries=False), lived(trace, cluster, tries=True)
            said = f"{greedy:,.0f} | {plain:,.0f} | {tried:,.0f} | {' '.join(ways)}"
            print(f"| {', '.join(f'{each:g}' for each in case)}; {seed} | {said} |", flush=True)


if __name__ == "__main__":
    main()
