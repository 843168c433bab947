"""What a server that starts remembers: jobs that have ended, or live, as the database has them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from lepton.core.clock import to_micros
from lepton.core.resource import Resource
from lepton.jobs.life import State
from lepton.pool.live.recall import Bygone
from lepton.server.truths import ENDED_BY_ITSELF, ran_s, wants_of
from lepton.store import resources
from lepton.store.database import Tx

REMEMBERED = 3000
"""Jobs that have ended, the youngest ones: what a start reads of them does not grow with what is stored."""
REMEMBERED_FOR = timedelta(days=30)
"""Older jobs say nothing of those of today."""
LIVING = 2000
"""Living jobs of which the past is gone through, the youngest ones."""


def remembered(tx: Tx, alive: Sequence[Resource], now: datetime) -> list[Bygone]:
    """The jobs to learn from.

    Args:
        alive: all living jobs, oldest first.
    """
    ended = resources.newest_final(tx, "job", since=now - REMEMBERED_FOR, limit=REMEMBERED)
    return [bygone_of(job, to_micros(now)) for job in (*ended, *alive[-LIVING:])]


def bygone_of(job: Resource, now: int) -> Bygone:
    """A job as the forecast takes it; `now` in microseconds since 1970."""
    ended = job.status.get("ended_at")
    placed = job.status.get("placed_at")
    until = placed if placed else now if job.state == State.QUEUED else None
    is_first = not job.status.get("generation") and not job.spec.get("after")
    waited_s = (until - to_micros(job.created_at)) / 1_000_000 if until and is_first else None
    return Bygone(
        wants=wants_of(job),
        waited_s=waited_s,
        has_started=bool(placed),
        ended_at=None if not job.is_final else (ended or to_micros(job.updated_at)) / 1_000_000,
        ran_s=ran_s(job) if job.state in ENDED_BY_ITSELF else None,
    )
