"""The capture is a fair, repeatable sample, and is published when it should be."""

import shutil
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.clock import ManualClock
from lepton.core.errors import UnavailableError
from lepton.serve.capture import IDLE_ROWS, IDLE_S, PAUSE_S, Capture, Reservoir


def rows(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.arange(first, first + count, dtype=np.int64)
    return numbers[:, None], numbers[:, None].astype(np.float32)


@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_the_sample_holds_distinct_rows_that_were_seen_with_their_own_scores(capacity: int, sizes: list[int]) -> None:
    reservoir = Reservoir(capacity, Random(1))
    for size in sizes:
        reservoir.add(*rows(reservoir.seen, size))
    inputs, scores = reservoir.take()
    assert len(inputs) == min(capacity, sum(sizes)) == len(set(inputs[:, 0].tolist()))
    assert (inputs < sum(sizes)).all()
    assert (inputs == scores).all()
    assert reservoir.seen == 0


def test_every_row_has_the_same_chance_however_the_rows_are_batched() -> None:
    counts = np.zeros(40)
    for seed in range(2000):
        reservoir = Reservoir(8, Random(seed))
        for first in range(0, 40, 5):
            reservoir.add(*rows(first, 5))
        counts[reservoir.take()[0][:, 0]] += 1
    expected = 2000 * 8 / 40
    assert np.abs(counts - expected).max() < 5 * expected**0.5


class Shelf:
    """A context that keeps what is published."""

    def __init__(self, folder: Path) -> None:
        self.rank, self.folder, self.got = 1, folder / "scratch", []

    def publish(self, *, kind: str, name: str, folder: Path, meta: dict[str, Any]) -> str:
        kept = self.folder.parent / f"kept-{len(self.got)}"
        shutil.copytree(folder, kept)
        self.got.append(SimpleNamespace(kind=kind, name=name, meta=meta, folder=kept))
        return "ver"


def settle(capture: Capture) -> None:
    capture.tick()
    if capture._thread is not None:
        capture._thread.join(5)


def test_full_samples_are_published_with_pauses_and_small_ones_when_idle(tmp_path: Path) -> None:
    shelf, clock = Shelf(tmp_path), ManualClock()
    capture = Capture(shelf, clock, name="digits", capacity=60)  # type: ignore[arg-type]
    capture.add(*rows(0, 100))
    settle(capture)
    assert [item.meta["rows"] for item in shelf.got] == [60]
    assert shelf.got[0].meta["seen"] == 100
    capture.add(*rows(100, 100))
    settle(capture)
    assert len(shelf.got) == 1, "too soon after the last"
    clock.advance(PAUSE_S)
    settle(capture)
    assert len(shelf.got) == 2
    capture.add(*rows(0, IDLE_ROWS - 1))
    clock.advance(IDLE_S)
    settle(capture)
    assert len(shelf.got) == 2, "too few to be worth it"
    capture.add(*rows(0, 1))
    settle(capture)
    assert len(shelf.got) == 2, "not idle"
    clock.advance(IDLE_S)
    settle(capture)
    assert [item.meta["rows"] for item in shelf.got] == [60, 60, IDLE_ROWS]
    assert np.load(shelf.got[2].folder / "outputs.npy").dtype == np.float32
    assert not list(shelf.folder.iterdir()), "nothing is left behind"


def test_a_server_that_is_away_costs_the_sample_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Away(Shelf):
        def publish(self, **_: Any) -> str:
            raise UnavailableError("away")

    capture = Capture(Away(tmp_path), ManualClock(), name="digits", capacity=60)  # type: ignore[arg-type]
    capture.add(*rows(0, 60))
    settle(capture)
    capture.add(*rows(0, 60))
    capture.close(5)
    assert "a capture of 60 rows is lost: away" in capsys.readouterr().err


def test_no_capture_keeps_nothing(tmp_path: Path) -> None:
    shelf, clock = Shelf(tmp_path), ManualClock()
    capture = Capture(shelf, clock, name="digits", capacity=0)  # type: ignore[arg-type]
    capture.add(*rows(0, 100))
    clock.advance(PAUSE_S)
    settle(capture)
    capture.close(1)
    assert shelf.got == []
