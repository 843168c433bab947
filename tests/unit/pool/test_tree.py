"""The tree of queues: what may stand in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.pool.quota import DEEPEST, QueueSpec
from lepton.pool.tree import check_tree, guaranteed, line


def queue(parent: str = "", guarantee: int = 0, limit: int = 0) -> QueueSpec:
    return QueueSpec(
        parent=parent,
        guarantee={"gpu_milli": guarantee} if guarantee else {},
        limit={"gpu_milli": limit} if limit else {},
    )


def chain(length: int) -> dict[str, QueueSpec]:
    return {str(level): queue(str(level - 1) if level else "") for level in range(length)}


def test_queues_stand_four_above_one_another_and_no_more() -> None:
    check_tree(chain(DEEPEST))
    assert list(line(chain(DEEPEST), "3")) == ["3", "2", "1", "0"]
    with pytest.raises(InvalidError, match="5th of a line: 4 < 3 < 2 < 1 < 0"):
        check_tree(chain(DEEPEST + 1))


@pytest.mark.parametrize(
    ("queues", "says"),
    [
        ({"a": queue("b")}, "no queue 'b' above it"),
        ({"a": queue("a")}, "above itself"),
        ({"a": queue("b"), "b": queue("c"), "c": queue("a")}, "above itself"),
        ({"a": queue("b"), "b": queue("b")}, "above itself"),
        ({"a": queue(guarantee=4000), "b": queue("a", 3000), "c": queue("a", 2000)}, "5 GPUs together, and it has 4"),
        ({"a": queue(limit=4000), "b": queue("a", 3000), "c": queue("a", 2000)}, "5 GPUs together, and it has 4"),
    ],
)
def test_what_cannot_stand_together_is_refused(queues: dict[str, QueueSpec], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        check_tree(queues)


def test_below_a_queue_that_is_promised_nothing_of_a_device_anything_may_be() -> None:
    check_tree({"a": QueueSpec(guarantee={"cpu_milli": 1000}), "b": queue("a", 3000)})
    assert guaranteed([queue(guarantee=3000), queue(guarantee=1000)]) == {"gpu_milli": 4000}


NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.builds(queue, st.one_of(st.just(""), NAMES), st.integers(0, 3), st.integers(3, 9))))
@settings(max_examples=100, deadline=None)
def test_what_is_let_in_is_a_forest_that_keeps_its_promises(queues: dict[str, QueueSpec]) -> None:
    try:
        check_tree(queues)
    except InvalidError:
        return
    for name in queues:
        above, seen = name, []
        while above:
            assert above not in seen
            seen.append(above)
            above = queues[above].parent
        assert len(seen) <= DEEPEST
        promised = sum(below.guarantee.get("gpu_milli", 0) for below in queues.values() if below.parent == name)
        assert promised <= queues[name].guarantee.get("gpu_milli", queues[name].limit["gpu_milli"])
