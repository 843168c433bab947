"""The life of a job: its states, the steps between them, and nothing else that could change one.

    queued -> placed -> running -> done
       ^         |         |  \\
       |         v         v   -> stopping -> failed | cancelled | done
       +---------+---------+----------+            (again: preempted, retried, or the node was lost)
"""

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from lepton.core.errors import IllegalMoveError
from lepton.core.event import Event
from lepton.core.resource import Json, Resource


class State(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """Waits for its place."""
    PLACED = "placed"
    """Has its nodes; its workers are being started."""
    RUNNING = "running"
    STOPPING = "stopping"
    """One worker failed, or somebody asked: the rest is being ended."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = State
NEXT: dict[State, set[State]] = {
    S.QUEUED: {S.PLACED, S.CANCELLED, S.FAILED},
    S.PLACED: {S.RUNNING, S.QUEUED, S.STOPPING, S.FAILED},
    S.RUNNING: {S.DONE, S.STOPPING},
    S.STOPPING: {S.CANCELLED, S.FAILED, S.QUEUED, S.DONE},
    S.DONE: set(),
    S.FAILED: set(),
    S.CANCELLED: set(),
}
FINAL = frozenset(state for state, after in NEXT.items() if not after)
HOLDS_DEVICES = frozenset({S.PLACED, S.RUNNING, S.STOPPING})


def move(job: Resource, to: State, *, why: str, at: datetime, actor: str, **status: Json) -> tuple[Resource, Event]:
    """Return the job in its new state, and the event to store in the same transaction.

    Args:
        status: fields of the job's status that change with the state.
    Raises:
        IllegalMoveError: the life of a job has no such step.
    """
    if to not in NEXT[State(job.state)]:
        raise IllegalMoveError(f"Job {job.id} cannot go from {job.state} to {to}")
    moved = replace(job, state=to, updated_at=at, status={**job.status, **status}, is_final=to in FINAL)
    return moved, happened(moved, f"{job.state}->{to}", why=why, at=at, actor=actor)


def happened(job: Resource, verb: str, *, why: str, at: datetime, actor: str, **data: Json) -> Event:
    """The event of something in the life of a job, as the job is after it."""
    return Event(
        subject=job.id,
        kind="job",
        workspace=job.workspace,
        verb=verb,
        why=why,
        actor=actor,
        at=at,
        data={"generation": job.status.get("generation", 0), **data, "stage": job.spec.get("stage", "")},
    )
