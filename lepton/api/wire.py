"""The shapes that cross the door: every field documented, unknown ones refused."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lepton.api.storable import check_storable
from lepton.core.artifact import ArtifactKind, Version
from lepton.core.clock import from_micros
from lepton.core.event import Event
from lepton.core.ids import check_name
from lepton.core.resource import Resource
from lepton.store.database import Row

NAME = r"^[a-z0-9]+((\.|\.?[_-]+(\.[_-]+)*\.?)[a-z0-9]+)*$"
"""Beside it a name has at most 63 characters. No two dots meet."""
REF = NAME.removesuffix("$") + "(@[1-9][0-9]{0,9})?$"
ID = r"^[a-z]{2,4}_[0-9a-hjkmnp-tv-z]{26}$"
BRANCH = r"^[a-z0-9][a-z0-9._-]*$"
ANYTHING = r"^\*$"
WATCH = r"^[0-9a-f]{32}$"
MAYBE_NAME = f"^({NAME.strip('^$')})?$"
MAYBE_REF = f"^({REF.strip('^$')})?$"
MAYBE_ID = r"^([a-z]{2,4}_[0-9a-hjkmnp-tv-z]{26})?$"
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME), AfterValidator(check_name)]
Id = Annotated[str, Field(pattern=ID)]
OptionalId = Annotated[str, Field(pattern=MAYBE_ID)]
Ref = Annotated[str, Field(max_length=74, pattern=REF, description="`name`, `name@number` or an id of a version")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, Field(max_length=131_072)]


class Part(BaseModel):
    """A part of a request body: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _read_whole_numbers(cls, body: Any) -> Any:
        """JSON has one kind of number: 2.0 is as whole as 2."""
        if isinstance(body, dict):
            for name, value in body.items():
                if type(value) is float and value.is_integer() and name in cls.model_fields:
                    body[name] = int(value) if cls.model_fields[name].annotation is int else value
        return body


class Wish(Part):
    """A request body: strict types, no unknown fields, no text that a store could not hold."""

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, body: Any) -> Any:
        check_storable(body, "", 0)
        return body


class ErrorOut(BaseModel):
    """Every answer that is not a success."""

    code: str = Field(description="stable; see docs/errors.md")
    message: str = Field(description="what happened")
    fix: str = Field(description="what to do about it")
    details: dict[str, Any] | None = Field(None, description="more of what happened, where there is more to tell")


class ResourceOut(BaseModel):
    """Anything a user makes and keeps."""

    id: str
    kind: str
    workspace: str
    name: str
    spec: dict[str, Any]
    status: dict[str, Any]
    state: str
    owner: str
    revision: int
    is_final: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, resource: Resource) -> dict[str, Any]:
        """The JSON of a resource; a secret's content never leaves."""
        return {
            "id": resource.id,
            "kind": resource.kind,
            "workspace": resource.workspace,
            "name": resource.name,
            "spec": {} if resource.kind == "secret" else dict(resource.spec),
            "status": dict(resource.status),
            "state": resource.state,
            "owner": resource.owner,
            "revision": resource.revision,
            "is_final": resource.is_final,
            "created_at": resource.created_at.isoformat(),
            "updated_at": resource.updated_at.isoformat(),
        }


class ResourcePage(BaseModel):
    """Part of a list, newest first."""

    items: list[ResourceOut]
    next: str | None = Field(description="give it as `cursor` for the following page; null at the end")

    @staticmethod
    def text(rows: Sequence[Row], limit: int, *, key: int = 0) -> str:
        """The JSON of a page, of up to `limit` + 1 rows. Spec and status go out as they are stored, never parsed.

        Args:
            key: the column by which pages go on: the id, or another.
        """
        items = ", ".join(_resource_text(row) for row in rows[:limit])
        cursor = rows[limit - 1][key] if len(rows) > limit else None
        return f'{{"items": [{items}], "next": {json.dumps(cursor)}}}'


def _resource_text(row: Row) -> str:
    id, kind, workspace, name, spec, status, state, owner, is_final, revision, created_at, updated_at = row
    plain = {
        "id": id,
        "kind": kind,
        "workspace": workspace,
        "name": name,
        "state": state,
        "owner": owner,
        "revision": revision,
        "is_final": bool(is_final),
        "created_at": from_micros(created_at).isoformat(),
        "updated_at": from_micros(updated_at).isoformat(),
    }
    return f'{json.dumps(plain)[:-1]}, "spec": {"{}" if kind == "secret" else spec}, "status": {status}}}'


class FileShape(Part):
    """One file of a version."""

    path: Annotated[str, Field(min_length=1, max_length=512)]
    digest: Digest
    size_bytes: Annotated[int, Field(ge=0, le=1 << 50)]


class VersionIn(Wish):
    """A version to be made of objects that are stored already."""

    kind: ArtifactKind
    name: Annotated[str, Field(min_length=1, max_length=63, pattern=NAME, description="a checkpoint's is its job's id")]
    files: Annotated[list[FileShape], Field(min_length=1, max_length=100_000)]
    meta: dict[str, Any] = {}
    parents: dict[Annotated[str, Field(max_length=63)], Id] = {}
    job: OptionalId = ""


class VersionOut(BaseModel):
    """One immutable version of an artifact."""

    id: str
    workspace: str
    kind: str
    name: str
    number: int
    digest: str
    size_bytes: int
    files: list[dict[str, Any]]
    meta: dict[str, Any]
    parents: dict[str, str]
    job: str
    created_at: str

    @classmethod
    def of(cls, version: Version) -> dict[str, Any]:
        """The JSON of a version."""
        files = [{"path": file.path, "digest": file.digest, "size_bytes": file.size_bytes} for file in version.files]
        return {
            "id": version.id,
            "workspace": version.workspace,
            "kind": version.kind,
            "name": version.name,
            "number": version.number,
            "digest": version.digest,
            "size_bytes": version.size_bytes,
            "files": files,
            "meta": dict(version.meta),
            "parents": dict(version.parents),
            "job": version.job,
            "created_at": version.created_at.isoformat(),
        }


class VersionPage(BaseModel):
    """Part of a list, newest first."""

    items: list[VersionOut]
    next: str | None


class LinkOut(BaseModel):
    """One step of a lineage."""

    role: str
    depth: int
    version: VersionOut


class LineageOut(BaseModel):
    """Everything something was made from, nearest first."""

    subject: dict[str, Any]
    links: list[LinkOut]


class EventOut(BaseModel):
    """One thing that happened."""

    seq: int
    subject: str
    kind: str
    workspace: str
    verb: str
    why: str
    actor: str
    at: str
    data: dict[str, Any]

    @classmethod
    def of(cls, seq: int, event: Event) -> dict[str, Any]:
        """The JSON of an event."""
        return {
            "seq": seq,
            "subject": event.subject,
            "kind": event.kind,
            "workspace": event.workspace,
            "verb": event.verb,
            "why": event.why,
            "actor": event.actor,
            "at": event.at.isoformat(),
            "data": dict(event.data),
        }


class EventPage(BaseModel):
    """Events, oldest first."""

    items: list[EventOut]
    next: int | None = Field(description="give it as `after` for the following page; null at the end")

    @staticmethod
    def of(found: Sequence[tuple[int, Event]], limit: int) -> dict[str, Any]:
        """The JSON of a page, of up to `limit` + 1 events."""
        items = [EventOut.of(seq, event) for seq, event in found[:limit]]
        return {"items": items, "next": items[-1]["seq"] if len(found) > limit else None}


class ReportOut(BaseModel):
    """How far the report has been taken in."""

    next: int


class ReasonOut(BaseModel):
    """One reason for which a job waits."""

    code: str = Field(description="dependency, pause, promised, quota, reserved, node_state, topology, shape or turn")
    words: str
    facts: dict[str, Any]


class WhyOut(BaseModel):
    """Why a job is where it is."""

    state: str
    why: str
    reasons: list[ReasonOut] = Field(description="of one that waits, the most important first")
    starts_between: list[str] | None = Field(description="when one that waits probably starts, 8 times in 10")
    events: list[EventOut]


class MetricsOut(BaseModel):
    """Name -> [[step, value], ...]."""

    series: dict[str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]]


class NameIn(Wish):
    """Something that needs only a name."""

    name: Name


class UserIn(Wish):
    """A new user."""

    name: Name
    is_platform_admin: bool = False


class TokenIn(Wish):
    """A new token."""

    label: Annotated[str, Field(max_length=100)] = ""
    lifetime_s: Annotated[float, Field(gt=0, le=1e9)] | None = None


class TokenOut(BaseModel):
    """What is known of a token."""

    id: str
    user: str
    label: str
    created_at: int
    expires_at: int | None


class NewTokenOut(TokenOut):
    """A token when it is made: the only time it is shown."""

    token: str


class TokenPage(BaseModel):
    """A user's tokens."""

    items: list[TokenOut]


class RoleIn(Wish):
    """A member's role; empty ends the membership."""

    role: Literal["admin", "editor", "viewer", ""]


class MembersOut(BaseModel):
    """User -> role."""

    members: dict[str, str]


class SecretIn(Wish):
    """A secret's value."""

    value: Annotated[str, Field(min_length=1, max_length=65_536)]


class WhoOut(BaseModel):
    """Whom a token speaks for."""

    name: str
    roles: dict[str, str]
    is_platform_admin: bool
    version: str


class AccessOut(BaseModel):
    """That the token may use the endpoint."""

    name: str
