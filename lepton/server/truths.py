"""A job as the pool must know it: what it wants, and what is the case with it."""

from lepton.core.clock import to_micros
from lepton.core.resource import Resource
from lepton.jobs.life import FINAL, State
from lepton.jobs.priority import rank
from lepton.jobs.retry import MAX_PAUSE_S
from lepton.jobs.spec import JobSpec
from lepton.pool.live.views import Phase, Place, Truth, Wants
from lepton.pool.quota import DEFAULT

ENDED_BY_ITSELF = (State.DONE, State.FAILED)
WORDS = 3
"""Of a command, that say which program it is."""


def wants_of(job: Resource) -> Wants:
    """What a job asks for."""
    spec = JobSpec.from_json(job.spec)
    labels = {name: value for role in spec.roles for name, value in role.labels.items()}
    first = spec.roles[0]
    return Wants(
        job=job.id,
        workers=tuple(role.devices for _, role in spec.ranks()),
        roles=tuple((role.name, role.count) for role in spec.roles),
        labels=tuple(sorted(labels.items())),
        within=spec.within,
        queue=spec.queue or DEFAULT,
        user=str(job.status.get("user", "")),
        workspace=job.workspace,
        rank=rank(spec.priority),
        is_pinned=spec.is_service or not spec.can_resume,
        is_kept=is_kept(job),
        can_resume=spec.can_resume,
        is_endless=spec.is_service and not spec.timeout_s,
        grace_s=spec.grace_s,
        limit_s=spec.timeout_s,
        program=" ".join((spec.stage, job.name, *first.command[:WORDS], first.entry)),
        since_s=to_micros(job.created_at) / 1_000_000,
    )


def truth_of(job: Resource, now: float, *, is_free: bool) -> Truth:
    """What is the case with a job.

    Args:
        is_free: whether all the jobs that come before it are done.
    """
    if job.state in FINAL:
        ran = ran_s(job) if job.state in ENDED_BY_ITSELF else None
        return Truth(phase=Phase.GONE, ran_s=ran, has_failed=job.state == State.FAILED)
    if job.state == State.QUEUED:
        return _queued(job, now, is_free)
    places = tuple(Place(place["node"], tuple(place["gpus"])) for place in job.status.get("placement") or ())
    leaves = job.state == State.STOPPING and is_preempted(job) and job.spec.get("stop_grace_s") is None
    return Truth(
        phase=Phase.LEAVES if leaves else Phase.HOLDS,
        places=places,
        began_s=max(job.status.get("started_at") or 0, job.status.get("placed_at") or 0) / 1_000_000,
        worked_s=float(job.status.get("worked_s", 0.0)),
        saved_s=job.status.get("saved_at", 0) / 1_000_000,
    )


def _queued(job: Resource, now: float, is_free: bool) -> Truth:
    worked_s = float(job.status.get("worked_s", 0.0))
    if not is_free or job.spec.get("stop_grace_s") is not None:
        return Truth(phase=Phase.PAUSED, worked_s=worked_s)
    due_s = job.status.get("not_before", 0) / 1_000_000
    if 0 < due_s - now <= MAX_PAUSE_S:  # a longer one was given before the clock was set back: it is over
        return Truth(phase=Phase.PAUSED, due_s=due_s, worked_s=worked_s)
    return Truth(phase=Phase.QUEUED, worked_s=worked_s)


def is_kept(job: Resource) -> bool:
    """Whether a job is moved off a node that is drained by the loop that keeps endpoints, not by the pool."""
    return bool(job.owner) and job.spec.get("stage") == "serve"


def is_preempted(job: Resource) -> bool:
    """Whether a job was stopped for another, or because of its node, and will be queued again."""
    return bool(job.status.get("preempted"))


def ran_s(job: Resource) -> float | None:
    """Seconds for which a job that has ended ran, in all starts whose work counted; None if it never did."""
    started, ended = job.status.get("started_at"), job.status.get("ended_at")
    if not started or not ended:
        return None
    return float(job.status.get("worked_s", 0.0)) + max(0.0, float(ended - started) / 1_000_000)
