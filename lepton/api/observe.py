"""`/observe`: drift checks and alerts."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lepton.api.door import IdempotencyKey, Reading, ReadingAny, Visit, Writing, WritingAny, answer, check_known
from lepton.api.jobs import Cursor, Limit, list_resources
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.serve import find
from lepton.api.wire import Id, OptionalId, ResourceOut, ResourcePage
from lepton.api.wishes import StandingIn
from lepton.catalog.reference import Reference
from lepton.core.artifact import Version
from lepton.core.errors import CapacityError, NotFoundError
from lepton.core.resource import Resource
from lepton.observe.plan import plan_observe
from lepton.observe.spec import ObserveSpec
from lepton.server.submit import changed, submit
from lepton.store import catalog, resources
from lepton.store.database import Tx

router = APIRouter(prefix="/observe", tags=["observe"], route_class=DoorRoute)
AlertState = Literal["firing", "resolved"]
SERVED = ("requests", "errors", "p50_ms", "p95_ms", "p99_ms")


class ObserveIn(StandingIn):
    """A drift check of an endpoint."""

    endpoint: Annotated[str, Field(min_length=1, max_length=63, description="name or id")]
    capture: Annotated[OptionalId, Field(description="id of a version; the endpoint's newest unless given")] = ""
    min_rows: Annotated[int, Field(ge=20, le=1 << 30, description="a smaller sample is not judged")] = 100
    cpu_milli: Annotated[int, Field(ge=1, le=1 << 20)] = 500


@router.post("", status_code=201, response_model=ResourceOut)
@raises(CapacityError, NotFoundError)
async def create(visit: Writing, body: ObserveIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Compare what an endpoint was asked with what its model was trained on; a drifted sample raises an alert."""

    def work(tx: Tx) -> dict[str, Any]:
        check_known(visit.workspace, tx)
        spec = _spec(tx, visit, body)
        job = replace(plan_observe(spec), queue=body.queue, priority=body.priority)
        return ResourceOut.of(
            submit(tx, job, name=f"observe-{spec.name}", author=visit.author(), land=visit.platform.landscape)
        )

    made = await visit.create(idempotency_key, body, work)
    return answer(made, status=201, headers={"location": f"/api/v1/jobs/{made['id']}"})


def _spec(tx: Tx, visit: Visit, body: ObserveIn) -> ObserveSpec:
    endpoint = find(tx, visit, body.endpoint)
    job = next(iter(resources.owned(tx, endpoint.id, kind="job")), None)
    served = {} if job is None else job.status.get("served", {})
    return ObserveSpec(
        model=endpoint.spec["endpoint"]["model"],
        capture=_capture(tx, endpoint, body.capture).id,
        name=endpoint.name,
        endpoint=endpoint.id,
        min_rows=body.min_rows,
        cpu_milli=body.cpu_milli,
        window_s=float(served.get("seconds", 0.0)),
        **{name: served.get(name, 0) for name in SERVED},
    )


def _capture(tx: Tx, endpoint: Resource, id: str) -> Version:
    reference = Reference(id=id) if id else Reference(name=endpoint.name)
    try:
        return catalog.find(tx, endpoint.workspace, reference, kinds=["capture"])
    except NotFoundError as fault:
        raise NotFoundError(
            f"Endpoint '{endpoint.name}' has left no capture yet", fix="Send it at least 50 rows, then try again."
        ) from fault


@router.get("/alerts", response_model=ResourcePage)
async def list_alerts(
    visit: Reading, state: AlertState | None = None, limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """List alerts, newest first."""
    return await list_resources(visit, "alert", {"state": state or ""}, limit=limit, cursor=cursor)


@router.get("/alerts/{id}", response_model=ResourceOut)
async def get_alert(visit: ReadingAny, id: Annotated[Id, Path()]) -> JSONResponse:
    """One alert."""
    alert = await visit.read(lambda tx: visit.find(tx, id, "alert"))
    return answer(ResourceOut.of(alert), headers={"etag": etag(alert)})


@router.post("/alerts/{id}/resolve", response_model=ResourceOut)
async def resolve(visit: WritingAny, id: Annotated[Id, Path()], if_match: IfMatch = None) -> JSONResponse:
    """Say that somebody has looked at an alert and it is over; resolving twice is harmless."""

    def work(tx: Tx) -> Resource:
        alert = visit.find(tx, id, "alert")
        check_match(alert, if_match)
        if alert.is_final:
            return alert
        author = visit.author(alert.workspace)
        over = replace(alert, state="resolved", is_final=True, updated_at=author.at)
        return resources.update(tx, over, changed(alert, "firing->resolved", author), expected=alert.revision)

    alert = await visit.write(work)
    return answer(ResourceOut.of(alert), headers={"etag": etag(alert)})
