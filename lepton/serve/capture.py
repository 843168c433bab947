"""A sample of what an endpoint was asked and what it said, left in the catalog for the observe station.

Rows are sampled uniformly with a fixed seed (Li 1994, Algorithm L: the cost is per row kept, not per row seen).
"""

import sys
from collections.abc import Mapping
from math import exp, floor, log
from pathlib import Path
from random import Random
from shutil import rmtree
from threading import Thread

import numpy as np

from lepton.core.clock import Clock, to_micros
from lepton.core.context import Context
from lepton.core.errors import LeptonError
from lepton.core.resource import Json
from lepton.serve.model import Array

IDLE_S = 2.0
"""After this long without a request, what there is is published ..."""
IDLE_ROWS = 50
"""... if it is at least this much."""
PAUSE_S = 10.0
"""Between two full samples: under heavy load a sample stands for this long, not for a moment."""


class Reservoir:
    """A uniform sample of at most `capacity` rows of all that were added.

    Args:
        capacity: at least 1.
        random: seeded, so that equal requests give equal samples.
    """

    def __init__(self, capacity: int, random: Random) -> None:
        self.seen = 0
        self._capacity = capacity
        self._random = random
        self._inputs: list[Array] = []
        self._scores: list[Array] = []
        self._weight = 1.0
        self._next = 0
        """The number, counted from 0, of the next row to keep once the sample is full."""

    def add(self, inputs: Array, scores: Array) -> None:
        """Let rows, and what the model said of each, take part in the sample."""
        room = self._capacity - len(self._inputs)
        for row, score in zip(inputs[:room], scores[:room], strict=True):
            self._inputs.append(row.copy())
            self._scores.append(score.copy())
        end = self.seen + len(inputs)
        if room > 0 and len(self._inputs) == self._capacity:
            self._next = self._capacity - 1
            self._skip()
        while len(self._inputs) == self._capacity and self._next < end:
            place = self._random.randrange(self._capacity)
            self._inputs[place] = inputs[self._next - self.seen].copy()
            self._scores[place] = scores[self._next - self.seen].copy()
            self._skip()
        self.seen = end

    def take(self) -> tuple[Array, Array]:
        """The sample; the next begins empty."""
        taken = np.stack(self._inputs), np.stack(self._scores).astype(np.float32)
        self.seen, self._weight, self._inputs, self._scores = 0, 1.0, [], []
        return taken

    def _skip(self) -> None:
        draw = self._random.random
        self._weight *= exp(log(1.0 - draw()) / self._capacity)
        if self._weight >= 1.0:
            self._next += 1
        else:
            self._next += floor(log(1.0 - draw()) / log(1.0 - self._weight)) + 1


class Capture:
    """Decides when a sample is published, and does so in a thread of its own."""

    def __init__(self, ctx: Context, clock: Clock, *, name: str, capacity: int) -> None:
        self._ctx = ctx
        self._clock = clock
        self._name = name
        self._capacity = capacity
        self._reservoir = Reservoir(max(1, capacity), Random(ctx.rank))
        self._first_at = clock.now()
        self._last_s = clock.monotonic()
        self._published_s: float | None = None
        self._count = 0
        self._thread: Thread | None = None

    def add(self, inputs: Array, scores: Array) -> None:
        """Note rows that were answered; call `tick` now and then."""
        if not self._capacity:
            return
        if not self._reservoir.seen:
            self._first_at = self._clock.now()
        self._last_s = self._clock.monotonic()
        self._reservoir.add(inputs, scores)

    def tick(self) -> None:
        """Publish in the background if it is time."""
        if self._is_due() and not (self._thread and self._thread.is_alive()):
            self._publish()

    def close(self, timeout_s: float) -> None:
        """Publish what is worth it, and wait for it, but not for longer than that."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._reservoir.seen >= IDLE_ROWS and not (self._thread and self._thread.is_alive()):
            self._publish().join(timeout_s)

    def _is_due(self) -> bool:
        now = self._clock.monotonic()
        seen = self._reservoir.seen
        if now - self._last_s >= IDLE_S and seen >= min(IDLE_ROWS, max(1, self._capacity)):
            return True
        is_rested = self._published_s is None or now - self._published_s >= PAUSE_S
        return seen >= self._capacity > 0 and is_rested

    def _publish(self) -> Thread:
        self._published_s = self._clock.monotonic()
        self._count += 1
        seen = self._reservoir.seen
        inputs, scores = self._reservoir.take()
        meta: Mapping[str, Json] = {
            "rows": len(inputs),
            "seen": seen,
            "from": to_micros(self._first_at),
            "until": to_micros(self._clock.now()),
        }
        folder = self._ctx.folder / f"capture-{self._count}"
        self._thread = Thread(target=self._write, args=(folder, inputs, scores, meta), name="capture", daemon=True)
        self._thread.start()
        return self._thread

    def _write(self, folder: Path, inputs: Array, scores: Array, meta: Mapping[str, Json]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / "inputs.npy", inputs)
            np.save(folder / "outputs.npy", scores)
            self._ctx.publish(kind="capture", name=self._name, folder=folder, meta=meta)
        except (LeptonError, OSError) as fault:
            sys.stderr.write(f"serve: a capture of {len(inputs)} rows is lost: {fault}\n")
        finally:
            rmtree(folder, ignore_errors=True)
