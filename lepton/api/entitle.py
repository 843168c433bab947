"""`/pool/queues` and `/pool/quotas`: who is entitled to how much of the pool, changed while work runs."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api.door import Platforming, ReadingAnywhere, answer
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import MAYBE_NAME, Name, Wish
from lepton.api.wishes import Priority
from lepton.core.clock import to_micros
from lepton.core.errors import ConflictError, NotFoundError
from lepton.core.resource import Resource
from lepton.pool.quota import MOST_GRACE_S, QueueSpec, QuotaSpec, quota_name
from lepton.server import entitle
from lepton.server.people import delete_named
from lepton.store import resources
from lepton.store.database import Tx

router = APIRouter(route_class=DoorRoute)
"""Part of `pool.router`."""
NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}
LISTS = {"queue": "lepton pool queues", "quota": "lepton pool quota"}
Device = Literal["gpu_milli", "tpu_milli", "fpga_milli", "cpu_milli", "memory_bytes"]
AmountsIn = dict[Device, Annotated[int, Field(ge=0, lt=2**62)]]
NamePath = Annotated[Name, Path()]
OfPath = Annotated[Literal["user", "workspace"], Path()]


class QueueIn(Wish):
    """A queue. Amounts are thousandths of each device, or bytes."""

    parent: Annotated[str, Field(max_length=63, pattern=MAYBE_NAME, description="the queue above it; empty: none")] = ""
    guarantee: AmountsIn = Field({}, description="goes first, and takes back what others have borrowed, up to this")
    limit: AmountsIn = Field({}, description="never holds more; what is not named has no limit")
    weight: Annotated[float, Field(ge=0.001, le=1000, description="share of what is borrowed")] = 1.0
    workspaces: Annotated[list[Name], Field(max_length=1000, description="who may use it; empty: all")] = Field([])
    max_priority: Priority | Literal[""] = Field("", description="the highest that its jobs may have; empty: any")
    max_grace_s: Annotated[float, Field(ge=0, le=MOST_GRACE_S)] | None = Field(
        None, description="what its jobs get to end at most when stopped for others; null: as the queue above says"
    )


class QuotaIn(Wish):
    """The most that a user or a workspace may hold, and how urgent its jobs may be, whatever queues it uses."""

    limit: AmountsIn = Field({}, description="what is not named has no limit")
    max_priority: Priority | Literal[""] = Field("", description="the highest that its jobs may have; empty: any")


class QueueOut(BaseModel):
    """A queue, and how it is used."""

    name: str
    spec: dict[str, Any]
    status: dict[str, Any] = Field(
        description="held (with that of queues below), jobs, waiting, longest_wait_s; max_grace_s that counts"
    )
    revision: int = Field(description="0: it is there without having been made")
    warnings: list[str] = Field([], description="what cannot be kept at present")


class QueuePage(BaseModel):
    """All queues."""

    items: list[QueueOut]


class QuotaOut(BaseModel):
    """A quota, and how much of it is used."""

    name: str = Field(description="user:NAME or workspace:NAME")
    spec: dict[str, Any]
    status: dict[str, Any] = Field(description="held")
    revision: int


class QuotaPage(BaseModel):
    """All quotas."""

    items: list[QuotaOut]


@router.get("/queues", response_model=QueuePage)
async def list_queues(visit: ReadingAnywhere) -> JSONResponse:
    """Every queue by name, with what it holds and who waits in it."""
    now = to_micros(visit.platform.clock.now())
    return answer({"items": await visit.read(lambda tx: visit.platform.overview.queues(tx, now))})


@router.get("/queues/{name}", response_model=QueueOut)
async def get_queue(visit: ReadingAnywhere, name: NamePath) -> JSONResponse:
    """One queue, with what it holds and who waits in it."""
    now = to_micros(visit.platform.clock.now())
    found = await visit.read(lambda tx: _row(visit.platform.overview.queues(tx, now), "queue", name))
    return answer(found, headers={"etag": f'"{found["revision"]}"'})


@router.put("/queues/{name}", response_model=QueueOut)
async def set_queue(visit: Platforming, name: NamePath, body: QueueIn, if_match: IfMatch = None) -> JSONResponse:
    """Make a queue, or change it whole; the running and waiting jobs are looked at anew."""

    def work(tx: Tx) -> tuple[Resource, Any]:
        if if_match is not None:
            check_match(resources.by_name(tx, "queue", "", name), if_match)
        spec = QueueSpec.from_json(body.model_dump())
        return entitle.set_queue(tx, name, spec, visit.author(""), visit.platform.landscape.at(tx))

    stored, warnings = await visit.write(work)
    now = to_micros(visit.platform.clock.now())
    found = await visit.read(lambda tx: _row(visit.platform.overview.queues(tx, now), "queue", name))
    return answer({**found, "warnings": list(warnings)}, headers={"etag": etag(stored)})


@router.delete("/queues/{name}", status_code=204, responses=NO_CONTENT)
@raises(ConflictError)
async def delete_queue(visit: Platforming, name: NamePath, if_match: IfMatch = None) -> Response:
    """End a queue in which no job lives and below which no other stands."""
    seq, living = await visit.read(lambda tx: visit.platform.overview.living(tx, name))

    def work(tx: Tx) -> None:
        found = entitle.find_queue(tx, name)
        check_match(found, if_match)
        entitle.delete_queue(tx, found, visit.author(""), seq=seq, living=living)

    await visit.write(work)
    return Response(status_code=204)


@router.get("/quotas", response_model=QuotaPage)
async def list_quotas(visit: ReadingAnywhere) -> JSONResponse:
    """Every quota, with how much of it is used."""
    return answer({"items": await visit.read(visit.platform.overview.quotas)})


@router.get("/quotas/{of}/{who}", response_model=QuotaOut)
async def get_quota(visit: ReadingAnywhere, of: OfPath, who: NamePath) -> JSONResponse:
    """One quota, with how much of it is used."""
    found = await visit.read(lambda tx: _row(visit.platform.overview.quotas(tx), "quota", quota_name(of, who)))
    return answer(found, headers={"etag": f'"{found["revision"]}"'})


@router.put("/quotas/{of}/{who}", response_model=QuotaOut)
async def set_quota(
    visit: Platforming, of: OfPath, who: NamePath, body: QuotaIn, if_match: IfMatch = None
) -> JSONResponse:
    """Limit a user or a workspace, or change that limit; what runs already stays."""
    name = quota_name(of, who)

    def work(tx: Tx) -> Resource:
        if if_match is not None:
            check_match(resources.by_name(tx, "quota", "", name), if_match)
        return entitle.set_quota(tx, QuotaSpec(of=of, who=who, **body.model_dump()), visit.author(""))

    stored = await visit.write(work)
    found = await visit.read(lambda tx: _row(visit.platform.overview.quotas(tx), "quota", name))
    return answer(found, headers={"etag": etag(stored)})


@router.delete("/quotas/{of}/{who}", status_code=204, responses=NO_CONTENT)
async def delete_quota(visit: Platforming, of: OfPath, who: NamePath, if_match: IfMatch = None) -> Response:
    """Take a limit away."""

    def work(tx: Tx) -> None:
        found = entitle.find_quota(tx, of, who)
        check_match(found, if_match)
        delete_named(tx, found, visit.author(""))

    await visit.write(work)
    return Response(status_code=204)


def _row(rows: Sequence[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The row of that name.

    Raises:
        NotFoundError: there is none.
    """
    for row in rows:
        if row["name"] == name:
            return row
    raise NotFoundError(f"There is no {kind} '{name[:80]}'", fix=f"See those that there are: {LISTS[kind]}")
