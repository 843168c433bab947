"""`/vault/quota`, `/vault/retention`: how much a workspace keeps and may keep, and which versions."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api.door import Administering, Platforming, Reading, Visit, answer
from lepton.api.files import kept
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import Name, Wish
from lepton.core.errors import NotFoundError
from lepton.server.allowance import Used, set_limit, used
from lepton.server.damage import finding
from lepton.server.retention import Planned, Retention, set_rule
from lepton.vault.backup.retention import Keep

router = APIRouter(prefix="/vault", tags=["vault"], route_class=DoorRoute)
MOST_TOLD = 1000
Count = Annotated[int, Field(ge=0, le=1_000_000)]


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


class KeepIn(Wish):
    """Which versions of each branch are kept; nothing given: all."""

    last: Count = Field(0, description="the newest ones")
    hourly: Count = Field(0, description="the newest of each of so many hours (of UTC) that have any")
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    dry_run: bool = Field(False, description="change nothing: say what the rule would let go of")


class KeepOut(BaseModel):
    """A rule."""

    last: int
    hourly: int
    daily: int
    weekly: int
    monthly: int
    yearly: int


class GoneOut(BaseModel):
    """A version whose files are let go of at the next turn."""

    branch: str
    version: str
    at: int = Field(description="when the branch came to it, microseconds since 1970")


class RetentionOut(BaseModel):
    """Which versions a workspace keeps, and what that means now."""

    keep: KeepOut = Field(description="all 0: all versions are kept")
    kept: int = Field(description="versions that the rule keeps")
    let_go: int = Field(description="versions that the next turn, once a day, lets go of")
    versions: list[GoneOut] = Field(description="the newest 1,000 of those")


@router.get("/retention", response_model=RetentionOut, dependencies=[Depends(kept)])
async def get_retention(visit: Reading) -> JSONResponse:
    """Which versions a workspace keeps, and which the next turn lets go of."""
    return answer(_planned_out(await _plan(visit, None)))


@router.put("/retention", response_model=RetentionOut, dependencies=[Depends(kept)])
async def set_retention(visit: Administering, body: KeepIn) -> JSONResponse:
    """Let a workspace keep versions by a rule; or, with `dry_run`, only say what that would let go of."""
    keep = Keep(**{name: value for name, value in body.model_dump().items() if name != "dry_run"})
    if not body.dry_run:
        await visit.write(lambda tx: set_rule(tx, visit.workspace, keep, visit.author("")))
    return answer(_planned_out(await _plan(visit, keep)))


async def _plan(visit: Visit, keep: Keep | None) -> Planned:
    platform = visit.platform
    retention = Retention(platform.database, platform.objects.vault, platform.clock)
    with finding(f"The tree of {visit.workspace}"):
        return await asyncio.to_thread(retention.plan, visit.workspace, keep)


def _planned_out(planned: Planned) -> dict[str, Any]:
    gone = sorted(planned.choice.gone.values(), key=lambda move: -move.at)
    versions = [{"branch": move.name, "version": move.version.hex(), "at": move.at} for move in gone[:MOST_TOLD]]
    told = {"kept": len(planned.choice.kept), "let_go": len(gone), "versions": versions}
    return {"keep": asdict(planned.keep), **told}
