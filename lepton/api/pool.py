"""`/pool`: the machines, and what of them is free."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from lepton.api.door import ReadingAnywhere, answer
from lepton.api.route import DoorRoute
from lepton.api.wire import ResourceOut, ResourcePage
from lepton.server.placing import Holdings
from lepton.store import resources
from lepton.store.database import Tx

router = APIRouter(prefix="/pool", tags=["pool"], route_class=DoorRoute)


@router.get("/nodes", response_model=ResourcePage)
async def list_nodes(visit: ReadingAnywhere) -> JSONResponse:
    """Every node, with what it has and what of it is free."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        free = {node.name: node for node in Holdings().free_nodes(tx)}
        rows = [ResourceOut.of(row) for row in resources.alive(tx, "node")]
        for row in rows:
            left = free[row["name"]].free
            row["status"]["free"] = {
                "cpu_milli": left.cpu_milli,
                "gpu_milli": left.gpu_milli,
                "memory_bytes": left.memory_bytes,
            }
        return rows

    return answer({"items": await visit.read(work), "next": None})
