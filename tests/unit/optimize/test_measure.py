"""The fastest candidate that is no worse wins, and noise decides nothing."""

import numpy as np
import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import InvalidError
from lepton.optimize.measure import Bench, Candidate, Measured, choose, measure


def candidate(name: str, accuracy: float, latency_ms: float) -> Measured:
    return Measured(name=name, accuracy=accuracy, size_bytes=1, latency_ms=(latency_ms, latency_ms))


BASE = candidate("torch", 0.98, 1.0)


@pytest.mark.parametrize(
    ("others", "winner"),
    [
        ([candidate("plain", 0.98, 0.5), candidate("small", 0.979, 0.2)], "small"),
        ([candidate("plain", 0.98, 0.5), candidate("small", 0.97, 0.2)], "plain"),
        ([candidate("plain", 0.98, 0.5), candidate("small", 0.98, 0.45)], "plain"),
        ([candidate("plain", 0.90, 0.5), candidate("small", 0.98, 0.9)], "small"),
    ],
)
def test_the_fastest_that_is_no_worse_wins(others: list[Measured], winner: str) -> None:
    assert choose(BASE, others, max_accuracy_loss=0.002).name == winner


def test_when_all_are_worse_nothing_is_chosen() -> None:
    with pytest.raises(InvalidError, match="small"):
        choose(BASE, [candidate("plain", 0.5, 0.1), candidate("small", 0.6, 0.1)], max_accuracy_loss=0.002)


def test_accuracy_and_median_time_are_measured() -> None:
    clock = ManualClock()
    calls = iter(range(10_000))

    def score(images: np.ndarray) -> np.ndarray:
        clock.advance(0.5 if next(calls) % 5 == 0 else 0.002 * len(images))
        return np.eye(3, dtype=np.float32)[images[:, 0, 0]]

    images = np.zeros((40, 2, 2), np.uint8)
    images[30:] = 1
    bench = Bench(clock=clock, labels=np.zeros(40, np.int32), repeats=9)
    (found,) = measure([Candidate(name="m", score=score, size_bytes=7)], images, bench=bench)
    assert found == Measured(name="m", accuracy=0.75, size_bytes=7, latency_ms=(2.0, 64.0))


def test_a_busy_moment_of_the_machine_slows_all_candidates_alike() -> None:
    clock = ManualClock()

    def score(images: np.ndarray) -> np.ndarray:
        is_busy = clock.monotonic() < 0.6  # over half of the whole time
        clock.advance(0.005 if is_busy else 0.001)
        return np.ones((len(images), 2), np.float32)

    bench = Bench(clock=clock, labels=np.zeros(1, np.int32), repeats=200)
    images = np.zeros((1, 2, 2), np.uint8)
    pair = [Candidate(name=name, score=score, size_bytes=1) for name in ("a", "b")]
    one, other = bench.latencies_ms(pair, images, 1)
    assert one == other
