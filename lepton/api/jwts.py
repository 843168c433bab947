"""`/security`: signed tokens that endpoints check by themselves, the keys to check them with, and what is revoked."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lepton.api.door import Reading, ReadingAny, WorkerReading, answer, check_self
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.security import NO_CONTENT, NamePath
from lepton.api.serve import find
from lepton.api.wire import Id, Wish
from lepton.core.errors import CapacityError, NotFoundError
from lepton.security.revoked import MAX_LIFETIME_S
from lepton.server import jwts
from lepton.server.build import Platform
from lepton.server.hub import wait_for
from lepton.server.people import find_named
from lepton.store import events, revoked
from lepton.store.database import Tx
from lepton.store.revoked import Revoked

router = APIRouter(prefix="/security", tags=["security"], route_class=DoorRoute)
open_router = APIRouter(prefix="/security", tags=["security"])
"""Needs no token: what is public."""
MOST_WAIT_S = 60.0


class JwtIn(Wish):
    """A signed token that is wished for."""

    endpoint: Annotated[str, Field(max_length=63, description="name or id; empty: every one of the workspace")] = ""
    lifetime_s: Annotated[int, Field(ge=1, le=MAX_LIFETIME_S)] = 600


class JwtOut(BaseModel):
    """A signed token when it is made: the only time it is shown."""

    token: str
    id: str
    audience: str
    """Id of the endpoint, or `workspace:<name>`."""
    expires_at: int


class JwksOut(BaseModel):
    """The platform's public keys (RFC 7517), and how it names itself in what it signs."""

    issuer: str
    keys: list[dict[str, str]]


class RevokedOut(JwksOut):
    """What a front must know to check signed tokens by itself."""

    seq: int
    """Ask next for what comes after this."""
    revoked: list[list[str | int]]
    """Mark, time up to which what bears it is refused, and until when that matters."""


@router.post("/jwts", status_code=201, response_model=JwtOut)
@raises(NotFoundError)
async def create_jwt(visit: Reading, body: JwtIn) -> JSONResponse:
    """Make a signed token from yours, for one endpoint or for all of a workspace. It is shown only now."""

    def work(tx: Tx) -> dict[str, Any]:
        named = body.endpoint
        place = find(tx, visit, named) if named else find_named(tx, "workspace", "", visit.workspace)
        if place.is_final:
            raise NotFoundError(f"Endpoint '{place.name}' is taken down", fix="Name one that lives.")
        author = visit.author(place.workspace or visit.workspace)
        signer, lifetime_s = visit.platform.keys.signer, body.lifetime_s
        issued = jwts.issue(tx, signer, visit.principal, place=place, lifetime_s=lifetime_s, author=author)
        return {**issued._asdict(), "audience": jwts.audience_of(place)}

    return answer(await visit.write(work), status=201)


@router.delete("/users/{name}/jwts/{id}", status_code=204, responses=NO_CONTENT)
@raises(CapacityError)
async def revoke_jwt(visit: ReadingAny, name: NamePath, id: Annotated[Id, Path()]) -> Response:
    """Take back a signed token: fronts hear of it at once."""
    check_self(visit, name)

    def work(tx: Tx) -> None:
        find_named(tx, "user", "", name)
        jwts.revoke_one(tx, name, id, visit.author(""))

    await visit.write(work)
    return Response(status_code=204)


@open_router.get("/jwks", response_model=JwksOut, openapi_extra={"security": []})
async def jwks(request: Request) -> JSONResponse:
    """The public keys that signed tokens are checked with; needs no token."""
    platform: Platform = request.app.state.platform
    return answer(_keys(platform), headers={"cache-control": "max-age=300"})


def _keys(platform: Platform) -> dict[str, Any]:
    signer = platform.keys.signer
    return {"issuer": signer.issuer, "keys": signer.keys}


@router.get("/revoked", response_model=RevokedOut)
@raises(NotFoundError)
async def list_revoked(
    visit: WorkerReading,
    after: Annotated[int, Query(ge=-1, lt=2**62, description="`seq` of the last answer; -1: everything")] = -1,
    wait_s: Annotated[float, Query(ge=0, le=MOST_WAIT_S, description="wait for news this long")] = 0.0,
) -> JSONResponse:
    """What is revoked of signed tokens, and the keys: asked by fronts, again and again, each time with `wait_s`."""
    if not visit.principal.job:
        raise NotFoundError("Only an endpoint asks what is revoked", fix="Use a worker's token.")
    arrival = visit.platform.hub.arrival(jwts.REVOKED)  # asked for first, so that nothing falls between
    found, seq = await visit.read(lambda tx: _after(tx, after))
    if not found and seq >= 0 and wait_s:
        await wait_for(arrival, wait_s)
        found, seq = await visit.read(lambda tx: _after(tx, seq))
    rows = [[one.mark, one.at, one.until] for one in found]
    return answer({**_keys(visit.platform), "seq": max(0, seq), "revoked": rows})


def _after(tx: Tx, seq: int) -> tuple[list[Revoked], int]:
    """What is new, and up to where that is; all, if the number is of a future that a backup has undone."""
    found = revoked.after(tx, seq)
    if not found and seq > 0 and seq > events.newest(tx):
        found, seq = revoked.after(tx, -1), 0
    return found, found[-1].seq if found else seq
