"""What could never run is refused, with the largest thing that would fit; what could run is not."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.core.launch import Devices
from lepton.pool.shape import (
    Alike,
    Bound,
    Gang,
    Machine,
    check_devices,
    common_labels,
    fits_only_with,
    given_of,
    in_words,
    never_fits,
    never_within,
    unused_of,
)

GPUS = Machine(
    name="g1",
    total=Devices(cpu_milli=64_000, gpu_milli=8000, memory_bytes=64 << 30),
    labels={"gpu_model": "a100", "rack": "r1"},
)
OTHER = Machine(
    name="g2",
    total=Devices(cpu_milli=16_000, gpu_milli=4000, memory_bytes=16 << 30),
    labels={"gpu_model": "v100", "rack": "r2"},
)
PLAIN = Machine(name="c1", total=Devices(cpu_milli=96_000, memory_bytes=1 << 30))
POOL = (GPUS, OTHER, PLAIN)


TWO_KINDS = Devices(cpu_milli=8000, gpu_milli=1000, fpga_milli=2000)
"""What a node has that gives away the first of them."""


def gang(count: int = 1, *, within: str = "", labels: Any = None, **devices: int) -> Gang:
    return Gang((Alike(count=count, devices=Devices(**devices), labels=labels or {}),), within)


@pytest.mark.parametrize(
    ("asked", "why", "fix"),
    [
        (
            gang(gpu_milli=9000),
            "needs 9 GPUs, 1 CPU; the largest that fits is 8 GPUs, 1 CPU, on g1",
            "at most 1 such",
        ),
        (gang(cpu_milli=97_000), "the largest that fits is 96 CPUs, on c1", "Ask for 96 CPUs or less for each worker"),
        (gang(gpu_milli=4000, cpu_milli=65_000), "the largest that fits is 4 GPUs, 64 CPUs, on g1", "at most 1 such"),
        (gang(5, gpu_milli=8000, memory_bytes=1 << 40), "is 8 GPUs, 1 CPU, 64.0 GiB, on g1", "at most 1 such"),
        (
            gang(4, gpu_milli=4000),
            "4 workers of 4 GPUs, 1 CPU; 3 such fit at once on nodes",
            "Ask for 3 workers",
        ),
        (gang(3, gpu_milli=4000, within="rack"), "2 such fit at once on nodes with the same rack", "Ask for 2 workers"),
        (gang(37, gpu_milli=300), "36 such fit at once", "Ask for 36 workers or fewer"),
        (gang(tpu_milli=1000), "no node has TPUs", "add a node"),
        (
            gang(gpu_milli=1000, labels={"gpu_model": "t4"}),
            "no node has the label gpu_model=t4; there are a100, v1",
            "",
        ),
        (gang(labels={"gpu_model": "a100", "rack": "r2"}), "has all of the labels gpu_model=a100, rack=r2", ""),
        (gang(fpga_milli=500, labels={"rack": "r1"}), "no node with these labels has FPGAs", ""),
        (gang(within="island"), "no node has the label island", "Name another label"),
        (gang(gpu_milli=0, cpu_milli=65_000, within="rack"), "largest that fits is 64 CPUs, on g1", ""),
    ],
)
def test_what_could_never_run_is_refused_with_the_largest_that_would(asked: Gang, why: str, fix: str) -> None:
    found = never_fits(asked, POOL)
    assert found is not None
    assert why in found.why
    assert fix in found.fix


@pytest.mark.parametrize(
    "asked",
    [
        gang(gpu_milli=8000, cpu_milli=64_000),
        gang(3, gpu_milli=4000),
        gang(36, gpu_milli=300),
        gang(176, cpu_milli=1000),
        gang(2, gpu_milli=4000, within="rack"),
        gang(gpu_milli=1000, labels={"gpu_model": "v100", "rack": "r2"}),
    ],
)
def test_what_just_fits_is_not_refused(asked: Gang) -> None:
    assert never_fits(asked, POOL) is None


def test_workers_of_two_kinds_must_fit_in_sum() -> None:
    front, workers = Alike(devices=Devices(cpu_milli=500)), Alike(count=2, devices=Devices(cpu_milli=1000))
    node = Machine(name="n", total=Devices(cpu_milli=2000))
    found = never_fits(Gang((front, workers)), [node])
    assert found is not None and "its 3 workers need 2.5 CPUs together; nodes have 2 CPUs" in found.why
    assert never_fits(Gang((front, workers)), [node, node]) is None


def test_a_node_that_is_not_open_counts_and_is_named() -> None:
    cordoned = Machine(name=GPUS.name, total=GPUS.total, state="cordoned")
    asked = gang(gpu_milli=8000)
    assert never_fits(asked, [cordoned, OTHER]) is None
    assert fits_only_with(asked, [cordoned, OTHER]).endswith("not open now: g1 is cordoned")
    assert fits_only_with(asked, [GPUS, OTHER]) == fits_only_with(gang(gpu_milli=4000), [cordoned, OTHER]) == ""
    found = never_fits(gang(gpu_milli=9000), [cordoned, OTHER])
    assert found is not None and found.why.endswith("on g1, which is cordoned")


@pytest.mark.parametrize(
    ("asked", "why", "fix"),
    [
        (gang(gpu_milli=5000), "it asks for 5 GPUs, and queue 'ml' may hold 4 GPUs", "Ask for 4 GPUs or less in all"),
        (gang(3, gpu_milli=2000), "6 GPUs in all, and queue 'ml' may hold 4 GPUs", "Ask for 2 such workers or fewer"),
        (gang(3, gpu_milli=1000, cpu_milli=2000), "6 CPUs in all, and user 'ada' may hold 5 CPUs", "2 such workers"),
    ],
)
def test_a_job_over_a_limit_alone_can_never_run(asked: Gang, why: str, fix: str) -> None:
    bounds = [Bound("queue 'ml'", {"gpu_milli": 4000}), Bound("user 'ada'", {"cpu_milli": 5000})]
    found = never_within(asked, bounds)
    assert found is not None
    assert why in found.why
    assert fix in found.fix
    assert never_within(gang(2, gpu_milli=2000, cpu_milli=2500), bounds) is None


def test_a_worker_has_one_kind_of_accelerator_and_a_part_only_of_one() -> None:
    for fine in ({"gpu_milli": 250}, {"tpu_milli": 3000}, {}):
        check_devices(Devices(**fine))
    with pytest.raises(InvalidError, match=r"1\.5 GPUs"):
        check_devices(Devices(gpu_milli=1500))
    with pytest.raises(InvalidError, match="GPUs and TPUs"):
        check_devices(Devices(gpu_milli=1000, tpu_milli=1000))


def test_workers_of_one_job_stand_on_nodes_that_are_alike() -> None:
    front, worker = Alike(devices=Devices()), Alike(devices=Devices(gpu_milli=1000), labels={"gpu_model": "a100"})
    assert common_labels([front, worker]) == {"gpu_model": "a100"}
    with pytest.raises(InvalidError, match="gpu_model=a100 and with gpu_model=v100"):
        common_labels([worker, Alike(devices=Devices(), labels={"gpu_model": "v100"})])
    with pytest.raises(InvalidError, match="GPUs and TPUs"):
        common_labels([worker, Alike(devices=Devices(tpu_milli=1000))])


def test_a_node_gives_away_whole_devices_of_one_kind() -> None:
    assert given_of(Devices(cpu_milli=500, gpu_milli=2500, tpu_milli=4000)) == Devices(cpu_milli=500, gpu_milli=2000)
    assert given_of(Devices(fpga_milli=1000)) == Devices(fpga_milli=1000)


NEEDS = st.builds(
    lambda cpu, gpu: Devices(cpu_milli=cpu * 1000, gpu_milli=gpu),
    st.integers(1, 3),
    st.sampled_from([0, 300, 500, 700, 1000, 2000]),
)
MACHINES = st.lists(
    st.builds(
        lambda cpu, gpu, rack: Machine(
            name=f"{cpu}{gpu}",
            total=Devices(cpu_milli=cpu * 1000, gpu_milli=gpu * 1000),
            labels={"rack": rack} if rack else {},
        ),
        st.integers(1, 4),
        st.integers(0, 2),
        st.sampled_from(["", "a", "b"]),
    ),
    min_size=1,
    max_size=3,
)


def placed(needs: Sequence[Devices], machines: Sequence[Machine]) -> bool:
    """Whether the workers fit: by trying every node and device for each."""
    free = [(machine.total.cpu_milli, (1000,) * (machine.total.gpu_milli // 1000)) for machine in machines]
    return _placed(list(needs), free)


def _placed(needs: list[Devices], free: list[tuple[int, tuple[int, ...]]]) -> bool:
    if not needs:
        return True
    need, rest = needs[0], needs[1:]
    for at, (cpu, gpus) in enumerate(free):
        for left in _taken(gpus, need.gpu_milli) if cpu >= need.cpu_milli else ():
            if _placed(rest, [*free[:at], (cpu - need.cpu_milli, left), *free[at + 1 :]]):
                return True
    return False


def _taken(gpus: tuple[int, ...], milli: int) -> Iterator[tuple[int, ...]]:
    """Every different way to take so much of one device, or so many whole ones."""
    whole = sorted(gpus, reverse=True)
    if milli >= 1000 or not milli:
        count = milli // 1000
        if all(gpu == 1000 for gpu in whole[:count]) and len(whole) >= count:
            yield (*whole[count:], *([0] * count))
        return
    for left in {gpu for gpu in whole if gpu >= milli}:
        at = whole.index(left)
        yield (*whole[:at], left - milli, *whole[at + 1 :])


@given(NEEDS, st.integers(1, 4), MACHINES, st.sampled_from(["", "rack"]))
@settings(max_examples=200, deadline=None)
def test_a_gang_of_equals_is_refused_exactly_if_no_way_of_placing_it_exists(
    need: Devices, count: int, machines: list[Machine], within: str
) -> None:
    racks: dict[str, list[Machine]] = {}
    for machine in machines:
        racks.setdefault(machine.labels.get("rack", ""), []).append(machine)
    groups = [group for rack, group in racks.items() if rack] if within else [machines]
    can_run = any(placed([need] * count, group) for group in groups)
    asked = Gang((Alike(count=count, devices=need),), within)
    assert (never_fits(asked, machines) is None) == can_run


@given(st.lists(st.tuples(NEEDS, st.integers(1, 2)), min_size=1, max_size=2), MACHINES)
@settings(max_examples=150, deadline=None)
def test_nothing_that_could_run_is_refused(kinds: list[tuple[Devices, int]], machines: list[Machine]) -> None:
    asked = Gang(tuple(Alike(count=count, devices=need) for need, count in kinds))
    if placed([need for need, count in kinds for _ in range(count)], machines):
        assert never_fits(asked, machines) is None


def test_a_part_of_a_device_that_a_node_has_is_none_to_give_away() -> None:
    half = [Machine(name="n", total=given_of(Devices(cpu_milli=4000, gpu_milli=500)))]
    found = never_fits(Gang((Alike(devices=Devices(gpu_milli=500)),)), half)
    assert found is not None and (found.why, found.fix) == ("no node has GPUs", "Ask for no GPUs, or add a node.")
    more = [Machine(name="n", total=given_of(Devices(cpu_milli=4000, gpu_milli=1500)))]
    found = never_fits(Gang((Alike(devices=Devices(gpu_milli=2000)),)), more)
    assert (
        found is not None and found.fix == "Ask for 1 GPU, 1 CPU or less for each worker; at most 1 such run at once."
    )


@pytest.mark.parametrize(
    ("device", "amount", "says"),
    [
        ("gpu_milli", 500, "0.5 GPU"),
        ("gpu_milli", 0, "0 GPUs"),
        ("cpu_milli", 1000, "1 CPU"),
        ("tpu_milli", 1500, "1.5 TPUs"),
    ],
)
def test_amounts_in_words(device: str, amount: int, says: str) -> None:
    assert in_words(device, amount) == says


def test_what_is_there_and_not_given_away_is_refused_by_name() -> None:
    both = Machine(name="b1", total=given_of(TWO_KINDS), unused=unused_of(TWO_KINDS))
    found = never_fits(gang(fpga_milli=1000), [PLAIN, both])
    assert found is not None and found.why == "b1 has FPGAs beside GPUs, and a node gives away one kind of device"
    assert never_fits(gang(gpu_milli=1000), [PLAIN, both]) is None
    assert never_fits(gang(fpga_milli=1000), [both, Machine(name="f1", total=Devices(fpga_milli=1000))]) is None
