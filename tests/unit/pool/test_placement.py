"""Placement as a pure function."""

from hypothesis import given
from hypothesis import strategies as st

from lepton.core.launch import Devices
from lepton.pool.node import Node
from lepton.pool.placement import Ask, Snapshot, decide, never_fits, tightest


def node(name: str, cpus: int = 4, gpus: int = 0, *, is_up: bool = True) -> Node:
    has = Devices(cpu_milli=cpus * 1000, gpu_milli=gpus * 1000, memory_bytes=1 << 30)
    return Node(name=name, total=has, free=has, free_gpus=tuple(range(gpus)), is_up=is_up)


def ask(job: str, *cpus: float, gpus: int = 0, waited_s: float = 0) -> Ask:
    workers = tuple(Devices(cpu_milli=int(c * 1000), gpu_milli=gpus * 1000) for c in cpus)
    return Ask(job=job, workers=workers, since_s=-waited_s)


def test_a_gang_gets_all_places_or_none() -> None:
    plan = decide(Snapshot(nodes=[node("a", 2)], queue=[ask("big", 1, 1, 1), ask("small", 1)]))
    assert plan.starts.keys() == {"small"}
    assert "3 workers of 1 CPU" in plan.waits["big"]


def test_the_fullest_node_that_fits_is_taken() -> None:
    assert tightest([node("a", 4), node("b", 2), node("c", 1)], Devices(cpu_milli=2000)) == "b"


def test_gpus_are_given_by_index_and_only_once() -> None:
    plan = decide(
        Snapshot(nodes=[node("a", 4, gpus=3)], queue=[ask("x", 1, gpus=2), ask("y", 1, gpus=1), ask("z", 1, gpus=1)])
    )
    assert [plan.starts[job][0].gpus for job in ("x", "y")] == [(0, 1), (2,)]
    assert "z" in plan.waits


def test_a_node_that_is_down_gets_nothing() -> None:
    plan = decide(Snapshot(nodes=[node("a", is_up=False)], queue=[ask("x", 1)]))
    assert plan.waits == {"x": "no node is up"}


def test_who_waited_too_long_is_passed_by_no_more() -> None:
    queue = [ask("old", 3, waited_s=601), ask("young", 1)]
    plan = decide(Snapshot(nodes=[node("a", 2)], queue=queue))
    assert not plan.starts
    assert "old" in plan.waits["young"]


def test_what_can_never_fit_is_known_at_once() -> None:
    full = Node(name="a", total=Devices(cpu_milli=2000), free=Devices(cpu_milli=0))
    assert never_fits(ask("x", 2), [full]) is None
    assert "2.5 CPU" in str(never_fits(ask("x", 2.5), [full]))


jobs = st.lists(st.lists(st.sampled_from([0.5, 1, 2, 3]), min_size=1, max_size=4), max_size=12)


@given(jobs=jobs, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), gpus=st.integers(0, 2))
def test_no_node_is_overfilled_and_nobody_is_forgotten(jobs: list[list[float]], sizes: list[int], gpus: int) -> None:
    nodes = [node(f"n{i}", cpus, gpus) for i, cpus in enumerate(sizes)]
    asks = [ask(f"j{i}", *workers, gpus=i % 2 if gpus else 0) for i, workers in enumerate(jobs)]
    plan = decide(Snapshot(nodes=nodes, queue=asks))
    assert plan.starts.keys() | plan.waits.keys() == {a.job for a in asks}
    assert not plan.starts.keys() & plan.waits.keys()
    used = {n.name: 0 for n in nodes}
    held: dict[str, list[int]] = {n.name: [] for n in nodes}
    for a in asks:
        for place, need in zip(plan.starts.get(a.job, ()), a.workers, strict=False):
            used[place.node] += need.cpu_milli
            held[place.node] += place.gpus
    assert all(used[n.name] <= n.total.cpu_milli for n in nodes)
    assert all(len(set(gpus)) == len(gpus) for gpus in held.values())


@given(jobs=jobs)
def test_equal_snapshots_give_equal_plans(jobs: list[list[float]]) -> None:
    snapshot = Snapshot(nodes=[node("a"), node("b", 2)], queue=[ask(f"j{i}", *w) for i, w in enumerate(jobs)])
    assert decide(snapshot) == decide(snapshot)
