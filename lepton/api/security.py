"""`/security`: workspaces, users, tokens, members and secrets."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from lepton.api.door import (
    Administering,
    IdempotencyKey,
    Platforming,
    Reading,
    ReadingAny,
    Visit,
    answer,
    check_known,
    check_self,
    refused,
)
from lepton.api.jobs import Cursor, Limit, list_resources
from lepton.api.match import IfMatch, check_match, etag
from lepton.api.promises import raises
from lepton.api.route import DoorRoute
from lepton.api.wire import (
    AccessOut,
    Id,
    MembersOut,
    Name,
    NameIn,
    NewTokenOut,
    ResourceOut,
    ResourcePage,
    RoleIn,
    SecretIn,
    TokenIn,
    TokenPage,
    UserIn,
    WhoOut,
)
from lepton.core import __version__
from lepton.core.clock import to_micros
from lepton.core.errors import ForbiddenError, NameTakenError, NotFoundError
from lepton.core.resource import Resource
from lepton.security.policy import Action, allows
from lepton.server import people as house
from lepton.store import people, resources
from lepton.store.database import Tx
from lepton.store.people import Token

router = APIRouter(prefix="/security", tags=["security"], route_class=DoorRoute)
NamePath = Annotated[Name, Path()]
LIVING = {"state": "ready"}
"""What has been deleted is `deleted`."""
NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}


@router.get("/whoami", response_model=WhoOut)
async def whoami(visit: ReadingAny) -> JSONResponse:
    """Whom the token speaks for, and the server's version."""
    who = visit.principal
    return answer(
        {
            "name": who.name,
            "roles": dict(who.roles),
            "is_platform_admin": who.is_platform_admin,
            "version": __version__,
        }
    )


@router.get("/access", response_model=AccessOut)
@raises(NotFoundError)
async def access(visit: ReadingAny, endpoint: Annotated[Id, Query()]) -> JSONResponse:
    """Whether the token may use an endpoint: asked by its front on behalf of a caller."""
    await visit.read(lambda tx: visit.find(tx, endpoint, "endpoint"))
    return answer({"name": visit.principal.name})


@router.post("/workspaces", status_code=201, response_model=ResourceOut)
@raises(NameTakenError)
async def create_workspace(visit: Platforming, body: NameIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Make a workspace."""

    def work(tx: Tx) -> dict[str, Any]:
        return ResourceOut.of(house.make_workspace(tx, body.name, visit.author("")))

    return answer(await visit.create(idempotency_key, body, work), status=201)


@router.get("/workspaces", response_model=ResourcePage)
async def list_workspaces(visit: ReadingAny, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """The workspaces that the token reaches, newest first."""
    if visit.principal.is_platform_admin:
        return await list_resources(visit, "workspace", LIVING, limit=limit, cursor=cursor)

    def work(tx: Tx) -> str:
        wishes = [{**LIVING, "name": name} for name in visit.principal.roles]
        rows = [row for where in wishes for row in resources.list_rows(tx, "workspace", "", where=where, before=cursor)]
        return ResourcePage.text(sorted(rows, reverse=True)[: limit + 1], limit)

    return Response(await visit.read(work), media_type="application/json")


@router.delete("/workspaces/{name}", status_code=204, responses=NO_CONTENT)
async def delete_workspace(visit: Platforming, name: NamePath, if_match: IfMatch = None) -> Response:
    """End a workspace in which nothing lives."""

    def work(tx: Tx) -> None:
        found = house.find_named(tx, "workspace", "", name)
        check_match(found, if_match)
        house.delete_workspace(tx, found, visit.author(""))

    await visit.write(work)
    return Response(status_code=204)


@router.get("/workspaces/{name}/members", response_model=MembersOut)
async def members(visit: ReadingAny, name: NamePath) -> JSONResponse:
    """Who has which role."""

    def work(tx: Tx) -> dict[str, str]:
        _reach(visit, name, Action.READ)
        house.find_named(tx, "workspace", "", name)
        return people.members_of(tx, name)

    return answer({"members": await visit.read(work)})


@router.put("/workspaces/{name}/members/{user}", response_model=MembersOut)
async def set_member(visit: ReadingAny, name: NamePath, user: NamePath, body: RoleIn) -> JSONResponse:
    """Give a user a role in a workspace; an empty role ends the membership."""

    def work(tx: Tx) -> dict[str, str]:
        _reach(visit, name, Action.ADMIN)
        house.set_role(tx, name, user, role=body.role, author=visit.author(name))
        return people.members_of(tx, name)

    return answer({"members": await visit.write(work)})


def _reach(visit: Visit, workspace: str, action: Action) -> None:
    if not allows(visit.principal, Action.READ, workspace):
        raise NotFoundError(f"There is no workspace {workspace!r}", fix="Ask for those you are a member of.")
    if not allows(visit.principal, action, workspace):
        raise refused(visit, workspace, action)


@router.post("/users", status_code=201, response_model=ResourceOut)
@raises(NameTakenError)
async def create_user(visit: Platforming, body: UserIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Make a user."""

    def work(tx: Tx) -> dict[str, Any]:
        spec = {"is_platform_admin": body.is_platform_admin}
        return ResourceOut.of(house.make_named(tx, "user", body.name, spec, visit.author("")))

    return answer(await visit.create(idempotency_key, body, work), status=201)


@router.get("/users", response_model=ResourcePage)
async def list_users(visit: Platforming, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """All users, newest first."""
    return await list_resources(visit, "user", LIVING, limit=limit, cursor=cursor)


@router.delete("/users/{name}", status_code=204, responses=NO_CONTENT)
async def delete_user(visit: Platforming, name: NamePath, if_match: IfMatch = None) -> Response:
    """End a user, with all tokens and memberships."""

    def work(tx: Tx) -> None:
        found = house.find_named(tx, "user", "", name)
        check_match(found, if_match)
        if name == house.ADMIN:
            raise ForbiddenError(
                "The first administrator cannot be deleted",
                fix="Revoke its tokens; a restart of the server makes a new one in DIR/token.",
            )
        house.delete_user(tx, found, visit.author(""))

    await visit.write(work)
    return Response(status_code=204)


@router.post("/users/{name}/tokens", status_code=201, response_model=NewTokenOut)
async def create_token(visit: ReadingAny, name: NamePath, body: TokenIn) -> JSONResponse:
    """Make a token for yourself, or as an administrator for anybody. It is shown only now."""
    check_self(visit, name)
    now = to_micros(visit.platform.clock.now())
    expires_at = None if body.lifetime_s is None else now + int(body.lifetime_s * 1_000_000)
    token, secret = await visit.write(
        lambda tx: house.issue_token(tx, name, label=body.label, expires_at=expires_at, author=visit.author(""))
    )
    return answer({**_token(token), "token": secret}, status=201)


@router.get("/users/{name}/tokens", response_model=TokenPage)
async def list_tokens(visit: ReadingAny, name: NamePath) -> JSONResponse:
    """A user's tokens, without the tokens themselves."""
    check_self(visit, name)

    def work(tx: Tx) -> list[Token]:
        house.find_named(tx, "user", "", name)
        return people.tokens_of(tx, name)

    return answer({"items": [_token(token) for token in await visit.read(work)]})


@router.delete("/users/{name}/tokens/{id}", status_code=204, responses=NO_CONTENT)
async def revoke_token(visit: ReadingAny, name: NamePath, id: Annotated[Id, Path()]) -> Response:
    """End a token at once."""
    check_self(visit, name)
    await visit.write(lambda tx: house.revoke_token(tx, name, id, visit.author("")))
    return Response(status_code=204)


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "user": token.username,
        "label": token.label,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }


@router.put("/secrets/{name}", response_model=ResourceOut)
async def set_secret(visit: Administering, name: NamePath, body: SecretIn, if_match: IfMatch = None) -> JSONResponse:
    """Store a secret, sealed; jobs get it as an environment variable, nobody can read it back."""

    def work(tx: Tx) -> Resource:
        check_known(visit.workspace, tx)
        if if_match is not None:
            check_match(resources.by_name(tx, "secret", visit.workspace, name), if_match)
        key = visit.platform.keys.secrets
        return house.set_secret(tx, name, body.value, key=key, author=visit.author())

    secret = await visit.write(work)
    return answer(ResourceOut.of(secret), headers={"etag": etag(secret)})


@router.get("/secrets", response_model=ResourcePage)
async def list_secrets(visit: Reading, limit: Limit = 100, cursor: Cursor = "") -> Response:
    """Names of the secrets of a workspace, newest first."""
    return await list_resources(visit, "secret", {"state": "ready"}, limit=limit, cursor=cursor)


@router.delete("/secrets/{name}", status_code=204, responses=NO_CONTENT)
async def delete_secret(visit: Administering, name: NamePath, if_match: IfMatch = None) -> Response:
    """Destroy a secret."""

    def work(tx: Tx) -> None:
        found = house.find_named(tx, "secret", visit.workspace, name)
        check_match(found, if_match)
        house.delete_named(tx, found, visit.author())

    await visit.write(work)
    return Response(status_code=204)
