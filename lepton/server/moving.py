"""How an endpoint goes on answering while it leaves a node that is drained, or is given another wish: another gang
answers before this one stops. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

from lepton.core.clock import AHEAD_S
from lepton.core.event import Event
from lepton.core.resource import Json, Resource
from lepton.jobs.life import State, move

ACTOR = "loop:serving"
PATIENCE_S = 60.0
"""A successor that does not answer by then is given up: the node is to become empty."""
ROOM_S = 3.0
"""A successor with another wish that has no places by then gets those of the gang that it follows."""

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


def predecessor(
    old: Sequence[Resource], successors: Sequence[Resource], wanted: Mapping[str, Json], at: datetime
) -> Resource | None:
    """The gang with an earlier wish that goes on until one with the present wish answers; None: none does.

    Args:
        old: the living gangs with an earlier wish.
        successors: those with the present one, the newest first.
        wanted: the present wish.
    """
    if any(map(answers, successors)) or any(map(lacks_room, successors[:1], [at])):
        return None
    living = (job for job in old if answers(job) and job.spec.get("stop_grace_s") is None)
    return next((job for job in living if _may_stand_by(job.spec["params"]["spec"], wanted)), None)


def lacks_room(job: Resource, at: datetime) -> bool:
    """Whether it has never started, for want of places, although it has waited a little."""
    is_new = job.state == State.QUEUED and not job.status.get("generation")
    waited_s = (at - job.created_at).total_seconds()
    return is_new and not -AHEAD_S <= waited_s < ROOM_S


def _may_stand_by(old: Mapping[str, Json], new: Mapping[str, Json]) -> bool:
    """Whether gangs with two wishes may answer side by side: not at one port, nor behind one front."""
    if any(spec.get("front") or spec.get("is_front") for spec in (old, new)):
        return False
    return not new.get("port") or new["port"] != old.get("port")


def may_overlap(job: Resource, drained: Sequence[str]) -> bool:
    """Whether another gang of the endpoint may answer beside this one: not at one port of one machine.

    One that shares a front, and such a front, are found by sockets of one machine: there is only one of each.
    """
    spec = job.spec["params"]["spec"]
    if spec.get("front") or spec.get("is_front"):
        return False
    return not spec.get("port") or job.status["placement"][0]["node"] in drained


def _is_recent(since: datetime, at: datetime) -> bool:
    return -AHEAD_S <= (at - since).total_seconds() < PATIENCE_S


def leave(job: Resource, node: str, at: datetime) -> tuple[Resource, Event]:
    """The job stopped because of a node, to be queued again, and the event."""
    preempted = {"by": "", "node": node}
    return move(job, State.STOPPING, why=f"{node} is being drained", at=at, actor=ACTOR, preempted=preempted)
