"""How an endpoint leaves a node that is drained: another gang answers elsewhere before this one stops. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto

from lepton.core.event import Event
from lepton.core.resource import Resource
from lepton.jobs.life import State, move

ACTOR = "loop:serving"
PATIENCE_S = 60.0
"""A successor that does not answer by then is given up: the node is to become empty."""


HOLDS = (State.PLACED, State.RUNNING)


class Step(Enum):
    """What to do with an endpoint whose job is as it is wanted."""

    STAY = auto()
    """Nothing of it is in the way; a successor is needed no more."""
    BEGIN = auto()
    """Submit a successor."""
    WAIT = auto()
    """Until the successor answers."""
    SWITCH = auto()
    """The successor answers: stop the other."""
    LEAVE = auto()
    """Stop it now; it waits for places elsewhere."""


def answers(job: Resource) -> bool:
    """Whether the gang of an endpoint has said that it answers, since it was started last."""
    is_ready = job.status.get("ready_generation") == job.status.get("generation")
    return job.state == State.RUNNING and is_ready


def next_step(
    job: Resource, successors: Sequence[Resource], newest: Resource, *, drained: Sequence[str], at: datetime
) -> Step:
    """What to do with an endpoint that has the wished gang.

    Args:
        job: the one that answers, or would.
        successors: others with the same wish that are not to stop, the newest first.
        newest: of all its jobs, ended ones too.
        drained: nodes that the job must leave.
    """
    if not drained or job.state not in HOLDS or job.spec.get("stop_grace_s") is not None:
        return Step.STAY
    if successors and answers(successors[0]):
        return Step.SWITCH
    if not answers(job) or not may_overlap(job, drained):
        return Step.LEAVE
    if successors:
        return Step.WAIT if _is_recent(successors[0].created_at, at) else Step.LEAVE
    has_failed = newest.id != job.id and newest.state == State.FAILED
    return Step.LEAVE if has_failed and _is_recent(newest.updated_at, at) else Step.BEGIN


def may_overlap(job: Resource, drained: Sequence[str]) -> bool:
    """Whether another gang of the endpoint may answer beside this one: not at one port of one machine.

    One that shares a front, and such a front, are found by sockets of one machine: there is only one of each.
    """
    spec = job.spec["params"]["spec"]
    if spec.get("front") or spec.get("is_front"):
        return False
    return not spec.get("port") or job.status["placement"][0]["node"] in drained


def _is_recent(since: datetime, at: datetime) -> bool:
    return (at - since).total_seconds() < PATIENCE_S


def leave(job: Resource, node: str, at: datetime) -> tuple[Resource, Event]:
    """The job stopped because of a node, to be queued again, and the event."""
    preempted = {"by": "", "node": node}
    return move(job, State.STOPPING, why=f"{node} is being drained", at=at, actor=ACTOR, preempted=preempted)
