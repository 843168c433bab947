"""`/pool`: the machines, and what of them is free."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api import entitle
from lepton.api.door import Platforming, ReadingAnywhere, Visit, answer
from lepton.api.entitle import NO_CONTENT, QueueOut, QuotaOut
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import EventOut, ResourceOut, ResourcePage
from lepton.api.wishes import LabelsIn
from lepton.core.clock import to_micros
from lepton.core.errors import ConflictError
from lepton.core.resource import Resource
from lepton.pool.standing import NodeState, Wish
from lepton.server.nodes import find_node, remove, set_labels, set_wish
from lepton.server.overview import MOST_NODES
from lepton.store import events
from lepton.store.database import Tx

router = APIRouter(prefix="/pool", tags=["pool"], route_class=DoorRoute)
router.include_router(entitle.router)
DECISIONS = ("queued->placed", "placed->queued", "stopping->queued", "queued->failed", "preempted")
"""Verbs of jobs' events that tell what became of a wait."""
MOST_DECISIONS = 20
NAME_AT = 3
"""Of a row: by it pages of nodes go on."""
NodeLimit = Annotated[int, Query(ge=1, le=MOST_NODES)]
AfterName = Annotated[str, Query(max_length=253, description="`next` of the page before")]
NodeName = Annotated[str, Path(min_length=1, max_length=253)]


class WayOut(BaseModel):
    """Which way of deciding pays, as far as the last jobs say."""

    stops: bool = Field(description="jobs are stopped for a smaller key alone")
    adapts: bool = Field(description="size counts for more while jobs wait long")
    since: str | None = Field(description="when that was found out; null: not yet, and a rule of thumb says so")
    tried_after: int = Field(description="jobs that had ended at the last trial; 0: there was none")
    next_after: int = Field(description="jobs that must have ended for the next")


class PoolOut(BaseModel):
    """The pool at a glance."""

    at: str
    devices: dict[str, dict[str, int]] = Field(description="device -> total, up (on nodes that are there) and held")
    nodes: dict[str, int] = Field(description="state -> how many")
    jobs: dict[str, int] = Field(description="state -> how many live")
    queues: list[QueueOut]
    quotas: list[QuotaOut]
    way: WayOut
    decisions: list[EventOut] = Field(description="what was decided last, newest first, of workspaces that you reach")


@router.get("", response_model=PoolOut)
async def look(visit: ReadingAnywhere) -> JSONResponse:
    """The whole pool at a glance: devices, nodes, jobs, queues, quotas, and what was decided last."""
    at = visit.platform.clock.now()
    sees = visit.sees()
    places = None if sees is None else [*sees, ""]

    def work(tx: Tx) -> dict[str, Any]:
        last = events.newest_decisions(
            tx, verbs=DECISIONS, kinds=["node", "pool"], workspaces=places, limit=MOST_DECISIONS
        )
        found = visit.platform.overview.look(tx, to_micros(at))
        way = visit.platform.placing.mirror.way()
        return {
            "at": at.isoformat(),
            **found,
            "way": way,
            "decisions": [EventOut.of(seq, event) for seq, event in last],
        }

    return answer(await visit.read(work))


@router.get("/nodes", response_model=ResourcePage)
async def list_nodes(
    visit: ReadingAnywhere, state: NodeState | None = None, limit: NodeLimit = MOST_NODES, cursor: AfterName = ""
) -> Response:
    """Nodes by name, each with what it has, what of it is free, and how many jobs run there; all, unless fewer."""

    def work(tx: Tx) -> str:
        rows = visit.platform.overview.nodes(tx, state=state or "", after=cursor, limit=limit + 1)
        return ResourcePage.text(rows, limit, key=NAME_AT)

    return Response(await visit.read(work), media_type="application/json")


@router.get("/nodes/{name}", response_model=ResourceOut)
async def get_node(visit: ReadingAnywhere, name: NodeName) -> JSONResponse:
    """One node, with what it has, what of it is free, and how many jobs run there."""
    node = await visit.read(lambda tx: _told(visit, tx, name))
    return answer(ResourceOut.of(node), headers={"etag": etag(node)})


@router.post("/nodes/{name}/cordon", response_model=ResourceOut)
async def cordon(visit: Platforming, name: NodeName, if_match: IfMatch = None) -> JSONResponse:
    """Let no new work go to a node; what runs there stays. Asking twice is harmless."""
    return await _wish(visit, name, Wish.CORDONED, if_match)


@router.post("/nodes/{name}/drain", response_model=ResourceOut)
async def drain(visit: Platforming, name: NodeName, if_match: IfMatch = None) -> JSONResponse:
    """Let no new work go to a node, and move away what runs there. Answers once the wish is stored."""
    return await _wish(visit, name, Wish.DRAINING, if_match)


@router.post("/nodes/{name}/uncordon", response_model=ResourceOut)
async def uncordon(visit: Platforming, name: NodeName, if_match: IfMatch = None) -> JSONResponse:
    """Let work go to a node again, also to one that is being drained."""
    return await _wish(visit, name, Wish.OPEN, if_match)


@router.post("/nodes/{name}/labels", response_model=ResourceOut)
async def label(visit: Platforming, name: NodeName, body: LabelsIn, if_match: IfMatch = None) -> JSONResponse:
    """Give a node labels beside its engine's and before them, or take such away. They outlive restarts."""
    return await _change(visit, name, if_match, lambda tx, node: set_labels(tx, node, body.labels, visit.author("")))


@router.delete("/nodes/{name}", status_code=204, responses=NO_CONTENT)
@raises(ConflictError)
async def remove_node(visit: Platforming, name: NodeName, if_match: IfMatch = None) -> Response:
    """Forget a node that has failed and where no job holds a place."""
    jobs = await visit.read(lambda tx: visit.platform.overview.use(tx, [name])[name][1])

    def work(tx: Tx) -> None:
        node = find_node(tx, name)
        check_match(node, if_match)
        remove(tx, node, jobs, visit.author(""))

    await visit.write(work)
    return Response(status_code=204)


async def _wish(visit: Visit, name: str, wish: Wish, if_match: str | None) -> JSONResponse:
    return await _change(visit, name, if_match, lambda tx, node: set_wish(tx, node, wish, visit.author("")))


async def _change(
    visit: Visit, name: str, if_match: str | None, change: Callable[[Tx, Resource], Resource]
) -> JSONResponse:
    def work(tx: Tx) -> Resource:
        node = find_node(tx, name)
        check_match(node, if_match)
        return change(tx, node)

    await visit.write(work)
    node = await visit.read(lambda tx: _told(visit, tx, name))
    return answer(ResourceOut.of(node), headers={"etag": etag(node)})


def _told(visit: Visit, tx: Tx, name: str) -> Resource:
    return visit.platform.overview.node(tx, find_node(tx, name))
