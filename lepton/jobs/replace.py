"""Workers that are replaced one by one, while the rest of their gang goes on: the replicas of a service. Pure.

`job.status["replaced"]` is {rank: {"count": n, "at": micros, "quick": n, "why": text}}: how often, when last, how often
in a row soon after a start, and how the last one ended.
One that dies again and again is no accident: then the whole gang ends, and its retry policy counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from lepton.core.clock import to_micros
from lepton.core.errors import clip
from lepton.core.event import Event
from lepton.core.launch import Exit, Sighting
from lepton.core.resource import Resource
from lepton.jobs.life import happened
from lepton.jobs.spec import JobSpec

QUICK_S = 30.0
"""Who dies sooner than this after a start has not worked."""
MAX_QUICK = 3
MOST_WHY = 500
ACTOR = "loop:jobs"


def suffix(job: Resource, rank: int) -> str:
    """What the engine's key of this worker ends in: nothing for the first of the rank, then `.1`, `.2`, ..."""
    count = _record(job, rank).get("count", 0)
    return f".{count}" if count else ""


def ended(spec: JobSpec, seen: Sequence[Sighting]) -> tuple[int, Exit] | None:
    """The first worker that has ended and can be replaced, and how it ended."""
    for (rank, role), sighting in zip(spec.ranks(), seen, strict=True):
        if sighting.exit is not None and role.is_replaceable:
            return rank, sighting.exit
    return None


def replaced(job: Resource, rank: int, *, why: str, at: datetime) -> tuple[Resource, Event] | None:
    """The job with a further worker of this rank, and the event; None if it has died too often too soon."""
    record = _record(job, rank)
    since = record.get("at") or job.status.get("started_at", 0)
    is_quick = to_micros(at) - since < QUICK_S * 1_000_000
    quick = record.get("quick", 0) + 1 if is_quick else 0
    if quick > MAX_QUICK:
        return None
    new = {"count": record.get("count", 0) + 1, "at": to_micros(at), "quick": quick, "why": clip(why, MOST_WHY)}
    status = {**job.status, "replaced": {**job.status.get("replaced", {}), str(rank): new}}
    again = replace(job, status=status, updated_at=at)
    said = f"worker {rank} ended: {why}; another takes its place"
    return again, happened(again, "replaced", why=said, at=at, actor=ACTOR, rank=rank)


def _record(job: Resource, rank: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = job.status.get("replaced", {}).get(str(rank), {})
    return found
