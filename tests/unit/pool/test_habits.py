"""Where a job goes of all places where it fits: what is left stays useful, files are near, the device suits it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.launch import Devices
from lepton.pool.kernel import fragments, shares, state
from lepton.pool.live.habits import MOST_NODES, Habits
from lepton.pool.live.pool import LivePool
from lepton.pool.live.speeds import LEAST, Speeds
from lepton.pool.live.views import Phase, Truth, Wants
from lepton.pool.policy import LIVE
from lepton.pool.shape import Machine


def machine(name: str, *, cpus: int = 16, gpus: int = 4, model: str = "") -> Machine:
    labels = {"gpu_model": model} if model else {}
    return Machine(name=name, total=Devices(cpu_milli=1000 * cpus, gpu_milli=1000 * gpus), labels=labels)


def wants(
    job: str, *, gpu_milli: int = 1000, cpus: int = 1, count: int = 1, program: str = "", since_s: float = 0.0
) -> Wants:
    need = Devices(cpu_milli=1000 * cpus, gpu_milli=gpu_milli)
    return Wants(job=job, workers=(need,) * count, program=program or job, since_s=since_s, is_pinned=True)


def pool_of(machines: Sequence[Machine]) -> LivePool:
    pool = LivePool(LIVE)
    pool.put_machines(machines, 0.0)
    return pool


def start(pool: LivePool, job: Wants, now: float = 1.0) -> list[str]:
    """Submit a job and let it run; the nodes it got."""
    pool.put(job, Truth(phase=Phase.QUEUED), now)
    places = pool.decide(now).starts.get(job.job, ())
    if places:
        pool.put(job, Truth(phase=Phase.HOLDS, places=places, began_s=now), now)
    return [place.node for place in places]


def end(pool: LivePool, job: Wants, ran_s: float, now: float = 2.0) -> None:
    pool.put(job, Truth(phase=Phase.GONE, ran_s=ran_s), now)


def test_work_without_devices_leaves_cpus_where_devices_need_them() -> None:
    pool = pool_of([machine("a", cpus=64), machine("b", cpus=64)])
    assert start(pool, wants("expected", cpus=8, gpu_milli=4000)) == ["a"]
    assert start(pool, wants("plain", cpus=40, gpu_milli=0)) == ["a"], "its devices are taken: its CPUs are of no use"


def test_a_part_goes_where_it_strands_least() -> None:
    pool = pool_of([machine("poor", cpus=9, gpus=2), machine("rich", cpus=64, gpus=2)])
    for at in range(4):
        job = wants(f"e{at}", gpu_milli=1000, cpus=8)
        start(pool, job)
        end(pool, job, 5.0)
    assert start(pool, wants("part", gpu_milli=500)) == ["poor"], "one of its devices is stranded anyway"


def test_of_equal_nodes_a_program_gets_the_one_that_has_its_files() -> None:
    for count in (1, 2):
        pool = pool_of([machine(f"n{at}", gpus=1) for at in range(6)])
        fillers = [wants(f"f{at}") for at in range(4)]
        for filler in fillers:
            start(pool, filler)
        first = wants("first", count=count, program="train")
        nodes = start(pool, first)
        for job in (first, *fillers):
            end(pool, job, 5.0)
        assert nodes == ["n4", "n5"][:count]
        assert start(pool, wants("other", count=count, since_s=3.0), 3.0) == ["n0", "n1"][:count]
        assert start(pool, wants("again", count=count, program="train", since_s=3.0), 3.0) == nodes


def test_a_program_runs_on_the_device_that_suits_it() -> None:
    pool = pool_of([machine(f"{model}{at}", model=model) for model in ("fast", "slow") for at in range(2)])
    for program, seconds in (("same", {"fast": 100.0, "slow": 110.0}), ("tensor", {"fast": 100.0, "slow": 300.0})):
        for at in range(2 * LEAST):
            model = ("fast", "slow")[at % 2]
            job = replace(wants(f"{program}{at}", program=program), labels=(("gpu_model", model),))
            assert start(pool, job) == [f"{model}0"]
            end(pool, job, seconds[model])
    assert start(pool, wants("idle", program="same")) == ["fast0"], "while there is room everybody gets the fastest"
    start(pool, wants("filler", gpu_milli=4000, count=3))
    left = [row.free for row in pool.seats.tables.pool.nodes]
    assert sorted(left) == [0, 0, 0, 3]
    size, order = wants("any").workers, pool.habits.speeds.order
    assert order(("same", "", size), ["fast", "slow"], is_crowded=True) == ("slow", "fast")
    assert order(("tensor", "", size), ["fast", "slow"], is_crowded=True) == ("fast", "slow")


def test_a_run_that_has_failed_says_nothing_of_its_device() -> None:
    pool = pool_of([machine("fast0", model="fast"), machine("slow0", model="slow")])
    for at in range(2 * LEAST):
        job = replace(wants(f"p{at}", program="p"), labels=(("gpu_model", ("fast", "slow")[at % 2]),))
        start(pool, job)
        pool.put(job, Truth(phase=Phase.GONE, ran_s=(100.0, 0.1)[at % 2], has_failed=bool(at % 2)), 2.0)
    assert pool.habits.speeds.mean_slowdowns() == {}


def test_a_gang_stays_on_devices_of_one_type_if_it_can() -> None:
    pool = pool_of([machine("slow0", model="slow"), *(machine(f"fast{at}", model="fast") for at in range(2))])
    speeds = pool.habits.speeds
    for _ in range(LEAST):
        speeds.learn("any", "fast", 100.0)
        speeds.learn("any", "slow", 200.0)
    assert start(pool, wants("gang", gpu_milli=4000, count=2)) == ["fast0", "fast1"]
    assert start(pool, wants("next", gpu_milli=4000)) == ["slow0"]


def test_nothing_is_said_of_types_that_have_hardly_been_tried() -> None:
    speeds = Speeds()
    for _ in range(LEAST - 1):
        speeds.learn("p", "fast", 1.0)
        speeds.learn("p", "slow", 2.0)
    assert speeds.order("p", ["fast", "slow"], is_crowded=False) == ()
    speeds.learn("p", "fast", 1.0)
    speeds.learn("p", "slow", 2.0)
    assert speeds.order("p", ["slow", "fast", "new"], is_crowded=False) == ("new", "fast", "slow"), (
        "what is new is tried"
    )
    assert math.isclose(speeds.slowdowns("p")["slow"], math.log(3 / 2))


def test_habits_fade_and_are_bounded() -> None:
    habits = Habits()
    old, new = Devices(gpu_milli=500), Devices(gpu_milli=2000)
    habits.came([old] * 2000 + [Devices()])
    habits.came([new] * 2000)
    (first, share), (second, _) = habits.kinds()
    assert (first, second) == (new, old) and share > 0.6
    for at in range(20):
        habits.ran("p", [f"n{at}"])
    assert habits.nodes("p") == tuple(f"n{at}" for at in range(19, 19 - MOST_NODES, -1))
    habits.ran("p", ["a", "a", "b", "b"])
    assert habits.nodes("p")[:5] == ("a", "a", "b", "b", "n19")


AMOUNTS = st.lists(st.sampled_from([0, 100, 400, 500, 1000, 1000]), min_size=1, max_size=8)


@given(AMOUNTS, st.integers(0, 20), st.sampled_from([250, 500, 1000, 2000, 4000]), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_what_is_of_no_use_is_measured_as_when_machines_are_filled(
    free: list[int], cpus: int, gpu_milli: int, cpu_need: int
) -> None:
    live = pool_of([machine("a", cpus=20, gpus=len(free))])
    live.settle(0.0)
    pool = live.seats.tables
    pool.expect([(Devices(cpu_milli=cpu_need, gpu_milli=gpu_milli), 1.0)])
    node = pool.pool.nodes[0]
    node.cpu, node.free = cpus, sum(each == state.WHOLE for each in free)
    pool.pool.shares[0, : len(free)] = free
    node.most = max((each for each in free if each < state.WHOLE), default=0)
    task, its = state.rows(1, shares.TASK), state.rows(1, shares.MACHINE)
    task[0].cpu, task[0].devices, task[0].milli = cpu_need, max(1, gpu_milli // 1000), min(1000, gpu_milli)
    its[0].cpu, its[0].devices = cpus, len(free)
    expected = shares.unusable(its[0], np.array(free, np.int64), task[0], fragments.FILLED)
    assert fragments.unusable(pool.pool, 0, pool.pool.parts[0]) == pytest.approx(expected)


@given(AMOUNTS, st.sampled_from([0, 250, 500, 1000, 2000]))
@settings(max_examples=50, deadline=None)
def test_asking_what_a_place_costs_changes_nothing(held: list[int], gpu_milli: int) -> None:
    pool = pool_of([machine("a", gpus=8), machine("b", gpus=8)])
    for at, amount in enumerate(held):
        start(pool, wants(f"h{at}", gpu_milli=amount))
    job = wants("asks", gpu_milli=gpu_milli)
    pool.put(job, Truth(phase=Phase.QUEUED), 2.0)
    arrays, entry = pool.seats.tables.pool, pool.jobs["asks"]
    assert entry.klass is not None
    part = arrays.parts[arrays.classes[entry.klass.index].part]
    before = [np.copy(each) for each in (arrays.tally, arrays.bits, arrays.shares, arrays.nodes.free, arrays.nodes.cpu)]
    for node in range(2):
        if fragments.fits_on(arrays, node, part):
            fragments.cost(arrays, node, part, entry.place)
    after = (arrays.tally, arrays.bits, arrays.shares, arrays.nodes.free, arrays.nodes.cpu)
    assert all((was == now).all() for was, now in zip(before, after, strict=True))
