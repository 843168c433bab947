"""The one door: authenticate, authorise, validate, act, audit - the same path for every request.

A route asks for a `Visit` and does all its work through it. A thing that the visitor may not see is not found.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from lepton.api.knocks import Knocks
from lepton.api.promises import raises
from lepton.api.wire import NAME
from lepton.core.clock import to_micros
from lepton.core.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from lepton.core.event import Event
from lepton.core.ids import is_id
from lepton.core.resource import Resource
from lepton.jobs.spec import JobSpec
from lepton.security.identity import WORKER_PREFIX, Principal, hash_token, read_worker_token
from lepton.security.policy import Action, allows, shortfall
from lepton.server import people
from lepton.server.build import Platform
from lepton.server.people import DEFAULT_WORKSPACE
from lepton.server.submit import Author
from lepton.store import events, idempotency, resources
from lepton.store.database import Tx

log = logging.getLogger("lepton.api")
T = TypeVar("T")
REMEMBER_S = 5.0
"""How long an identity is believed without asking the database; another server's revocation is seen after this."""
MOST_KNOWN = 10_000
PRINCIPAL = "lepton.principal"
"""Where a request's scope says who is asking."""


class Visit:
    """One request of one principal."""

    def __init__(self, platform: Platform, principal: Principal, action: Action, request: Request) -> None:
        self.platform = platform
        self.principal = principal
        self.action = action
        self.request = request
        self.workspace = ""

    def author(self, workspace: str | None = None) -> Author:
        """On whose behalf a change is made."""
        place = self.workspace if workspace is None else workspace
        return Author(actor=self.principal.name, workspace=place, at=self.platform.clock.now())

    def may_see(self, workspace: str) -> bool:
        """Whether the visitor may do what this route does in that workspace."""
        return allows(self.principal, self.action, workspace)

    def sees(self) -> list[str] | None:
        """The workspaces that the visitor may look into; None: all."""
        principal = self.principal
        if principal.is_platform_admin:
            return None
        return [name for name in principal.roles if allows(principal, Action.READ, name)]

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a read transaction, in a thread."""
        return await self.platform.read(work)

    async def peek(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, which reads only a few rows by their keys: at once, where the database is near."""
        database = self.platform.database
        return database.read(work) if database.dialect.is_near else await self.platform.read(work)

    @property
    def gate(self) -> "Gate":
        """Who knows the tokens."""
        found: Gate = self.request.app.state.gate
        return found

    async def is_welcome(self) -> bool:
        """Whether the visitor's token still lives and reaches the visited workspace: asked again by long streams."""
        try:
            self.principal = await self.gate.principal(bearer(self.request))
        except UnauthenticatedError:
            return False
        return self.may_see(self.workspace)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a write transaction; committed when this returns."""
        return await asyncio.wrap_future(self.platform.database.submit(work))

    def find(self, tx: Tx, id: str, kind: str) -> Resource:
        """A resource the visitor may see.

        Raises:
            NotFoundError: there is none, or it is in a workspace that is not the visitor's.
            ForbiddenError: the visitor may see it, but not do this to it.
        """
        if not is_id(id):
            raise NotFoundError(f"There is no {kind} {id[:80]!r}", fix="Check the id with the list command.")
        found = resources.get(tx, id, kind=kind)
        if self.may_see(found.workspace):
            return found
        if allows(self.principal, Action.READ, found.workspace):
            raise refused(self, found.workspace)
        raise NotFoundError(f"There is no {kind} {id[:80]!r}", fix="Check the id with the list command.")

    async def create(self, key: str | None, body: Any, work: Callable[[Tx], Any]) -> Any:
        """Run `work` in a write transaction, once for an idempotency key; return the JSON it gives."""
        if not key:
            return await self.write(work)
        text = f"{self.request.method} {self.request.url.path}?{self.request.url.query}\n{body!r}"
        request = hashlib.sha256(text.encode()).hexdigest()
        at = to_micros(self.platform.clock.now())

        def once(tx: Tx) -> Any:
            known = idempotency.recall(tx, self.principal.name, key, request)
            if known is not None:
                return known
            answer = work(tx)
            idempotency.remember(tx, self.principal.name, key, request=request, answer=answer, at=at)
            return answer

        return await self.write(once)


class Gate:
    """Knows who is behind a token, and remembers it for a few seconds."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[str, tuple[Principal, float]] = {}
        self._workers: dict[str, str] = {}
        self._knocks = Knocks()
        self.epoch = 0
        """Grows whenever somebody's rights may have changed."""
        platform.hub.on_event(self._hear)

    def _hear(self, event: Event) -> None:
        if event.kind in ("user", "workspace"):
            self.epoch += 1
            self._known.clear()
        elif event.subject in self._workers:  # a start has ended, and its token with it
            self.epoch += 1
            self._known.pop(self._workers.pop(event.subject), None)

    def note_refusal(self, address: str) -> None:
        """Tell the audit trail that somebody there has no good token."""
        event = self._knocks.heard(address, self._platform.clock.now())
        if event is not None:
            self._platform.database.submit(lambda tx: events.append(tx, event))

    async def principal(self, token: str) -> Principal:
        """Whom a token speaks for.

        Raises:
            UnauthenticatedError: nobody, or no longer.
        """
        now_s = self._platform.clock.monotonic()
        hash = hash_token(token)
        known = self._known.get(hash)
        if known is not None and known[1] > now_s:
            return known[0]
        epoch = self.epoch
        found = await self._platform.read(lambda tx: self._look_up(tx, token, hash))
        if found is None:
            raise UnauthenticatedError(
                "The token is unknown, revoked or expired", fix="Set LEPTON_TOKEN, or read it from the file DIR/token."
            )
        if epoch == self.epoch:  # else what was read may be out of date already
            self._remember(hash, found, now_s)
        return found

    def _remember(self, hash: str, found: Principal, now_s: float) -> None:
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
            self._workers.clear()
        left_s = REMEMBER_S
        if found.expires_at is not None:
            left_s = min(left_s, (found.expires_at - to_micros(self._platform.clock.now())) / 1_000_000)
        self._known[hash] = (found, now_s + left_s)
        if found.job:
            self._workers[found.job] = hash

    def _look_up(self, tx: Tx, token: str, hash: str) -> Principal | None:
        if token.startswith(WORKER_PREFIX):
            return self._worker(tx, token)
        return people.principal(tx, hash, to_micros(self._platform.clock.now()))

    def _worker(self, tx: Tx, token: str) -> Principal | None:
        claim = read_worker_token(self._platform.keys.workers, token)
        if claim is None:
            return None
        try:
            job = resources.get(tx, claim[0], kind="job")
        except NotFoundError:
            return None
        if job.is_final or job.status.get("generation", 0) != claim[1]:
            return None
        return Principal(name=f"job:{job.id}", roles={job.workspace: "worker"}, job=job.id)


def bearer(request: Request) -> str:
    """The token of a request.

    Raises:
        UnauthenticatedError: it has none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise UnauthenticatedError(
            "The request has no token", fix="Send 'Authorization: Bearer TOKEN'; the first one is in DIR/token."
        )
    return token


async def admit(request: Request) -> None:
    """Find out who is asking, before anything else of the request is looked at.

    Raises:
        UnauthenticatedError: nobody we know.
    """
    gate: Gate = request.app.state.gate
    token = bearer(request)
    try:
        request.scope[PRINCIPAL] = await gate.principal(token)
    except UnauthenticatedError:
        gate.note_refusal(request.client.host if request.client else "")
        raise


def visit(action: Action, *, is_for_workers: bool = False) -> Callable[[Request], Awaitable[Visit]]:
    """A dependency: the visit of a known principal. The workspace is checked with what the route then asks for."""

    is_refusing = not is_for_workers or action is Action.PLATFORM

    @raises(*((ForbiddenError,) if is_refusing else ()))
    async def enter(request: Request) -> Visit:
        platform: Platform = request.app.state.platform
        principal: Principal = request.scope[PRINCIPAL]
        opened = Visit(platform, principal, action, request)
        if principal.job and not is_for_workers:
            raise refused(opened)
        if action is Action.PLATFORM and not allows(principal, action, ""):
            raise refused(opened)
        return opened

    return enter


def anywhere(action: Action, *, is_for_workers: bool = False) -> Callable[..., Awaitable[Visit]]:
    """A dependency: a visit to what belongs to no workspace, by somebody who may do this in one at least."""

    @raises(ForbiddenError)
    async def enter(opened: Annotated[Visit, Depends(visit(action, is_for_workers=is_for_workers))]) -> Visit:
        principal = opened.principal
        if not principal.is_platform_admin and not any(opened.may_see(name) for name in principal.roles):
            raise refused(opened)
        return opened

    return enter


def refused(opened: Visit, workspace: str = "", action: Action | None = None) -> ForbiddenError:
    """Note the refusal in the audit trail; return the error to raise, which says what it takes."""
    wanted = action or opened.action
    why = shortfall(opened.principal, wanted, workspace)
    path = f"{opened.request.method} {opened.request.url.path}".replace("\x00", "")
    at = opened.platform.clock.now()
    event = people.refused(path, workspace, actor=opened.principal.name, why=why, at=at)
    opened.platform.database.submit(lambda tx: events.append(tx, event))
    where = f"workspace '{workspace}'" if workspace else "the platform"
    fix = "Use a user's token." if opened.principal.job else f"Ask an administrator of {where} for it."
    return ForbiddenError(why, fix=fix)


def check_self(visit: Visit, name: str) -> None:
    """Refuse what is about another user, unless to an administrator of the platform.

    Raises:
        ForbiddenError: it is.
    """
    if name != visit.principal.name and not visit.principal.is_platform_admin:
        raise refused(visit, action=Action.PLATFORM)


def in_workspace(action: Action, *, is_for_workers: bool = False) -> Callable[..., Awaitable[Visit]]:
    """A dependency: a visit to the workspace named in the query. A worker is always in its job's."""

    @raises(NotFoundError, *((ForbiddenError,) if action is not Action.READ else ()))
    async def enter(
        opened: Annotated[Visit, Depends(visit(action, is_for_workers=is_for_workers))],
        workspace: Annotated[str, Query(max_length=63, pattern=NAME, description="which tenant")] = DEFAULT_WORKSPACE,
    ) -> Visit:
        place = next(iter(opened.principal.roles)) if opened.principal.job else workspace
        if not allows(opened.principal, Action.READ, place):
            raise NotFoundError(f"There is no workspace {place!r}", fix="Ask for the workspaces you are a member of.")
        if not allows(opened.principal, action, place):
            raise refused(opened, place)
        opened.workspace = place
        return opened

    return enter


Reading = Annotated[Visit, Depends(in_workspace(Action.READ))]
Writing = Annotated[Visit, Depends(in_workspace(Action.WRITE))]
Administering = Annotated[Visit, Depends(in_workspace(Action.ADMIN))]
ReadingAny = Annotated[Visit, Depends(visit(Action.READ))]
WritingAny = Annotated[Visit, Depends(visit(Action.WRITE))]
ReadingAnywhere = Annotated[Visit, Depends(anywhere(Action.READ))]
Platforming = Annotated[Visit, Depends(visit(Action.PLATFORM))]
WorkerReading = Annotated[Visit, Depends(visit(Action.READ, is_for_workers=True))]
WorkerWriting = Annotated[Visit, Depends(visit(Action.WRITE, is_for_workers=True))]
WorkerReadingAnywhere = Annotated[Visit, Depends(anywhere(Action.READ, is_for_workers=True))]
WorkerWritingIn = Annotated[Visit, Depends(in_workspace(Action.WRITE, is_for_workers=True))]
WorkerReadingIn = Annotated[Visit, Depends(in_workspace(Action.READ, is_for_workers=True))]
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="repeat a request with the same key and it happens once")
]


def answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A JSON answer as it stands."""
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def check_known(workspace: str, tx: Tx) -> None:
    """Refuse to make things in a workspace that does not exist (a platform admin may name any).

    Raises:
        NotFoundError: there is none of that name.
    """
    if resources.by_name(tx, "workspace", "", workspace) is None:
        raise NotFoundError(f"There is no workspace {workspace!r}", fix="Make it: lepton workspaces create NAME")


def job_spec(job: Resource) -> JobSpec:
    """A job's wish."""
    return JobSpec.from_json(job.spec)
