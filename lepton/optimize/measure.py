"""Measure a model: how long it takes, how often it is right, how large it is. Then choose. `choose` is pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from lepton.core.clock import Clock
from lepton.core.errors import InvalidError

Scorer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Raw 8-bit images (N, H, W) -> scores (N, classes)."""

BATCHES = (1, 32)
WARM_UPS = 10
TURN = 10
"""Calls of one candidate before it is the next one's turn."""
MARGIN = 0.8
"""A later candidate must take at most this share of the time of the one chosen so far: noise decides nothing, so
equal input ends in an equal model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found of one candidate."""

    name: str
    accuracy: float
    size_bytes: int
    latency_ms: tuple[float, ...]
    """Median time of one call for each of `BATCHES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A form of the model that is to be measured."""

    name: str
    score: Scorer
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all candidates of one comparison share."""

    clock: Clock
    labels: npt.NDArray[np.int32]
    repeats: int

    def latencies_ms(
        self, candidates: Sequence[Candidate], image_NHW: npt.NDArray[np.uint8], batch: int
    ) -> list[float]:
        """Median time of a call with `batch` images, for each candidate.

        They take turns, so that a moment when the machine is busy slows all of them and not one.
        """
        images = np.ascontiguousarray(image_NHW[:batch])
        times: list[list[float]] = [[] for _ in candidates]
        for candidate in candidates:
            for _ in range(WARM_UPS):
                candidate.score(images)
        for first in range(0, self.repeats, TURN):
            for candidate, seen in zip(candidates, times, strict=True):
                seen += [self._time(candidate, images) for _ in range(min(TURN, self.repeats - first))]
        return [round(median(seen) * 1000, 4) for seen in times]

    def _time(self, candidate: Candidate, images: npt.NDArray[np.uint8]) -> float:
        began = self.clock.monotonic()
        candidate.score(images)
        return self.clock.monotonic() - began


def measure(candidates: Sequence[Candidate], image_NHW: npt.NDArray[np.uint8], *, bench: Bench) -> list[Measured]:
    """Measure every candidate on held-out images."""
    by_batch = [bench.latencies_ms(candidates, image_NHW, batch) for batch in BATCHES]
    return [
        Measured(
            name=candidate.name,
            accuracy=_accuracy(candidate.score, image_NHW, bench.labels),
            size_bytes=candidate.size_bytes,
            latency_ms=latency_ms,
        )
        for candidate, latency_ms in zip(candidates, zip(*by_batch, strict=True), strict=True)
    ]


def _accuracy(score: Scorer, image_NHW: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32]) -> float:
    guess_N = np.concatenate([score(part).argmax(axis=1) for part in _parts(image_NHW, 256)])
    return float((guess_N == labels).mean())


def choose(baseline: Measured, candidates: Sequence[Measured], *, max_accuracy_loss: float) -> Measured:
    """The fastest candidate that is no less accurate than allowed; speed is the product over all batch sizes.

    Candidates come in order of trust: a later one must be clearly faster (`MARGIN`).

    Raises:
        InvalidError: every candidate loses too much accuracy.
    """
    right = [item for item in candidates if item.accuracy >= baseline.accuracy - max_accuracy_loss - 1e-9]
    if not right:
        best = max(candidates, key=lambda item: item.accuracy)
        raise InvalidError(
            f"The best candidate, {best.name}, reaches {best.accuracy:.2%}; the baseline {baseline.accuracy:.2%}",
            fix="Allow a larger max_accuracy_loss.",
        )
    chosen = right[0]
    for item in right[1:]:
        if _cost(item) <= MARGIN * _cost(chosen):
            chosen = item
    return chosen


def _cost(item: Measured) -> float:
    """Geometric mean of the latencies, so that each batch size counts alike."""
    return float(np.exp(np.log(item.latency_ms).mean()))


def _parts(image_NHW: npt.NDArray[np.uint8], size: int) -> list[npt.NDArray[np.uint8]]:
    return [image_NHW[first : first + size] for first in range(0, len(image_NHW), size)]
