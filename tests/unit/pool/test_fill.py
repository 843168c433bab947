"""Devices shared by fractions: nothing is overfilled, and published baselines come out where they were published."""

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.pool.fill import HOW, Machine, Task, fill, machines_as_rows, tasks_as_rows
from lepton.pool.kernel import shares
from lepton.store.pods import read_machines, read_pods

OPENB = Path(__file__).parents[4] / "shared/data/traces/alibaba-gpu-v2023"
KINDS = {"": 0, "T4": 1, "V100": 2}

machines = st.builds(
    Machine,
    cpu_milli=st.integers(0, 20_000),
    memory_mib=st.integers(0, 20_000),
    gpus=st.integers(0, 8),
    model=st.sampled_from(sorted(KINDS)),
)
amounts = {"cpu_milli": st.integers(0, 9_000), "memory_mib": st.integers(0, 9_000)}
models = st.sampled_from([(), ("T4",), ("T4", "V100"), ("H100",)])
tasks = (
    st.builds(Task, **amounts, gpus=st.just(1), gpu_milli=st.integers(200, 1000), models=models)
    | st.builds(Task, **amounts, gpus=st.integers(2, 9), gpu_milli=st.just(1000), models=models)
    | st.builds(Task, **amounts, gpus=st.just(0), gpu_milli=st.just(0), models=models)
)


@settings(max_examples=200, deadline=None)
@given(
    has=st.lists(machines, min_size=1, max_size=6),
    wants=st.lists(tasks, min_size=1, max_size=6),
    how=st.sampled_from(sorted(HOW)),
    seed=st.integers(0, 100),
)
def test_nothing_is_overfilled_and_what_is_left_fits_no_task(
    has: list[Machine], wants: list[Task], how: str, seed: int
) -> None:
    rows, index = tasks_as_rows(wants, KINDS)
    fleet = shares.fleet_of(machines_as_rows(has, KINDS), rows)
    arrivals = np.concatenate([index[np.random.default_rng(seed).integers(0, len(wants), 60)], np.repeat(index, 300)])
    asked, given_milli = shares.fill(fleet, arrivals, float("inf"), HOW[how])
    assert (fleet.free >= 0).all() and (fleet.machines.cpu >= 0).all() and (fleet.machines.memory >= 0).all()
    assert given_milli == 1000 * sum(machine.gpus for machine in has) - fleet.free.sum() <= asked
    for at, task in enumerate(rows):
        if task.devices or task.cpu >= 500 or task.memory >= 500:  # 300 of it were refused one at least
            assert not any(shares.fits(fleet.machines[node], fleet.free[node], rows[at]) for node in range(len(has)))


@settings(max_examples=50, deadline=None)
@given(has=st.lists(machines, min_size=1, max_size=5), wants=st.lists(tasks, min_size=1, max_size=5))
def test_trying_a_task_changes_nothing(has: list[Machine], wants: list[Task]) -> None:
    rows, _ = tasks_as_rows(wants, KINDS)
    fleet = shares.fleet_of(machines_as_rows(has, KINDS), rows)
    before = fleet.machines.copy(), fleet.free.copy()
    for node in range(len(has)):
        for task in rows:
            if shares.fits(fleet.machines[node], fleet.free[node], task):
                shares.cost(fleet, node, task, shares.OURS)
    assert (fleet.machines == before[0]).all() and (fleet.free == before[1]).all()


def test_a_fraction_joins_what_is_begun_and_a_kind_is_kept() -> None:
    two = [Machine(cpu_milli=64_000, memory_mib=9_999, gpus=2, model=model) for model in ("T4", "V100")]
    half = Task(cpu_milli=1, memory_mib=1, gpus=1, gpu_milli=500, models=("T4",))
    found = fill(two, [half], "lepton", seed=1)
    assert found.given == 0.5 and found.asked >= 1.3
    whole = Task(cpu_milli=1, memory_mib=1, gpus=2, gpu_milli=1000)
    rows, index = tasks_as_rows([half, half, whole], KINDS)
    fleet = shares.fleet_of(machines_as_rows(two, KINDS), rows)
    assert shares.fill(fleet, index, float("inf"), shares.OURS) == (3000, 3000)
    assert sorted(fleet.free.ravel()) == [0, 0, 0, 1000], "both halves share one device"


def test_without_devices_there_is_nothing_to_fill() -> None:
    with pytest.raises(ValueError, match="no machine with a GPU"):
        fill(
            [Machine(cpu_milli=1, memory_mib=1, gpus=0)],
            [Task(cpu_milli=1, memory_mib=1, gpus=1, gpu_milli=1)],
            "fgd",
            seed=1,
        )


@pytest.mark.skipif(not OPENB.exists(), reason="the openb lists are not beside this checkout")
@pytest.mark.parametrize(
    ("how", "low", "high"), [("best-fit", 6.22, 7.62), ("gpu-packing", 7.0, 9.3), ("lepton", 3.9, 4.7)]
)
def test_published_baselines_come_out_and_ours_leaves_less(how: str, low: float, high: float) -> None:
    pods, _ = read_pods(OPENB / "openb_pod_list_default.csv.gz")
    nodes = read_machines(OPENB / "openb_node_list_gpu_node.csv.gz")
    unused = 100 * fmean(1 - fill(nodes, pods, how, seed=seed).given for seed in (42, 43))
    assert low <= unused <= high
