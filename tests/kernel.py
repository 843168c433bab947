"""Compile the pool's array code, or load what is compiled: most of a minute that no test should wait for.

`python -m tests.kernel` does it for all tests, beside whatever else is being checked.
"""

from pathlib import Path

from lepton.core.launch import Devices
from lepton.pool.arrays import Rules
from lepton.pool.live.pool import LivePool
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.live.why import reasons
from lepton.pool.policy import OURS
from lepton.pool.replay import run
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState
from lepton.store.traces import read_nodes, read_trace

TRACES = Path(__file__).parent / "unit" / "pool" / "traces"


def compile_live() -> None:
    """What a server decides with."""
    pool, up = LivePool(), Machine(name="n", total=Devices(cpu_milli=1000))
    pool.put_machines([up], 1.0)
    for job, rank in (("low", 8), ("high", 0)):
        wants = Wants(job=job, workers=(up.total,), rank=rank, since_s=-1e9)
        pool.put(wants, Truth(phase=Phase.QUEUED), 1.0)
        for at, places in pool.decide(200.0 * rank + 10.0).starts.items():
            pool.put(pool.jobs[at].wants, Truth(phase=Phase.HOLDS, places=places, began_s=2.0), 2.0)
        reasons(pool, job, 10.0)
    pool.put(pool.jobs["low"].wants, Truth(phase=Phase.LEAVES, places=pool.jobs["low"].truth.places), 3.0)
    for state in (NodeState.DRAINING, NodeState.UP):
        pool.put_machines([Machine(name="n", total=up.total, state=state)], 4.0)
        pool.decide(1e9)


def compile_replay() -> None:
    """What a replay runs on."""
    run(read_trace(TRACES / "venus.csv")[0], read_nodes(TRACES / "venus_nodes.csv", per_node=8), OURS, Rules())


if __name__ == "__main__":
    compile_live()
    compile_replay()
