"""What was asked of each model and how long it took, as the statistics extension of the protocol tells it.

A replica counts for itself; what a client is told is the sum over all replicas of the endpoint on the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from typing import Any
from urllib.parse import unquote

import orjson

from lepton.core.errors import NotFoundError, clip

Pair = list[int]
"""How often, and nanoseconds in all."""


class Tally:
    """Of one model in one replica. Times are in nanoseconds."""

    __slots__ = ("batches", "fail_ns", "fails", "infer_ns", "input_ns", "last_ns", "output_ns", "requests", "rows")

    def __init__(self) -> None:
        self.requests = self.rows = self.input_ns = self.infer_ns = self.output_ns = 0
        """Of requests that got their outputs."""
        self.fails = self.fail_ns = 0
        """Of requests that got an error."""
        self.last_ns = 0
        """When the last request came, since 1970."""
        self.batches: dict[int, Pair] = {}
        """Rows of a computation -> how many there were of that size."""

    def computed(self, rows: int, took_ns: int) -> None:
        """Count one computation."""
        pair = self.batches.setdefault(rows, [0, 0])
        pair[0] += 1
        pair[1] += took_ns

    def answered(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count one request that got its outputs."""
        self.requests += 1
        self.rows += rows
        self.input_ns += input_ns
        self.infer_ns += infer_ns
        self.output_ns += output_ns
        self.last_ns = time_ns()

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
        self.fails += 1
        self.fail_ns += took_ns
        self.last_ns = time_ns()

    def to_json(self) -> dict[str, Any]:
        """For another replica."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return {**numbers, "last_ns": self.last_ns, "batches": {str(size): pair for size, pair in self.batches.items()}}

    def add(self, plain: Mapping[str, Any]) -> None:
        """Count what another replica has counted."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + plain[name])
        self.last_ns = max(self.last_ns, plain["last_ns"])
        for size, (count, took_ns) in plain["batches"].items():
            pair = self.batches.setdefault(int(size), [0, 0])
            pair[0] += count
            pair[1] += took_ns

    def told(self, name: str, version: str) -> dict[str, Any]:
        """As the protocol tells it. What nobody measures here - queue, caches - is told as none."""
        spans = {"compute_input": self.input_ns, "compute_infer": self.infer_ns, "compute_output": self.output_ns}
        spans["success"] = sum(spans.values())
        stats = {phase: {"count": self.requests, "ns": took_ns} for phase, took_ns in spans.items()}
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ns // 1_000_000,
            "inference_count": self.rows,
            "execution_count": sum(count for count, _ in self.batches.values()),
            "inference_stats": {**stats, "fail": {"count": self.fails, "ns": self.fail_ns}},
            "batch_stats": [
                {"batch_size": size, "compute_infer": {"count": count, "ns": took_ns}}
                for size, (count, took_ns) in sorted(self.batches.items())
            ],
        }


NUMBERS = ("requests", "rows", "input_ns", "infer_ns", "output_ns", "fails", "fail_ns")


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
    parts = [unquote(part) for part in path.strip("/").split("/")[2:-1]]
    if len(parts) in (0, 1):
        return (parts or [""])[0], ""
    if len(parts) == 3 and parts[1] == "versions":
        return parts[0], parts[2]
    raise NotFoundError(f"{clip(path, 80)} is not known", fix="GET /v2/models/NAME/stats.")
