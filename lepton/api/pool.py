"""`/pool`: the machines, and what of them is free."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from lepton.api import entitle
from lepton.api.door import Platforming, ReadingAnywhere, Visit, answer
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.route import DoorRoute
from lepton.api.wire import ResourceOut, ResourcePage
from lepton.core.resource import Resource
from lepton.pool.standing import Wish
from lepton.server.nodes import find_node, set_wish
from lepton.store.database import Tx

router = APIRouter(prefix="/pool", tags=["pool"], route_class=DoorRoute)
router.include_router(entitle.router)
NodeName = Annotated[str, Path(min_length=1, max_length=253)]


@router.get("/nodes", response_model=ResourcePage)
async def list_nodes(visit: ReadingAnywhere) -> JSONResponse:
    """Every node, with what it has, what of it is free, and how many jobs run there."""
    nodes = await visit.read(visit.platform.overview.nodes)
    return answer({"items": [ResourceOut.of(node) for node in nodes], "next": None})


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


async def _wish(visit: Visit, name: str, wish: Wish, if_match: str | None) -> JSONResponse:
    def work(tx: Tx) -> Resource:
        node = find_node(tx, name)
        check_match(node, if_match)
        return set_wish(tx, node, wish, visit.author(""))

    await visit.write(work)
    node = await visit.read(lambda tx: _told(visit, tx, name))
    return answer(ResourceOut.of(node), headers={"etag": etag(node)})


def _told(visit: Visit, tx: Tx, name: str) -> Resource:
    find_node(tx, name)
    return next(node for node in visit.platform.overview.nodes(tx) if node.name == name)
