"""What workers hand in: reports of numbers and progress, and versions for the catalog.

Everything here may be sent twice: items are counted per worker, a version is recognised by job, name and content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lepton.core.artifact import Version, manifest_digest
from lepton.core.clock import to_micros
from lepton.core.errors import InvalidError
from lepton.core.event import Event
from lepton.core.ids import make_id
from lepton.core.resource import Json, Resource
from lepton.jobs.life import happened
from lepton.jobs.spec import JobSpec
from lepton.server.runs import keep_latest, run_of
from lepton.server.submit import Author
from lepton.store import catalog, metrics, resources
from lepton.store.database import Tx

NAMED_KINDS = frozenset({"dataset", "model"})
"""Kinds of version that belong to a resource of the same kind and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A batch of items of one worker, numbered from `first`."""

    generation: int
    rank: int
    first: int
    items: Sequence[Mapping[str, Any]]


def take(tx: Tx, job: Resource, report: Report, *, at: datetime) -> int:
    """Take in the items that are new; return the number of the next one expected.

    Raises:
        InvalidError: items are missing before the first, or the job has no such worker or start.
    """
    if report.generation > job.status.get("generation", 0) or report.rank >= JobSpec.from_json(job.spec).size:
        raise InvalidError(
            f"Job {job.id} has no worker {report.rank} in start {report.generation}", fix="Report for a worker it has."
        )
    known = metrics.taken(tx, job.id, report.generation, report.rank)
    if report.first > known:
        raise InvalidError(f"The report begins at item {report.first}", fix=f"Send from item {known} on.")
    items = report.items[known - report.first :]
    for item in items:
        job = _take_item(tx, job, report, item=item, at=at)
    if items:
        metrics.set_taken(tx, job.id, report.generation, worker=report.rank, count=known + len(items))
    return known + len(items)


def _take_item(tx: Tx, job: Resource, report: Report, *, item: Mapping[str, Any], at: datetime) -> Resource:
    is_current = report.generation == job.status.get("generation", 0)
    if item["type"] == "metrics":
        values = {name: float(value) for name, value in item["values"].items() if value is not None}
        metrics.add(tx, job.id, step=item["step"], worker=report.rank, at=item["at"], values=values)
        keep_latest(tx, run_of(tx, job, at), values)
    elif item["type"] == "progress" and is_current:
        progress = {"fraction": item["fraction"], "text": item["text"], "at": item["at"]}
        return _set(tx, job, {"progress": progress})
    elif item["type"] == "served" and is_current:
        return _set(tx, job, {"served": {name: value for name, value in item.items() if name != "type"}})
    elif item["type"] == "ready" and is_current:
        ready = replace(job, status={**job.status, "address": item["address"], "ready_generation": report.generation})
        return resources.update(tx, ready, _ready(job, item["address"], at), expected=job.revision)
    return job


def _set(tx: Tx, job: Resource, status: Mapping[str, Json]) -> Resource:
    resources.set_status(tx, job, status)
    return replace(job, status={**job.status, **status})


def _ready(job: Resource, address: str, at: datetime) -> Event:
    return Event(
        subject=job.id,
        kind="job",
        workspace=job.workspace,
        verb="ready",
        why=f"answers at {address}",
        actor=f"job:{job.id}",
        at=at,
        data={"stage": job.spec.get("stage", "")},
    )


def publish(tx: Tx, draft: Version, author: Author) -> Version:
    """Store a version; the same one again if this job has published it before.

    Args:
        draft: all fields but `id`, `number` and `digest`, which are given here.
    """
    digest = manifest_digest(draft.files)
    known = catalog.same(tx, job=draft.job, kind=draft.kind, name=draft.name, digest=digest)
    if known is not None:
        return known
    _check_parents(tx, draft)
    version = replace(
        draft,
        id=make_id("version", at=author.at),
        digest=digest,
        size_bytes=sum(file.size_bytes for file in draft.files),
        created_at=author.at,
    )
    stored = catalog.insert(tx, version, actor=author.actor)
    if stored.kind in NAMED_KINDS:
        _note_latest(tx, stored, author)
    if stored.kind == "checkpoint" and stored.job:
        _note_saved(tx, stored, author)
    if stored.kind == "report" and stored.meta.get("alert"):
        _raise_alert(tx, stored, author)
    return stored


def _note_saved(tx: Tx, checkpoint: Version, author: Author) -> None:
    """A job has saved its work: what it would lose if it were stopped begins anew."""
    job = resources.get(tx, checkpoint.job, kind="job")
    if not job.is_final:
        step = f"step {checkpoint.meta.get('step', '?')} is saved"
        event = happened(job, "saved", why=step, at=author.at, actor=author.actor)
        saved = replace(job, status={**job.status, "saved_at": to_micros(author.at)})
        resources.update(tx, saved, event, expected=job.revision)


def _check_parents(tx: Tx, draft: Version) -> None:
    found = {
        version.id
        for version in catalog.many(tx, sorted(set(draft.parents.values())))
        if version.workspace == draft.workspace
    }
    missing = sorted(set(draft.parents.values()) - found)
    if missing:
        raise InvalidError(f"Parent {missing[0][:80]!r} is no version of this workspace", fix="Give ids of versions.")


def _note_latest(tx: Tx, version: Version, author: Author) -> None:
    """Keep the named dataset or model pointing at its newest version."""
    status = {"latest": version.id, "number": version.number}
    found = resources.by_name(tx, version.kind, version.workspace, version.name)
    if found is None:
        fresh = Resource(
            id=make_id(version.kind, at=author.at),
            kind=version.kind,
            workspace=version.workspace,
            name=version.name,
            spec={},
            status=status,
            state="ready",
            created_at=author.at,
            updated_at=author.at,
        )
        resources.insert(tx, fresh, _noted(fresh, "created", version, author))
        return
    newer = replace(found, status={**found.status, **status}, updated_at=author.at)
    resources.update(tx, newer, _noted(found, "version", version, author), expected=found.revision)


def _noted(resource: Resource, verb: str, version: Version, author: Author) -> Event:
    return Event(
        subject=resource.id,
        kind=resource.kind,
        workspace=resource.workspace,
        verb=verb,
        why=f"{version.name}@{version.number}",
        actor=author.actor,
        at=author.at,
        data={"version": version.id},
    )


def _raise_alert(tx: Tx, report: Version, author: Author) -> None:
    """An alert stands for something a person should look at; it names the report that says why."""
    alert = Resource(
        id=make_id("alert", at=author.at),
        kind="alert",
        workspace=report.workspace,
        name=report.name,
        spec={"report": report.id, "cause": report.meta["alert"]},
        status={"meta": dict(report.meta), "at": to_micros(author.at)},
        state="firing",
        created_at=author.at,
        updated_at=author.at,
        owner=str(report.meta.get("endpoint", "")),
    )
    event = Event(
        subject=alert.id,
        kind="alert",
        workspace=alert.workspace,
        verb="firing",
        why=str(report.meta["alert"]),
        actor=author.actor,
        at=author.at,
    )
    resources.insert(tx, alert, event)
