"""How a job begins: checked against what exists, then stored as queued with its first event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lepton.core.errors import CapacityError, InvalidError
from lepton.core.event import Event
from lepton.core.ids import make_id
from lepton.core.resource import Resource
from lepton.jobs.spec import JobSpec
from lepton.pool.placement import Ask, never_fits
from lepton.server.placing import node
from lepton.store import catalog, resources
from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """On whose behalf something is made, where and when."""

    actor: str
    workspace: str
    at: datetime


def submit(tx: Tx, spec: JobSpec, *, name: str, author: Author, owner: str = "") -> Resource:
    """Store a job; it is queued when this returns.

    Raises:
        CapacityError: no node could ever hold it.
        InvalidError, NotFoundError: an input or secret is missing.
    """
    _check_inputs(tx, spec.inputs, author.workspace)
    for secret in sorted(set(spec.secrets.values())):
        if resources.by_name(tx, "secret", author.workspace, secret) is None:
            raise InvalidError(f"There is no secret '{secret}'", fix=f"Make it: lepton secrets set {secret}")
    check_capacity(tx, spec)
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
    return resources.insert(tx, job, created(job, author))


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


def check_capacity(tx: Tx, spec: JobSpec) -> None:
    """Refuse what no node could ever hold.

    Raises:
        CapacityError: it asks for more than the emptied pool has.
    """
    nodes = [node(row) for row in resources.alive(tx, "node")]
    reason = never_fits(Ask(job="", workers=tuple(role.devices for _, role in spec.ranks())), nodes) if nodes else None
    if reason is not None:
        raise CapacityError(
            f"The job can never run here, even when all is idle: it {reason}",
            fix="Ask for less per worker or fewer workers, or add a node.",
        )
