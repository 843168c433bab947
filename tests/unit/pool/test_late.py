"""Jobs that have waited too long: they keep all rights, and what is kept for them freezes nobody. And time itself."""

from dataclasses import replace

import numpy as np
import pytest

from lepton.core.launch import Devices
from lepton.pool.arrays import Rules
from lepton.pool.kernel.reserve import OUTRUN, SAVED_S
from lepton.pool.live.pool import LivePool
from lepton.pool.live.steady import Steady
from lepton.pool.live.tables import Rights
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.live.when import starts_between
from lepton.pool.live.why import reasons
from lepton.pool.policy import LIVE, POLICIES, Policy, policy
from lepton.pool.quota import QueueSpec
from lepton.pool.replay import run
from lepton.pool.trace import Cluster, Trace
from tests.unit.pool.test_rights import HIGH, LOW, NODES, World, until

HOUR = 3600.0
ENDLESS = 1e9


def forever(job: str) -> float:
    return ENDLESS


def submit_old(world: World, job: str, queue: str, waited_s: float, *, rank: int, nodes: int = 1) -> None:
    """One comes that had waited before the pool was there."""
    workers = (Devices(cpu_milli=1000, gpu_milli=8000),) * nodes
    wants = Wants(job=job, workers=workers, queue=queue, rank=rank, is_pinned=True, since_s=world.now - waited_s)
    world.pool.put(wants, Truth(phase=Phase.QUEUED), world.now)


def is_late(world: World, job: str) -> bool:
    return bool(world.pool.seats.tables.pool.jobs[world.pool.jobs[job].slot].is_late)


@pytest.mark.parametrize("waited_s", [11 * HOUR, 13 * HOUR])
def test_a_guarantee_is_taken_back_by_who_has_waited_too_long_as_by_others(waited_s: float) -> None:
    world = World()
    for at in range(NODES):
        world.submit(f"d{at}", rank=HIGH)
    world.turn(0.0)
    submit_old(world, "mine", "owner", waited_s, rank=LOW)
    world.turn(1.0)
    assert is_late(world, "mine") == (waited_s > 12 * HOUR)
    assert until(world, 1, "owner", 120.0, forever) <= 120.0


def test_a_higher_priority_that_has_waited_too_long_makes_room_as_before() -> None:
    world = World(Rights(queues={"default": QueueSpec(), "urgent": QueueSpec()}), patience_s=100.0)
    for at in range(NODES):
        world.submit(f"d{at}", rank=LOW)
    world.turn(0.0)
    submit_old(world, "high", "urgent", 500.0, rank=HIGH, nodes=2)
    world.turn(1.0)
    assert is_late(world, "high")
    assert until(world, 2, "urgent", 90.0, forever) <= 90.0


def test_what_a_waiting_job_is_told_when_it_gets_its_guarantee_comes_true() -> None:
    world = World(patience_s=50.0)
    for at in range(NODES):
        world.submit(f"d{at}")
    world.turn(0.0)
    world.turn(5.0)
    world.submit("gang", "owner", nodes=NODES + 4)  # it never fits
    submit_old(world, "mine", "owner", 100.0, rank=LOW)
    world.turn(6.0)
    assert is_late(world, "mine")
    between = starts_between(world.pool, "mine", reasons(world.pool, "mine", 7.0), 7.0)
    assert between is not None and between[1] - 7.0 < 120.0
    world.turn(7.0)
    assert until(world, 1, "owner", 120.0, forever) <= between[1] - 6.0


def test_a_gang_beyond_its_queues_guarantee_does_not_stand_before_what_is_guaranteed() -> None:
    two = {"gpu_milli": 8000 * 2}
    world = World(Rights(queues={"owner": QueueSpec(guarantee=two), "default": QueueSpec()}), patience_s=100.0)
    for at in range(NODES):
        world.submit(f"d{at}")
    world.turn(0.0)
    world.submit("gang", "owner", nodes=3, rank=LOW)
    for now in range(10, 400, 10):
        world.turn(float(now))
    assert world.held("owner") == 0
    for at in range(2):
        world.submit(f"o{at}", "owner", rank=LOW)
    assert until(world, 2, "owner", 150.0, forever) <= 150.0


def trace_of(rows: list[tuple[int, float, float]]) -> Trace:
    """(devices, submit, duration) of each job, of one queue."""
    gpus, submit, duration = zip(*rows, strict=True)
    zeros = np.zeros(len(rows), np.int64)
    return Trace(
        name="made",
        id=[f"j{at}" for at in range(len(rows))],
        submit=np.array(submit, float),
        duration=np.array(duration, float),
        gpus=np.array(gpus, np.int64),
        cpus=zeros,
        queue=zeros,
        user=zeros,
        queues=["a"],
        users=["u"],
    )


CALM = policy("lepton", may_preempt=False)


@pytest.mark.parametrize("order", [CALM, policy("lepton")], ids=["calm", "preemptive"])
@pytest.mark.parametrize("partitioned", [True, False])
def test_who_waits_for_what_never_ends_freezes_nobody(order: Policy, partitioned: bool) -> None:
    """A service holds part of one node, a gang wants all: jobs of all sizes, and of none, go on as if it were not."""
    chance = np.random.default_rng(5)
    small = [(int(chance.choice([0, 0, 1, 4, 8])), 500.0 * at, float(chance.uniform(100, 4000))) for at in range(1200)]
    trace = trace_of([(1, 0.0, 1e8), (8 * NODES, 1.0, 600.0), *small])
    cluster, rules = Cluster(nodes={"a": NODES}), Rules(is_partitioned=partitioned)
    capped = replace(order, wait_cap_s=12 * HOUR, shared_cap_s=12 * HOUR)
    ours, greedy = (run(trace, cluster, each, rules) for each in (capped, POLICIES["fifo-greedy"]))
    waits = [(each.finished - trace.submit - trace.duration)[2:].mean() for each in (ours, greedy)]
    assert waits[0] <= 1.1 * waits[1] + 60.0, waits


@pytest.mark.parametrize("is_endless", [True, False])
def test_what_never_ends_is_not_waited_for_with_idle_nodes(is_endless: bool) -> None:
    world = World(Rights(queues={"default": QueueSpec()}), patience_s=100.0)
    wants = Wants(
        job="service",
        workers=(Devices(cpu_milli=1000, gpu_milli=1000),),
        is_pinned=True,
        is_endless=is_endless,
        queue="default",
    )
    world.pool.put(wants, Truth(phase=Phase.QUEUED), 0.0)
    world.turn(0.0)
    world.submit("gang", nodes=NODES)
    for now in range(10, 400, 10):
        world.turn(float(now))
    for at in range(NODES):
        world.submit(f"s{at}")
    held = 0
    for now in range(400, int(OUTRUN * SAVED_S) + 1200, 500):
        world.turn(float(now), lambda job: ENDLESS if job == "service" else 1e6)
        held += world.held("default") - 1 == NODES - 1
        if is_endless:
            break
    assert held, "three nodes are free, and the gang can never have the fourth"


def test_kept_nodes_serve_who_needs_none_of_what_is_kept() -> None:
    """CPUs beside the gang's, whole nodes that it does not need, and jobs that are gone before."""
    world = World(Rights(queues={"default": QueueSpec()}), patience_s=100.0)
    for at in range(3):
        world.submit(f"d{at}")
    world.turn(0.0)
    world.submit("gang", nodes=3)
    for now in range(10, 300, 10):
        world.turn(float(now))
    arrays = world.pool.seats.tables.pool
    assert sum(int(row.kept > 0) for row in arrays.nodes) == 3 and all(row.is_open for row in arrays.nodes)
    cpu = Wants(job="cpu", workers=(Devices(cpu_milli=40_000),) * 4, queue="default", since_s=300.0, is_pinned=True)
    large = replace(cpu, job="large", workers=(Devices(cpu_milli=63_500),) * 2)
    for wants in (cpu, large):
        world.pool.put(wants, Truth(phase=Phase.QUEUED), 300.0)
    world.submit("gpu")
    world.turn(301.0)
    holding = {job for job, entry in world.pool.jobs.items() if entry.truth.phase is Phase.HOLDS}
    assert "cpu" in holding and "large" not in holding and "gpu" not in holding
    assert reasons(world.pool, "gpu", 302.0)[0].code == "reserved"
    assert "reserved" not in [each.code for each in reasons(world.pool, "large", 302.0)]


def test_a_late_gang_starts_though_others_come_for_ever() -> None:
    small = [(4, 100.0 * at, 250.0) for at in range(400)]
    trace = trace_of([*small, (16, 50.0, 100.0)])
    capped = replace(POLICIES["fifo-greedy"], wait_cap_s=1_000.0, shared_cap_s=1_000.0)
    for partitioned in (True, False):
        outcome = run(trace, Cluster(nodes={"a": 2}), capped, Rules(is_partitioned=partitioned))
        assert outcome.first[-1] < 2_000.0


# Time.


@pytest.mark.parametrize("leap_s", [-86_400.0, -3600.0, 3600.0, 86_400.0])
def test_a_leap_of_the_clock_neither_delays_a_guarantee_nor_shortens_a_run(leap_s: float) -> None:
    world = World()
    ticks = [0.0]
    world.pool.clock = Steady(lambda: ticks[0])

    def turn(now: float) -> None:
        ticks[0] += 1.0
        world.turn(now, forever)

    turn(100_000.0)
    for at in range(NODES):
        world.submit(f"d{at}")
    turn(100_001.0)
    for at in range(NODES):
        world.submit(f"o{at}", "owner")  # before the leap
    turn(100_002.0)
    begun = 100_002.0 + leap_s
    for second in range(1, 100):
        turn(begun + second)
        if second < 50:
            assert world.held("owner") == 0, "they have not run for long enough"
    assert world.held("owner") == NODES


def test_nothing_is_kept_for_who_is_only_over_a_limit_and_then_it_is_first() -> None:
    limit = {"gpu_milli": 8000}
    world = World(Rights(queues={"small": QueueSpec(limit=limit), "default": QueueSpec()}), patience_s=50.0)
    world.submit("first", "small")
    world.turn(0.0)
    submit_old(world, "over", "small", 100.0, rank=LOW)
    world.turn(1.0)
    assert is_late(world, "over")
    for at in range(NODES - 1):
        world.submit(f"d{at}")
    world.turn(2.0)
    assert world.held("default") == NODES - 1, "what it may not have is not kept from others"
    assert reasons(world.pool, "over", 3.0)[0].code == "quota"
    world.submit("after", rank=HIGH)
    world.ends["first"] = 4.0
    world.turn(5.0)
    assert world.held("small") == 1 and "after" not in world.ends


@pytest.mark.parametrize("leap_s", [-86_400.0, 86_400.0])
def test_a_clock_that_nobody_sets_says_how_much_has_passed(leap_s: float) -> None:
    ticks = [50.0]
    steady = Steady(lambda: ticks[0])
    assert steady.see(1e6) == 1e6
    ticks[0] += 7000.0
    assert steady.see(1e6 + 7000) == 1e6 + 7000.0
    ticks[0] += 2.0
    assert steady.see(1e6 + 7002 + leap_s) == pytest.approx(1e6 + 7002)
    assert steady.at(1e6 + 6000) == 1e6 + 6000.0, "what was written down before the leap is read by the clock of then"
    assert steady.at(5.0) == 5.0
    ticks[0] += 10.0
    assert steady.see(1e6 + 7012 + leap_s) == pytest.approx(1e6 + 7012)
    assert steady.at(1e6 + 7010 + leap_s) == pytest.approx(1e6 + 7010)
    assert steady.wall(steady.own(123.0)) == pytest.approx(123.0)


def test_who_waited_before_a_leap_has_waited_as_long_when_all_is_read_again() -> None:
    ticks = [0.0]
    pool = LivePool(replace(LIVE, shared_cap_s=3600.0), ticks=lambda: ticks[0])
    wants = Wants(job="j", workers=(Devices(cpu_milli=1000, gpu_milli=8000),), since_s=1e6)
    pool.put(wants, Truth(phase=Phase.QUEUED), 1e6)
    ticks[0] = 100.0
    pool.decide(1e6 + 100 + 86_400)
    pool.forget_all()
    pool.put(wants, Truth(phase=Phase.QUEUED), 1e6 + 100 + 86_400)
    pool.decide(1e6 + 100 + 86_400)
    assert not pool.seats.tables.pool.jobs[pool.jobs["j"].slot].is_late
    ticks[0] = 3601.0
    pool.decide(1e6 + 3601 + 86_400)
    assert pool.seats.tables.pool.jobs[pool.jobs["j"].slot].is_late
