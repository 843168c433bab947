"""The picture of the pool on a terminal."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from lepton.cli.pool import node_row
from lepton.cli.top import in_tree, picture, sections, shared, watch, way_words

SPEC = {"parent": "", "guarantee": {}, "limit": {}, "weight": 1, "workspaces": []}
STATUS = {"held": {}, "jobs": 0, "waiting": 0, "longest_wait_s": 0.0}


def queue(name: str, parent: str = "") -> dict[str, Any]:
    return {"name": name, "spec": {**SPEC, "parent": parent}, "status": STATUS}


POOL: dict[str, Any] = {
    "devices": {
        "gpu_milli": {"total": 16_000, "up": 8000, "held": 2500},
        "memory_bytes": {"total": 0, "up": 0, "held": 0},
    },
    "nodes": {"failed": 1, "up": 1},
    "jobs": {},
    "queues": [queue("a", "c"), queue("b"), queue("c"), queue("d", "a")],
    "quotas": [{"name": "user:ada", "spec": {"limit": {"gpu_milli": 4000}}, "status": {"held": {}}}],
    "way": {"stops": True, "adapts": False, "since": None, "tried_after": 0, "next_after": 200},
    "decisions": [
        {"at": "2026-01-01T10:20:30+00:00", "verb": "drain", "kind": "node", "subject": "nod_1", "why": f"\x1b[2J{n}"}
        for n in range(50)
    ],
}


def test_queues_stand_below_the_one_above_them() -> None:
    assert [(queue["name"], depth) for queue, depth in in_tree(POOL["queues"])] == [
        ("b", 0),
        ("c", 0),
        ("a", 1),
        ("d", 2),
    ]


def test_which_way_pays_is_said_with_how_that_is_known() -> None:
    after = {"stops": False, "adapts": True, "since": "2026", "tried_after": 1205, "next_after": 2108}
    goes = "stops by key: yes, size by wait: no"
    assert [*sections(POOL)][-1][0] == f"last decisions ({goes}; a rule of thumb until 200 jobs have ended)"
    assert way_words(after) == ("stops by key: no, size by wait: yes; tried after 1,205 endings, again after 2,108")


def test_what_has_failed_is_not_there_to_be_held() -> None:
    devices = dict(sections(POOL))["nodes: 1 failed, 1 up; jobs: none"]
    assert devices[0] == {"device": "gpus", "held": "2.5", "of": "8", "failed": "8", "share": " 31%", "": "########"}


def test_it_is_drawn_again_and_again_until_ctrl_c_and_fits_the_terminal() -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=100, height=24)
    looks = iter([POOL, POOL])
    seen: list[str] = []

    def pause() -> None:
        seen.append(screen.file.getvalue())  # type: ignore[attr-defined]
        if len(seen) == 2:
            raise KeyboardInterrupt

    watch(lambda: next(looks), screen, pause)
    assert len(seen) == 2 and len(seen[1]) > len(seen[0]) > 0
    assert "last decisions" in seen[0] and "user:ada" in seen[0]
    assert "\x1b[2J" not in seen[0].partition("last decisions")[2]


def test_many_queues_leave_room_for_quotas_and_decisions() -> None:
    screen = Console(file=StringIO(), width=80, height=24)
    screen.print(picture({**POOL, "queues": [queue(f"q{at}") for at in range(31)]}, 24))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "user:ada" in text and "nod_1" not in text and "drain" in text
    assert "queues (2" in text and " more: a higher terminal" in text and len(text.splitlines()) <= 24


@pytest.mark.parametrize(
    ("wanted", "lines", "given"),
    [([1, 31, 1, 20], 12, [1, 5, 1, 5]), ([2, 2], 10, [2, 2]), ([9, 9], 5, [2, 3]), ([3], -1, [0])],
)
def test_lines_are_shared_evenly(wanted: list[int], lines: int, given: list[int]) -> None:
    assert shared(wanted, lines) == given


def test_of_two_kinds_of_accelerator_a_node_gives_away_one() -> None:
    status = {"devices": {"gpu_milli": 8000, "tpu_milli": 2000}, "free": {"gpu_milli": 1000, "tpu_milli": 0}}
    node = {"name": "n", "state": "up", "status": {**status, "jobs": 0}}
    for part in ("devices", "free"):
        status[part]["memory_bytes"] = 0
    row = node_row(node, ["gpu_milli", "tpu_milli"])
    assert row["gpus free"] == "1 of 8" and row["tpus free"] == "2 unused"
