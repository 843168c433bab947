"""`/vault/quota`: how much a workspace keeps, and may keep."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api.door import Platforming, Reading, answer
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import Name, Wish
from lepton.core.errors import NotFoundError
from lepton.server.allowance import Used, set_limit, used

router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute)


class QuotaIn(Wish):
    """A workspace's limit."""

    workspace: Name
    limit_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = Field(None, description="null: none")


class UsedOut(BaseModel):
    """What a workspace keeps in the vault, and may keep."""

    stored_bytes: int = Field(description="of its packs: chunks once, compressed, older versions too until pruned")
    limit_bytes: int | None = Field(description="null: no limit")


@router.get("/quota", response_model=UsedOut)
async def get_quota(visit: Reading) -> JSONResponse:
    """What a workspace keeps in the vault, and may keep."""
    return answer(_used_out(await visit.read(lambda tx: used(tx, visit.workspace))))


@router.put("/quota", response_model=UsedOut)
@raises(NotFoundError)
async def set_quota(visit: Platforming, body: QuotaIn) -> JSONResponse:
    """Limit what a workspace may keep; what it has stays."""
    place = body.workspace
    await visit.write(lambda tx: set_limit(tx, place, body.limit_bytes, visit.author("")))
    return answer(_used_out(await visit.read(lambda tx: used(tx, place))))


def _used_out(found: Used) -> dict[str, Any]:
    return {"stored_bytes": found.stored_bytes, "limit_bytes": found.limit_bytes}
