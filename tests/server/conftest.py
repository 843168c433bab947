"""The fixture `house`: a platform of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.launch import Devices
from lepton.pool.live.pool import LivePool
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.live.why import reasons
from lepton.pool.shape import Machine
from lepton.pool.standing import NodeState
from tests.server.house import House, open_house


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Compile what a server decides with before any test waits for a decision: that takes a minute or two."""
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


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One platform for tests that leave no trace that another could trip over."""
    with open_house(tmp_path_factory.mktemp("house") / "data") as opened:
        yield opened
