"""A gang in motion: its launches, and what its workers' endings mean for the whole. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lepton.core.clock import to_micros
from lepton.core.event import Event
from lepton.core.launch import Exit, ExitReason, Launch, Sighting
from lepton.core.resource import Json, Resource
from lepton.jobs.life import State, move
from lepton.jobs.replace import ACTOR, replaced, suffix
from lepton.jobs.replace import ended as replaceable_ended
from lepton.jobs.retry import pause_after_refusal, pause_before_retry
from lepton.jobs.spec import JobSpec, Role


@dataclass(frozen=True, slots=True)
class Turn:
    """What one look at a job leads to: first act, then store `job` and `event` if there is one."""

    job: Resource
    event: Event | None = None
    starts: tuple[Launch, ...] = ()
    stops: tuple[str, ...] = ()
    grace_s: float = 0.0


def key(job: Resource, rank: int, generation: int | None = None) -> str:
    """The engine's key of one worker, of the job's present start unless another is given."""
    present = job.status.get("generation", 0)
    start = present if generation is None else generation
    return f"{job.id}.{start}.{rank}{suffix(job, rank) if start == present else ''}"


def keys(job: Resource, size: int) -> list[str]:
    """The engine's keys of all workers of the job's present start."""
    return [key(job, rank) for rank in range(size)]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the platform adds to a launch: addresses and identity."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that every worker gets, e.g. LEPTON_URL, LEPTON_TOKEN and the job's secrets."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Node -> where other workers reach it."""
    port: int = 0
    """For the gang's own rendezvous, on the node of rank 0."""


def launches(job: Resource, spec: JobSpec, around: Surroundings) -> tuple[Launch, ...]:
    """One launch a rank, as placed. `job.status["placement"]` is a list of {node, gpus} by rank."""
    placement: Sequence[Mapping[str, Any]] = job.status["placement"]
    first = around.addresses.get(placement[0]["node"], "127.0.0.1")
    local_ranks: dict[str, int] = {}
    found = []
    for rank, role in spec.ranks():
        place = placement[rank]
        local = local_ranks[place["node"]] = local_ranks.get(place["node"], -1) + 1
        env = {
            **_rendezvous(rank, spec.size, local, first, around.port),
            **around.env,
            "LEPTON_ROLE": role.name,
            **({"LEPTON_ADDRESS": job.status["address"]} if job.status.get("address") else {}),
            **({"LEPTON_SUCCESSOR": "1"} if suffix(job, rank) else {}),
            **role.env,
        }
        found.append(_launch(job, spec, rank=rank, role=role, env=env))
    return tuple(found)


def _launch(job: Resource, spec: JobSpec, *, rank: int, role: Role, env: Mapping[str, str]) -> Launch:
    place = job.status["placement"][rank]
    return Launch(
        key=key(job, rank),
        job=job.id,
        command=role.command,
        entry=role.entry,
        preload=role.preload,
        params=spec.params,
        inputs=spec.inputs,
        env=env,
        cwd=spec.cwd,
        node=place["node"],
        devices=role.devices,
        gpus=tuple(place.get("gpus", ())),
        rank=rank,
        size=spec.size,
        generation=job.status.get("generation", 0),
        timeout_s=spec.timeout_s,
        grace_s=spec.grace_s,
        isolation=role.isolation,
        meets=role.meets,
        is_host=role.is_host,
        door=_door(role, job.status.get("address") or ""),
    )


def _door(role: Role, address: str) -> str:
    """Where it listens: at any port only until it has told its clients one."""
    host, _, port = role.door.rpartition(":")
    told = address.rpartition(":")[2] if role.door and not int(port) else ""
    return f"{host}:{told}" if told.isdecimal() else role.door


def _rendezvous(rank: int, size: int, local_rank: int, address: str, port: int) -> dict[str, str]:
    """The variables that torchrun would set."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(local_rank),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def think(job: Resource, spec: JobSpec, seen: Sequence[Sighting], *, at: datetime, around: Surroundings) -> Turn:
    """What to do for a job now.

    Args:
        seen: one sighting a rank, of the present start; not looked at while the job is queued.
        around: needed while the job is placed, and when a worker is to be replaced (`needs_surroundings`).
    """
    if job.state == State.QUEUED:
        return _cancel_if_asked(job, spec, at)
    if job.state == State.PLACED:
        return _start(job, spec, seen, at=at, around=around)
    if job.state == State.RUNNING:
        return _replace(job, spec, seen, at=at, around=around) or _watch(job, spec, seen, at)
    if job.state == State.STOPPING:
        return _end(job, spec, seen, at)
    return Turn(job)


def _cancel_if_asked(job: Resource, spec: JobSpec, at: datetime) -> Turn:
    if spec.stop_grace_s is None:
        return Turn(job)
    return Turn(*move(job, State.CANCELLED, why="stopped before it started", at=at, actor=ACTOR, **_ended(at)))


def _start(job: Resource, spec: JobSpec, seen: Sequence[Sighting], *, at: datetime, around: Surroundings) -> Turn:
    if spec.stop_grace_s is not None:
        moved, event = move(job, State.STOPPING, why="stopped by request", at=at, actor=ACTOR)
        return Turn(moved, event)
    if is_half_started(seen):
        alive = tuple(sighting.key for sighting in seen if sighting.status == "running")
        turn = requeue(job, why="its start was interrupted", at=at)
        return replace(turn, stops=alive)
    is_new = seen[0].status == "unknown"
    starts = launches(job, spec, around) if is_new else ()
    moved, event = move(
        job,
        State.RUNNING,
        why=f"{spec.size} started",
        at=at,
        actor=ACTOR,
        started_at=to_micros(at),
        refusals=0,
        stopped_for=None,
    )
    return Turn(moved, event, starts=starts)


def is_half_started(seen: Sequence[Sighting]) -> bool:
    """Whether the server died, or the disk was full, between two starts of one gang, or took the start back.

    The rest cannot join now: it would meet at another port. So the gang begins anew.
    """
    unknown = sum(sighting.status == "unknown" for sighting in seen)
    taken_back = any(sighting.exit is not None and sighting.exit.reason is ExitReason.STOPPED for sighting in seen)
    return 0 < unknown < len(seen) or taken_back


def needs_surroundings(job: Resource, spec: JobSpec, seen: Sequence[Sighting]) -> bool:
    """Whether `think` may start something."""
    return job.state == State.PLACED or (job.state == State.RUNNING and replaceable_ended(spec, seen) is not None)


def _replace(
    job: Resource, spec: JobSpec, seen: Sequence[Sighting], *, at: datetime, around: Surroundings
) -> Turn | None:
    """Put another worker in the place of one that has ended, if that is all that is wrong."""
    found = replaceable_ended(spec, seen)
    if found is None or spec.stop_grace_s is not None or "ready_generation" not in job.status:
        return None  # one that has never answered is tried again as a whole, a few times
    rank, ended = found
    gone = [role for (_, role), one in zip(spec.ranks(), seen, strict=True) if one.status != "running"]
    if not all(role.is_replaceable for role in gone):
        return None
    made = replaced(job, rank, why=describe(ended), at=at)
    if made is None:
        return None
    again, event = made
    return Turn(again, event, starts=(launches(again, spec, around)[rank],))


def _watch(job: Resource, spec: JobSpec, seen: Sequence[Sighting], at: datetime) -> Turn:
    if spec.stop_grace_s is not None:
        return Turn(*move(job, State.STOPPING, why="stopped by request", at=at, actor=ACTOR))
    bad = first_bad(seen, is_service=spec.is_service)
    if bad is not None:
        rank, ended = bad
        why = f"worker {rank} ended: {describe(ended)}"
        ending: dict[str, Json] = {"rank": rank, "reason": ended.reason, "code": ended.code, "signal": ended.signal}
        return Turn(*move(job, State.STOPPING, why=why, at=at, actor=ACTOR, ending={**ending, "detail": ended.detail}))
    if all(sighting.exit is not None for sighting in seen):
        return _done(job, at)
    return Turn(job)


def _done(job: Resource, at: datetime) -> Turn:
    """All of its workers have ended well."""
    done = {"rank": 0, "reason": ExitReason.DONE, "code": 0, "signal": None, "detail": ""}
    return Turn(*move(job, State.DONE, why="all workers done", at=at, actor=ACTOR, ending=done, **_ended(at)))


def _end(job: Resource, spec: JobSpec, seen: Sequence[Sighting], at: datetime) -> Turn:
    alive = tuple(sighting.key for sighting in seen if sighting.status == "running")
    if alive:
        return Turn(job, stops=alive, grace_s=grace_of(job.status, spec))
    if spec.stop_grace_s is not None:
        return Turn(*move(job, State.CANCELLED, why="stopped by request", at=at, actor=ACTOR, **_ended(at)))
    if job.status.get("preempted"):
        return _after_preemption(job, spec, seen, at)
    return _retry(job, spec, at)


def grace_of(status: Mapping[str, Any], spec: JobSpec) -> float:
    """Seconds that its workers get to end: its own, or what its stop asked for; no more than its queue gives it."""
    own_s = spec.grace_s if spec.stop_grace_s is None else spec.stop_grace_s
    most_s = status.get("most_grace_s")
    return own_s if most_s is None else min(own_s, float(most_s))


def _after_preemption(job: Resource, spec: JobSpec, seen: Sequence[Sighting], at: datetime) -> Turn:
    """It waits again, and nothing of that counts as its failure; unless it was done when it was to stop."""
    if not spec.is_service and all(is_done(sighting) for sighting in seen):
        return _done(job, at)
    began = job.status.get("started_at")
    worked_s = max(0.0, (to_micros(at) - began) / 1_000_000) if began and spec.can_resume else 0.0
    stopped = job.status["preempted"]
    changes: dict[str, Json] = {
        **_anew(job),
        "preempted": None,
        "stopped_for": stopped,
        "preemptions": int(job.status.get("preemptions", 0)) + 1,
        "moves": int(job.status.get("moves", 0)) + (not stopped.get("by")),
        "worked_s": float(job.status.get("worked_s", 0.0)) + worked_s,
        "started_at": None,
    }
    return Turn(*move(job, State.QUEUED, why="waits for its place again", at=at, actor=ACTOR, **changes))


def is_done(sighting: Sighting) -> bool:
    """Whether a worker has ended well by itself."""
    return sighting.exit is not None and sighting.exit.reason is ExitReason.DONE


def _retry(job: Resource, spec: JobSpec, at: datetime) -> Turn:
    ending = job.status.get("ending", {})
    reason = ExitReason(ending.get("reason", ExitReason.LOST))
    if reason is ExitReason.STOPPED:  # nobody asked us: the machine went down, or somebody else ended it
        reason = ExitReason.LOST
    failures, losses = int(job.status.get("failures", 0)), int(job.status.get("losses", 0))
    was_ready = "ready_generation" in job.status
    pause_s = pause_before_retry(spec, reason, failures=failures, losses=losses, was_ready=was_ready)
    if pause_s is None:
        why = f"worker {ending.get('rank')}: {describe(_exit(ending))}"
        return Turn(*move(job, State.FAILED, why=why, at=at, actor=ACTOR, **_ended(at)))
    changes: dict[str, Json] = {
        **_anew(job),
        "not_before": to_micros(at) + int(pause_s * 1_000_000),
        "failures": failures + (reason is not ExitReason.LOST),
        "losses": losses + (reason is ExitReason.LOST),
    }
    return Turn(
        *move(
            job,
            State.QUEUED,
            why=f"again after {pause_s:g} s: {describe(_exit(ending))}",
            at=at,
            actor=ACTOR,
            **changes,
        )
    )


def requeue(job: Resource, *, why: str, at: datetime) -> Turn:
    """Take back a start that could not be carried out; the generation moves on, so no old key is reused.

    The first is repeated at once, the next after growing pauses.
    """
    pause_s = pause_after_refusal(int(job.status.get("refusals", 0)))
    changes: dict[str, Json] = {
        **_anew(job),
        "not_before": to_micros(at) + int(pause_s * 1_000_000),
        "refusals": int(job.status.get("refusals", 0)) + 1,
    }
    return Turn(*move(job, State.QUEUED, why=why, at=at, actor=ACTOR, **changes))


def refuse(job: Resource, *, why: str, at: datetime) -> Turn:
    """End a placed job that can never be started, e.g. because its secret was deleted."""
    ending: dict[str, Json] = {"rank": 0, "reason": ExitReason.NOT_STARTED, "code": None, "signal": None, "detail": why}
    return Turn(*move(job, State.FAILED, why=why, at=at, actor=ACTOR, ending=ending, **_ended(at)))


def first_bad(seen: Sequence[Sighting], *, is_service: bool) -> tuple[int, Exit] | None:
    """The rank and exit of the worker that ended first in a way that ends the gang; None if there is none."""
    lost = Exit(reason=ExitReason.LOST, detail="the engine does not know it any more")
    exits = [
        (rank, sighting.exit or lost)
        for rank, sighting in enumerate(seen)
        if sighting.status == "unknown" or sighting.exit is not None
    ]
    bad = [(rank, ended) for rank, ended in exits if is_service or ended.reason is not ExitReason.DONE]
    return min(bad, key=lambda found: (found[1].at is None, found[1].at, found[0]), default=None)


def describe(ended: Exit) -> str:
    """An exit in words: `failed with code 3`, `signal 9`, `out of memory`."""
    words = {
        ExitReason.FAILED: f"failed with code {ended.code}",
        ExitReason.SIGNAL: f"signal {ended.signal}",
    }.get(ended.reason, ended.reason.replace("_", " "))
    return f"{words} ({ended.detail})" if ended.detail else words


def _anew(job: Resource) -> dict[str, Json]:
    """What any further start of the gang begins with."""
    return {
        "generation": int(job.status.get("generation", 0)) + 1,
        "placement": None,
        "replaced": {},
        "most_grace_s": None,
    }


def _exit(ending: Mapping[str, Any]) -> Exit:
    """The exit that `status["ending"]` tells of."""
    reason = ExitReason(ending.get("reason", ExitReason.LOST))
    return Exit(reason=reason, code=ending.get("code"), signal=ending.get("signal"), detail=ending.get("detail", ""))


def _ended(at: datetime) -> dict[str, Json]:
    return {"ended_at": to_micros(at)}


def with_stop(job: Resource, grace_s: float, at: datetime) -> Resource:
    """The job with the wish that it be stopped."""
    return replace(job, spec={**job.spec, "stop_grace_s": grace_s}, updated_at=at)
