"""What is free of many nodes is looked at once for all of which the same is free, and asking takes nothing."""

from lepton.core.launch import Devices
from lepton.pool.live.pool import LivePool
from lepton.pool.live.room import Free, Kind, alike, fitting
from lepton.pool.live.views import Phase, Place, Truth, Wants
from lepton.pool.live.why import reasons
from lepton.pool.shape import Machine

NODES = [f"n{at:03}" for at in range(300)]
WHOLE = Devices(cpu_milli=16_000, gpu_milli=8000)


def holds(pool: LivePool, job: str, node: str, gpu_milli: int, gpus: tuple[int, ...]) -> None:
    wants = Wants(job=job, workers=(Devices(cpu_milli=1000, gpu_milli=gpu_milli),), since_s=1.0)
    pool.put(wants, Truth(phase=Phase.HOLDS, places=(Place(node, gpus),), began_s=1.0), 1.0)


def full() -> LivePool:
    """A node with six devices left, one with parts of two, the others with one device each."""
    pool = LivePool()
    pool.put_machines([Machine(name=name, total=WHOLE) for name in NODES], 0.0)
    pool.settle(0.0)
    holds(pool, "two", NODES[0], 2000, (0, 1))
    for device, milli in enumerate((300, 700)):
        holds(pool, f"part{device}", NODES[1], milli, (device,))
    for name in NODES[2:]:
        holds(pool, f"on-{name}", name, 7000, tuple(range(7)))
    return pool


def test_nodes_of_which_the_same_is_free_are_looked_at_once() -> None:
    free = full().seats.frees(NODES)

    assert len(free) == len(NODES)
    assert len(alike(free)) == 3
    assert free[0] == Free("gpu", 6, [], 15_000, 0)
    assert (free[1].devices, sorted(free[1].parts)) == (6, [300, 700])
    assert free[2] == Free("gpu", 1, [], 15_000, 0)
    assert free[2] is free[299]


def test_nodes_with_the_same_free_count_each_for_itself_and_nothing_is_taken() -> None:
    free = full().seats.frees(NODES)
    one, four = (Devices(cpu_milli=1000, gpu_milli=1000 * count) for count in (1, 4))

    assert fitting([Kind("worker", 9, one)], free) == 6 + 6 + 298
    assert fitting([Kind("front", 2, four), Kind("worker", 400, one)], free) == 2 + 2 + 2 + 298
    assert free[0].devices == 6
    assert free[2].devices == 1


def test_a_job_that_waits_is_told_what_fits_of_all_nodes() -> None:
    pool = full()
    gang = Wants(job="gang", workers=(Devices(cpu_milli=1000, gpu_milli=4000),) * 5, since_s=2.0)
    pool.put(gang, Truth(phase=Phase.QUEUED), 2.0)

    (found,) = reasons(pool, "gang", 3.0)

    assert found.code == "shape"
    assert (found.facts["fit_now"], found.facts["needed"]) == (2, 5)
    assert "the most that one node has free is 6" in found.words
