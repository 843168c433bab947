"""How a job begins: checked against what exists, then stored as queued with its first event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lepton.core.errors import CapacityError, ConflictError, ForbiddenError, InvalidError
from lepton.core.event import Event
from lepton.core.ids import make_id
from lepton.core.resource import Resource
from lepton.jobs.life import State
from lepton.jobs.priority import rank
from lepton.jobs.spec import JobSpec
from lepton.pool.quota import DEFAULT
from lepton.pool.shape import Alike, Gang, check_devices, common_labels, fits_only_with, never_fits, never_within
from lepton.server.landscape import Land, Landscape, read_land
from lepton.store import catalog, events, resources
from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """On whose behalf something is made, where and when."""

    actor: str
    workspace: str
    at: datetime


def submit(
    tx: Tx, spec: JobSpec, *, name: str, author: Author, owner: str = "", land: Landscape | None = None
) -> Resource:
    """Store a job; it is queued when this returns.

    Args:
        land: knows the nodes, queues and quotas; without it they are read.
    Raises:
        CapacityError: no node could ever hold it.
        ConflictError: a job that it should wait for has ended badly.
        ForbiddenError: its queue is not for this workspace, or its priority for others.
        InvalidError: an input, a secret, its queue or a job before it is missing.
    """
    _check_inputs(tx, spec.inputs, author.workspace)
    for secret in sorted(set(spec.secrets.values())):
        if resources.by_name(tx, "secret", author.workspace, secret) is None:
            raise InvalidError(f"There is no secret '{secret}'", fix=f"Make it: lepton secrets set {secret}")
    present = land.at(tx) if land else read_land(tx)
    check_rights(present, spec, author)
    _check_before(tx, spec.after, author.workspace)
    away = check_fit(present, spec, author)
    job = Resource(
        id=make_id("job", at=author.at),
        kind="job",
        workspace=author.workspace,
        name=name,
        spec=spec.to_json(),
        status={"generation": 0, "user": author.actor},
        state="queued",
        created_at=author.at,
        updated_at=author.at,
        owner=owner,
    )
    return resources.insert(tx, job, created(job, author, away))


def created(resource: Resource, author: Author, why: str = "") -> Event:
    """The first event of a resource."""
    return changed(resource, "created", author, why)


def changed(resource: Resource, verb: str, author: Author, why: str = "") -> Event:
    """The event of a change that a request asked for."""
    return Event(
        subject=resource.id,
        kind=resource.kind,
        workspace=resource.workspace,
        verb=verb,
        why=why or resource.name,
        actor=author.actor,
        at=author.at,
    )


def _check_inputs(tx: Tx, inputs: Mapping[str, str], workspace: str) -> None:
    found = {version.id: version for version in catalog.many(tx, sorted(set(inputs.values())))}
    for role, id in inputs.items():
        if id not in found or found[id].workspace != workspace:
            raise InvalidError(f"Input '{role}': there is no version {id[:80]!r}", fix="List them: lepton catalog list")


def check_job(land: Land, spec: JobSpec, author: Author) -> None:
    """Refuse what a loop could never submit, for somebody whose job it will not be.

    Raises:
        CapacityError: no node could ever hold it.
        ForbiddenError: its queue or its priority is for others.
        InvalidError: there is no such queue.
    """
    check_rights(land, spec, author)
    check_fit(land, spec)


def check_rights(land: Land, spec: JobSpec, author: Author) -> None:
    """Refuse a queue or a priority that is not for them.

    Raises:
        ForbiddenError: it is for others.
        InvalidError: there is no such queue.
    """
    queue = spec.queue or DEFAULT
    _check_queue(land, queue, author.workspace)
    for of, who, highest in land.ceilings(queue, user=author.actor, workspace=author.workspace):
        if rank(spec.priority) < rank(highest):
            change = f"lepton pool queues set {who}" if of == "queue" else f"lepton pool quota set {of}:{who}"
            raise ForbiddenError(
                f"It asks for priority {spec.priority}, and {of} '{who}' may have {highest} at most",
                fix=f"Ask for {highest} or lower; or let an administrator of the platform raise it: "
                f"{change} --max-priority {spec.priority}",
            )


def _check_queue(land: Land, name: str, workspace: str) -> None:
    """Refuse a queue that is not there, or not for this workspace."""
    if name not in land.queues:
        raise InvalidError(f"There is no queue '{name}'", fix="See those that there are: lepton pool queues")
    admitted = land.queues[name].workspaces
    if admitted and workspace not in admitted:
        raise ForbiddenError(
            f"Queue '{name}' is not for workspace '{workspace}'",
            fix="Choose another queue, or ask an administrator of the platform to admit the workspace.",
        )


def _check_before(tx: Tx, ids: Sequence[str], workspace: str) -> None:
    """Refuse jobs to wait for that are not there, will never be done, or have ended badly."""
    found = {job.id: job for job in resources.many(tx, ids) if job.kind == "job" and job.workspace == workspace}
    for id in ids:
        if id not in found:
            raise InvalidError(f"There is no job {id} to wait for", fix="List them: lepton jobs list")
        if found[id].spec.get("is_service"):
            raise InvalidError(f"Job {id} is a service, which is never done", fix="Wait for another job, or for none.")
        if found[id].state in (State.FAILED, State.CANCELLED):
            why = "".join(event.why for _, event in events.newest_of(tx, id, limit=1))
            raise ConflictError(
                f"Job {id}, which it should wait for, is {found[id].state}: {why}",
                fix="Submit that one again, then wait for the new one.",
            )


def check_fit(land: Land, spec: JobSpec, author: Author | None = None) -> str:
    """Refuse what could never run; return in words which nodes must come back before it can, if some must.

    Args:
        author: whose limits, and whose queue's, count too.
    Raises:
        CapacityError: it asks for more than the emptied pool has, or than a limit allows.
        InvalidError: a worker asks for what none can be given, or two for what no job is given together.
    """
    for role in spec.roles:
        check_devices(role.devices)
    asked = [Alike(count=role.count, devices=role.devices, labels=role.labels) for role in spec.roles]
    labels = common_labels(asked)
    gang = Gang(tuple(replace(each, labels=labels) for each in asked), spec.within)
    if author is not None:
        bounds = land.bounds(spec.queue or DEFAULT, user=author.actor, workspace=author.workspace)
        over = never_within(gang, bounds)
        if over is not None:
            raise CapacityError(f"The job can never run: {over.why}", fix=over.fix)
    found = never_fits(gang, land.machines) if land.machines else None
    if found is not None:
        raise CapacityError(f"The job can never run here, even when all is idle: {found.why}", fix=found.fix)
    return "" if land.is_open else fits_only_with(gang, land.machines)
