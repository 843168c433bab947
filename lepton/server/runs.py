"""Runs: the record of what a job measured. A job gets one with the first number it reports."""

from dataclasses import replace
from datetime import datetime

from lepton.core.event import Event
from lepton.core.ids import make_id
from lepton.core.resource import Json, Resource
from lepton.store import resources
from lepton.store.database import Tx


def run_of(tx: Tx, job: Resource, at: datetime) -> Resource:
    """The job's run; made if it has none yet."""
    found = resources.owned(tx, job.id, kind="run")
    if found:
        return found[0]
    run = Resource(
        id=make_id("run", at=at),
        kind="run",
        workspace=job.workspace,
        name=job.name,
        spec={"job": job.id, "params": job.spec.get("params", {})},
        state="running",
        created_at=at,
        updated_at=at,
        owner=job.id,
    )
    return resources.insert(tx, run, _event(run, "created", at))


def keep_latest(tx: Tx, run: Resource, values: Json) -> None:
    """Remember the newest value of each metric on the run itself, for lists."""
    resources.set_status(tx, run, {"latest": {**run.status.get("latest", {}), **values}})


def end_run(tx: Tx, job: Resource) -> None:
    """End the job's run, if it has one, in the state the job ended in."""
    for run in resources.owned(tx, job.id, kind="run"):
        ended = replace(run, state=job.state, is_final=True, updated_at=job.updated_at)
        resources.update(tx, ended, _event(ended, f"running->{job.state}", job.updated_at), expected=run.revision)


def _event(run: Resource, verb: str, at: datetime) -> Event:
    return Event(
        subject=run.id, kind="run", workspace=run.workspace, verb=verb, why=f"job {run.owner}", actor="loop:jobs", at=at
    )
