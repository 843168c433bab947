"""`/serve`: endpoints."""

from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, create_model

from lepton.api.door import IdempotencyKey, Reading, Visit, WorkerReading, Writing, answer, check_known
from lepton.api.jobs import Cursor, Limit, NameFilter, list_resources, reasons_of
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.stations import resolve, wish_model
from lepton.api.watch import until
from lepton.api.wire import Name, ResourceOut, ResourcePage, Wish
from lepton.core.errors import CapacityError, IllegalMoveError, InvalidError, NameTakenError, NotFoundError
from lepton.core.ids import is_id, make_id
from lepton.core.resource import Resource
from lepton.serve.entries import split_entry
from lepton.serve.plan import plan
from lepton.serve.spec import RANGES, EndpointSpec
from lepton.server.fronts import behind, check_hosts, check_unused, find_front
from lepton.server.hub import of_kind, wait_for
from lepton.server.people import find_named
from lepton.server.serving import whereabouts
from lepton.server.submit import changed, check_job, created
from lepton.store import catalog, events, resources
from lepton.store.database import Tx

router = APIRouter(prefix="/serve", tags=["serve"], route_class=DoorRoute)
REFS = {"model": ["model"], "code": ["code"]}
EndpointState = Literal["starting", "ready", "failed", "stopping", "deleted"]
SERVED_FILES = {"model.json", "model.onnx"}
LimitsIn = wish_model(EndpointSpec, REFS, title="EndpointLimitsIn", ranges=RANGES)
EndpointIn = create_model("EndpointIn", __base__=LimitsIn, name=(Name, ...))
EndpointIn.__doc__ = "An endpoint: its name, and what it serves within which limits."


class SiteOut(BaseModel):
    """The endpoint that a worker serves, as a front that it shares needs to know it."""

    endpoint: str
    name: str
    job: str
    front: str
    """Id of that front; empty: the endpoint has one of its own."""
    spec: dict[str, Any]
    why: str = ""
    """Why it has failed; empty: it has not."""


class BehindOut(BaseModel):
    """The endpoints behind a front."""

    digest: str
    """Stands for which ones there are, and which of them have failed."""
    items: list[SiteOut]
    """Without their jobs."""


RefPath = Annotated[str, Path(min_length=1, max_length=63, description="name or id")]


@raises(CapacityError, NameTakenError, NotFoundError)
async def create(visit: Writing, body: Wish, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Deploy a model version as an endpoint. It is starting when this answers."""

    def work(tx: Tx) -> dict[str, Any]:
        check_known(visit.workspace, tx)
        author = visit.author()
        spec, name = _spec(tx, visit, author.workspace, body)
        check_hosts(tx, spec, but="")
        endpoint = Resource(
            id=make_id("endpoint", at=author.at),
            kind="endpoint",
            workspace=author.workspace,
            name=name,
            spec={"endpoint": spec.to_json()},
            state="starting",
            created_at=author.at,
            updated_at=author.at,
        )
        check_job(visit.platform.landscape.at(tx), plan(spec, endpoint=endpoint.id, name=name), author)
        return ResourceOut.of(resources.insert(tx, endpoint, created(endpoint, author)))

    made = await visit.create(idempotency_key, body, work)
    headers = {"etag": f'"{made["revision"]}"'}
    return answer(made, status=201, headers=headers | {"location": f"/api/v1/serve/endpoints/{made['id']}"})


def _spec(tx: Tx, visit: Visit, workspace: str, body: Wish) -> tuple[EndpointSpec, str]:
    plain = resolve(tx, workspace, body, REFS)
    name = plain.pop("name", "")
    if plain["front"]:
        plain["front"] = find_front(tx, workspace, plain["front"]).id
    spec = EndpointSpec.from_json(plain)
    if spec.is_front:
        return spec, name
    if spec.entry:
        split_entry(spec.entry)
        return spec, name
    model = catalog.get(tx, spec.model)
    entry = model.meta.get("entry")
    if entry:  # it says itself by which program it is served
        split_entry(str(entry))
        return replace(spec, model="", code=model.id, entry=str(entry)), name
    if not {file.path for file in model.files} >= SERVED_FILES:
        raise InvalidError(
            f"Model {model.name}@{model.number} cannot be served: it has no {' and '.join(sorted(SERVED_FILES))}",
            fix=f"Optimise it first: lepton optimize {model.name} --dataset DATASET --name NAME; or publish it with "
            'meta={"entry": "KIND:FILE"}.',
        )
    return spec, name


create.__annotations__["body"] = EndpointIn
router.post("/endpoints", status_code=201, response_model=ResourceOut)(create)


@router.get("/endpoints", response_model=ResourcePage)
async def list_(
    visit: Reading, state: EndpointState | None = None, name: NameFilter = "", limit: Limit = 100, cursor: Cursor = ""
) -> Response:
    """List endpoints, newest first; deleted ones have the state `deleted`."""
    return await list_resources(visit, "endpoint", {"state": state or "", "name": name}, limit=limit, cursor=cursor)


@router.get("/endpoints/{ref}", response_model=ResourceOut)
async def get(visit: Reading, ref: RefPath) -> JSONResponse:
    """One endpoint, with its address, and what it answered lately."""

    def work(tx: Tx) -> Resource:
        endpoint = find(tx, visit, ref)
        jobs = resources.owned(tx, endpoint.id, kind="job")
        job = next((one for one in jobs if one.id == endpoint.status.get("job")), None)
        served = job.status.get("served", {}) if job is not None else {}
        return replace(endpoint, status={**endpoint.status, **_waits(visit, tx, endpoint, job), "served": served})

    endpoint = await visit.read(work)
    return answer(ResourceOut.of(endpoint), headers={"etag": etag(endpoint)})


def _waits(visit: Visit, tx: Tx, endpoint: Resource, job: Resource | None) -> dict[str, Any]:
    """Of one whose job is not there to answer: why that is now, and when it probably will be."""
    if job is None or endpoint.state != "starting" or job.is_final or job.id != endpoint.status.get("job"):
        return {}
    found = reasons_of(visit, tx, job)
    if any(reason["code"] == "pause" for reason in found["reasons"]):  # its last event says best why it pauses
        return {**found, "why": "".join(event.why for _, event in events.newest_of(tx, job.id, limit=1))}
    return {**found, "why": "; ".join(filter(None, (whereabouts(job), found["why"])))}


def find(tx: Tx, visit: Visit, ref: str) -> Resource:
    """An endpoint by id, or by name in the visited workspace.

    Raises:
        NotFoundError: there is none that the visitor may see.
    """
    return visit.find(tx, ref, "endpoint") if is_id(ref) else find_named(tx, "endpoint", visit.workspace, ref)


@raises(CapacityError, IllegalMoveError, NameTakenError)
async def change(visit: Writing, ref: RefPath, body: Wish, if_match: IfMatch = None) -> JSONResponse:
    """Give an endpoint another model or other limits; its old gang stops, then a new one starts."""

    def work(tx: Tx) -> Resource:
        endpoint = find(tx, visit, ref)
        check_match(endpoint, if_match)
        if endpoint.is_final or endpoint.spec.get("is_deleted"):
            raise IllegalMoveError(f"Endpoint '{endpoint.name}' is being taken down", fix="Make a new one.")
        spec, _ = _spec(tx, visit, endpoint.workspace, body)
        if spec.is_front != bool(endpoint.spec["endpoint"].get("is_front")):
            raise InvalidError(f"'{endpoint.name}' cannot become a front, or cease to be one", fix="Make a new one.")
        check_hosts(tx, spec, but=endpoint.id)
        author = visit.author(endpoint.workspace)
        check_job(visit.platform.landscape.at(tx), plan(spec, endpoint=endpoint.id, name=endpoint.name), author)
        wished = replace(endpoint, spec={**endpoint.spec, "endpoint": spec.to_json()}, updated_at=author.at)
        return resources.update(tx, wished, changed(endpoint, "changed", author), expected=endpoint.revision)

    endpoint = await visit.write(work)
    return answer(ResourceOut.of(endpoint), headers={"etag": etag(endpoint)})


change.__annotations__["body"] = LimitsIn
router.put("/endpoints/{ref}", response_model=ResourceOut)(change)


@router.delete("/endpoints/{ref}", response_model=ResourceOut)
@raises(IllegalMoveError)
async def delete(visit: Writing, ref: RefPath, if_match: IfMatch = None) -> JSONResponse:
    """Take an endpoint down: it drains, ends its workers, and frees its name."""

    def work(tx: Tx) -> Resource:
        endpoint = find(tx, visit, ref)
        check_match(endpoint, if_match)
        if endpoint.is_final or endpoint.spec.get("is_deleted"):
            return endpoint
        check_unused(tx, endpoint)
        author = visit.author(endpoint.workspace)
        wished = replace(endpoint, spec={**endpoint.spec, "is_deleted": True}, updated_at=author.at)
        return resources.update(tx, wished, changed(endpoint, "delete", author), expected=endpoint.revision)

    endpoint = await visit.write(work)
    return answer(ResourceOut.of(endpoint), headers={"etag": etag(endpoint)})


@router.get("/site", response_model=SiteOut)
@raises(NotFoundError)
async def site(visit: WorkerReading) -> JSONResponse:
    """What the worker whose token this is serves: asked by a front that many endpoints share, before it trusts one."""

    def work(tx: Tx) -> dict[str, Any]:
        if not visit.principal.job:
            raise NotFoundError("Only the worker of an endpoint serves something", fix="Use a worker's token.")
        job = resources.get(tx, visit.principal.job, kind="job")
        spec = job.spec["params"].get("spec", {})
        if job.spec.get("stage") != "serve" or not job.spec["params"].get("endpoint"):
            raise NotFoundError(f"Job {job.id} serves no endpoint", fix="Ask with the token of one that does.")
        params = job.spec["params"]
        front = str(spec.get("front") or "")
        return {"endpoint": params["endpoint"], "name": params["name"], "job": job.id, "front": front, "spec": spec}

    return answer(await visit.read(work))


@router.get("/behind", response_model=BehindOut)
@raises(NotFoundError)
async def list_behind(
    visit: WorkerReading,
    known: Annotated[str, Query(max_length=64, description="`digest` of the last answer")] = "",
    wait_s: Annotated[float, Query(ge=0, le=60, description="wait for another answer this long")] = 0.0,
) -> JSONResponse:
    """The endpoints that answer through the front whose token this is, whether or not a worker of theirs has come."""
    hub, left_s = visit.platform.hub, until(wait_s)
    while True:
        arrival = hub.arrival(of_kind("endpoint"))
        found = await visit.read(lambda tx: _behind(tx, visit.principal.job))
        digest = sha256(" ".join(f"{one['endpoint']} {one['why']}" for one in found).encode()).hexdigest()
        if digest != known or wait_s == 0 or left_s() <= 0 or hub.is_closed:
            return answer({"digest": digest, "items": found})
        await wait_for(arrival, left_s())


def _behind(tx: Tx, job_id: str) -> list[dict[str, Any]]:
    job = resources.get(tx, job_id, kind="job") if job_id else None
    params = job.spec["params"] if job is not None and job.spec.get("stage") == "serve" else {}
    if not params.get("spec", {}).get("is_front"):
        raise NotFoundError("Only a front that endpoints share has some behind it", fix="Ask with its token.")
    front = str(params["endpoint"])
    return [
        {
            **{"endpoint": one.id, "name": one.name, "job": "", "front": front, "spec": one.spec["endpoint"]},
            "why": str(one.status.get("why") or "its job failed") if one.state == "failed" else "",
        }
        for one in sorted(behind(tx, front), key=lambda one: one.id)
    ]
