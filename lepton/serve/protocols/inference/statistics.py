"""What was asked of each model and how long it took, as the statistics extension of the protocol tells it.

A replica counts for itself; what a client is told is the sum over all replicas of the endpoint on the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any

import orjson

from lepton.core.errors import NotFoundError, clip

Pair = list[int]
"""How often, and nanoseconds in all."""
PHASES = ("success", "fail", "compute_input", "compute_infer", "compute_output")


class Tally:
    """Of one model in one replica. Times are in nanoseconds."""

    def __init__(self) -> None:
        self.phases: dict[str, Pair] = {phase: [0, 0] for phase in PHASES}
        self.batches: dict[int, Pair] = {}
        """Rows of a computation -> how many there were of that size."""
        self.rows = 0
        self.last_ms = 0
        """When the last request came, since 1970."""

    def computed(self, rows: int, took_ns: int) -> None:
        """Count one computation."""
        pair = self.batches.setdefault(rows, [0, 0])
        pair[0] += 1
        pair[1] += took_ns

    def answered(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count one request that got its outputs."""
        self.rows += rows
        self.last_ms = time_ns() // 1_000_000
        spans = (input_ns + infer_ns + output_ns, 0, input_ns, infer_ns, output_ns)
        for (phase, pair), took_ns in zip(self.phases.items(), spans, strict=True):
            if phase != "fail":
                pair[0] += 1
                pair[1] += took_ns

    def together(self, rows: Sequence[int], found: Sequence[Any], took_ns: int) -> None:
        """Count requests that were computed together, and were read and written by others.

        Args:
            rows: of each.
            found: of each what came of it; an exception is a failure.
        """
        for count, one in zip(rows, found, strict=True):
            if isinstance(one, Exception):
                self.failed(took_ns)
            else:
                self.answered(count, 0, took_ns, 0)

    def failed(self, took_ns: int) -> None:
        """Count one request that got an error."""
        self.last_ms = time_ns() // 1_000_000
        pair = self.phases["fail"]
        pair[0] += 1
        pair[1] += took_ns

    def to_json(self) -> dict[str, Any]:
        """For another replica."""
        batches = {str(size): pair for size, pair in self.batches.items()}
        return {"phases": self.phases, "batches": batches, "rows": self.rows, "last_ms": self.last_ms}

    def add(self, plain: Mapping[str, Any]) -> None:
        """Count what another replica has counted."""
        for phase, (count, took_ns) in plain["phases"].items():
            _add(self.phases[phase], count, took_ns)
        for size, (count, took_ns) in plain["batches"].items():
            _add(self.batches.setdefault(int(size), [0, 0]), count, took_ns)
        self.rows += plain["rows"]
        self.last_ms = max(self.last_ms, plain["last_ms"])

    def told(self, name: str, version: str) -> dict[str, Any]:
        """As the protocol tells it. What nobody measures here - queue, caches - is told as none."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.rows,
            "execution_count": sum(count for count, _ in self.batches.values()),
            "inference_stats": {phase: _told(pair) for phase, pair in self.phases.items()},
            "batch_stats": [
                {"batch_size": size, "compute_infer": _told(pair)} for size, pair in sorted(self.batches.items())
            ],
        }


def _add(pair: Pair, count: int, took_ns: int) -> None:
    pair[0] += count
    pair[1] += took_ns


def _told(pair: Pair) -> dict[str, int]:
    return {"count": pair[0], "ns": pair[1]}


def dump(tallies: Mapping[str, Tally]) -> bytes:
    """What a replica has counted, by model, for the others."""
    return orjson.dumps({name: tally.to_json() for name, tally in tallies.items()})


def summed(answers: Iterable[bytes], names: Iterable[str]) -> dict[str, Tally]:
    """Model -> what all replicas have counted. `answers`: what `dump` made of each."""
    found = {name: Tally() for name in names}
    for answer in answers:
        for name, plain in orjson.loads(answer or b"{}").items():
            if name in found:
                found[name].add(plain)
    return found


def read_path(path: str) -> tuple[str, str]:
    """Name and version in `/v2/models/[NAME/[versions/V/]]stats`; empty: any.

    Raises:
        NotFoundError: it is no such path.
    """
    parts = path.strip("/").split("/")[2:-1]
    if len(parts) in (0, 1):
        return (parts or [""])[0], ""
    if len(parts) == 3 and parts[1] == "versions":
        return parts[0], parts[2]
    raise NotFoundError(f"{clip(path, 80)} is not known", fix="GET /v2/models/NAME/stats.")
