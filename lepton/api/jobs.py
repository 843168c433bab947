"""`/jobs`: submit, list, read, stop, follow; and what a job's workers report."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from lepton.api.door import (
    IdempotencyKey,
    Reading,
    ReadingAny,
    Visit,
    WorkerWriting,
    Writing,
    WritingAny,
    answer,
    check_known,
)
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.reports import ReportIn
from lepton.api.route import DoorRoute
from lepton.api.wire import (
    MAYBE_NAME,
    EventOut,
    EventPage,
    MetricsOut,
    OptionalId,
    ReportOut,
    ResourceOut,
    ResourcePage,
    WhyOut,
)
from lepton.api.wishes import JobIn, StopIn
from lepton.catalog.reference import parse
from lepton.core.clock import from_micros
from lepton.core.errors import CapacityError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from lepton.core.ids import is_id
from lepton.core.launch import Devices
from lepton.core.resource import Resource
from lepton.jobs.gang import with_stop
from lepton.jobs.life import State
from lepton.jobs.spec import JobSpec, Role
from lepton.server.intake import Report, take
from lepton.server.submit import changed, submit
from lepton.store import catalog, events, metrics, resources
from lepton.store.database import Tx

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=DoorRoute)
FUNCTION_ENTRY = "lepton.engine.function:main"
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[OptionalId, Query(description="`next` of the page before")]
NameFilter = Annotated[str, Query(max_length=63, pattern=MAYBE_NAME)]
MetricFilter = Annotated[str, Query(max_length=100, pattern=r"^[A-Za-z0-9_./-]*$")]
Seq = Annotated[int, Query(ge=0, lt=2**62)]


@router.post("", status_code=201, response_model=ResourceOut)
@raises(CapacityError, ConflictError, NotFoundError)
async def create(visit: Writing, body: JobIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Submit a job. It is queued, and its event stored, when this answers."""

    def work(tx: Tx) -> dict[str, Any]:
        check_known(visit.workspace, tx)
        spec = _spec(tx, body, visit.workspace)
        return ResourceOut.of(submit(tx, spec, name=body.name, author=visit.author(), land=visit.platform.landscape))

    made = await visit.create(idempotency_key, body, work)
    return answer(made, status=201, headers={"etag": f'"{made["revision"]}"', "location": f"/api/v1/jobs/{made['id']}"})


def _spec(tx: Tx, body: JobIn, workspace: str) -> JobSpec:
    devices = Devices(
        cpu_milli=_milli(body.cpus),
        gpu_milli=_milli(body.gpus),
        tpu_milli=_milli(body.tpus),
        fpga_milli=_milli(body.fpgas),
        memory_bytes=body.memory_bytes,
    )
    inputs = {role: catalog.find(tx, workspace, parse(ref)).id for role, ref in body.inputs.items()}
    if body.function:
        code = catalog.find(tx, workspace, parse(body.function), kinds=["code"])
        inputs["code"] = code.id
    role = Role(
        count=body.workers,
        command=tuple(body.command),
        entry=FUNCTION_ENTRY if body.function else "",
        devices=devices,
        env=body.env,
        isolation=body.isolation,
        labels=body.labels,
    )
    return JobSpec(
        roles=(role,),
        stage="function" if body.function else "command",
        params=body.params,
        inputs=inputs,
        retries=body.retries,
        timeout_s=body.timeout_s,
        grace_s=body.grace_s,
        secrets=body.secrets,
        cwd=body.cwd,
        queue=body.queue,
        priority=body.priority,
        after=tuple(dict.fromkeys(body.after)),
        can_resume=body.can_resume,
        within=body.within,
    )


def _milli(amount: float) -> int:
    """Thousandths; what is asked for is never rounded to nothing."""
    return max(1, round(amount * 1000)) if amount else 0


@router.get("", response_model=ResourcePage)
async def list_(
    visit: Reading, state: State | None = None, name: NameFilter = "", limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """List jobs, newest first."""
    return await list_resources(visit, "job", {"state": state or "", "name": name}, limit=limit, cursor=cursor)


async def list_resources(visit: Visit, kind: str, where: dict[str, str], *, limit: int, cursor: str) -> Response:
    """One page of resources of a kind in the visited workspace."""

    def work(tx: Tx) -> str:
        rows = resources.list_rows(tx, kind, visit.workspace, where=where, before=cursor, limit=limit + 1)
        return ResourcePage.text(rows, limit)

    return Response(await visit.read(work), media_type="application/json")


@router.get("/{id}", response_model=ResourceOut)
async def get(visit: ReadingAny, id: str) -> JSONResponse:
    """One job."""
    job = await visit.peek(lambda tx: visit.find(tx, id, "job"))
    return answer(ResourceOut.of(job), headers={"etag": etag(job)})


@router.post("/{id}/stop", response_model=ResourceOut)
async def stop(visit: WritingAny, id: str, body: StopIn, if_match: IfMatch = None) -> JSONResponse:
    """Ask that a job and everything it started be ended. Answers once the wish is stored; asking twice is harmless."""

    def work(tx: Tx) -> Resource:
        job = visit.find(tx, id, "job")
        check_match(job, if_match)
        if job.owner and is_id(job.owner):
            raise InvalidError(
                f"Job {id} belongs to {job.owner}", fix="Delete or change the endpoint; its job follows."
            )
        if job.is_final or job.spec.get("stop_grace_s") is not None:
            return job
        author = visit.author(job.workspace)
        wished = with_stop(job, body.grace_s, author.at)
        return resources.update(tx, wished, changed(job, "stop", author, "stop asked"), expected=job.revision)

    job = await visit.write(work)
    return answer(ResourceOut.of(job), headers={"etag": etag(job)})


@router.get("/{id}/events", response_model=EventPage)
async def events_(visit: ReadingAny, id: str, after: Seq = 0, limit: Limit = 100) -> JSONResponse:
    """What happened to a job after a sequence number, oldest first."""

    def work(tx: Tx) -> dict[str, Any]:
        visit.find(tx, id, "job")
        return EventPage.of(events.after(tx, after, subject=id, limit=limit + 1), limit)

    return answer(await visit.read(work))


@router.get("/{id}/why", response_model=WhyOut)
async def why(visit: ReadingAny, id: str) -> JSONResponse:
    """Why a job waits, or ended as it did."""

    def work(tx: Tx) -> dict[str, Any]:
        job = visit.find(tx, id, "job")
        past = [EventOut.of(seq, event) for seq, event in events.newest_of(tx, id, limit=1000)]
        said = past[-1]["why"] if past else ""
        found = reasons_of(visit, tx, job)
        return {"state": job.state, **found, "why": found["why"] or said, "events": past}

    return answer(await visit.read(work))


def reasons_of(visit: Visit, tx: Tx, job: Resource) -> dict[str, Any]:
    """Why a job waits: `why` in words, `reasons` for programs, and between when it probably starts."""
    mirror = visit.platform.placing.mirror
    found, between = mirror.told(tx, job) if job.state == State.QUEUED else ([], None)
    told = [reason.words for reason in found if reason.code != "pause"]  # why it pauses, its last event says better
    return {
        "why": "; ".join(told),
        "reasons": [asdict(reason) for reason in found],
        "starts_between": None if between is None else [from_micros(at).isoformat() for at in between],
    }


@router.get("/{id}/metrics", response_model=MetricsOut)
async def metrics_(visit: ReadingAny, id: str, name: MetricFilter = "") -> JSONResponse:
    """The numbers a job has reported, by name and step; the mean over its workers."""

    def work(tx: Tx) -> dict[str, list[tuple[int, float]]]:
        visit.find(tx, id, "job")
        return metrics.series(tx, id, name=name)

    return answer({"series": await visit.read(work)})


@router.post("/{id}/reports", response_model=ReportOut)
@raises(ForbiddenError)
async def report(visit: WorkerWriting, id: str, body: ReportIn) -> JSONResponse:
    """Take in what a worker tells of its job; items that came before are skipped."""
    items = [item.model_dump() for item in body.items]

    def work(tx: Tx) -> int:
        job = visit.find(tx, id, "job")
        if visit.principal.job and visit.principal.job != id:
            raise ForbiddenError("A job may only report for itself", fix="Use the token of that job.")
        batch = Report(generation=body.generation, rank=body.rank, first=body.first, items=items)
        return take(tx, job, batch, at=visit.platform.clock.now())

    return answer({"next": await visit.write(work)})
