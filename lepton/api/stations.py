"""One way to ask a station for work: its spec's fields as the body, references resolved, its plan submitted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Annotated, Any, Protocol, get_type_hints

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field, create_model

from lepton.api.door import IdempotencyKey, Writing, answer, check_known
from lepton.api.promises import raises
from lepton.api.wire import Name, Ref, ResourceOut, Wish
from lepton.api.wishes import StandingIn
from lepton.catalog.reference import parse
from lepton.core.errors import CapacityError, NotFoundError
from lepton.core.resource import Json
from lepton.jobs.spec import JobSpec
from lepton.server.submit import submit
from lepton.store import catalog
from lepton.store.database import Tx

PLAIN: dict[Any, Any] = {tuple[str, ...]: list[str]}
"""Types of specs that JSON spells otherwise."""


class Spec(Protocol):
    """A station's wish."""

    @property
    def name(self) -> str:
        """Of what the station leaves, and of its job."""
        ...

    @classmethod
    def from_json(cls, fields: Mapping[str, Json], /) -> Any:
        """Read and check it."""
        ...


def wish_model(
    spec: type,
    refs: Mapping[str, Sequence[str]],
    *,
    title: str = "",
    ranges: Mapping[str, tuple[int, int]] | None = None,
    base: type[Wish] = Wish,
) -> type[Wish]:
    """The body that makes a spec: the same fields, and a reference where the spec has a version's id.

    Args:
        ranges: field -> its least and greatest value.
        base: gives it fields beside the spec's.
    """
    hints = get_type_hints(spec)
    shapes: dict[str, Any] = {}
    for field in fields(spec):
        default = ... if field.default is MISSING else field.default
        hint = Ref if field.name in refs else PLAIN.get(hints[field.name], hints[field.name])
        default = list(default) if isinstance(default, tuple) else default
        if field.name in refs and default == "":
            hint, default = Ref | None, None
        if ranges and field.name in ranges:
            hint = Annotated[hint, Field(ge=ranges[field.name][0], le=ranges[field.name][1])]
        shapes[field.name] = (Name if field.name == "name" else hint, default)
    model: type[Wish] = create_model(title or f"{spec.__name__.removesuffix('Spec')}In", __base__=base, **shapes)
    model.__doc__ = spec.__doc__
    return model


def resolve(tx: Tx, workspace: str, body: Wish, refs: Mapping[str, Sequence[str]]) -> dict[str, Json]:
    """The body with every reference replaced by the id of the version it points at now.

    Raises:
        NotFoundError: one points at nothing.
    """
    plain = body.model_dump()
    for name, kinds in refs.items():
        if plain[name] is None:
            del plain[name]
            continue
        plain[name] = catalog.find(tx, workspace, parse(plain[name]), kinds=kinds).id
    return plain


def add_station(
    router: APIRouter,
    path: str,
    spec: type[Spec],
    plan: Callable[[Any], JobSpec],
    refs: Mapping[str, Sequence[str]],
) -> None:
    """Add `POST path`: submit the job that a station plans for a wish.

    Args:
        refs: fields of the spec that are version ids -> the kinds of version they may be.
    """
    model = wish_model(spec, refs, base=StandingIn)

    @raises(CapacityError, NotFoundError)
    async def create(visit: Writing, body: StandingIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
        def work(tx: Tx) -> dict[str, Any]:
            check_known(visit.workspace, tx)
            given = resolve(tx, visit.workspace, body, refs)
            wish = spec.from_json({name: given[name] for name in given.keys() - StandingIn.model_fields.keys()})
            job = replace(plan(wish), queue=body.queue, priority=body.priority)
            return ResourceOut.of(submit(tx, job, name=wish.name, author=visit.author(), land=visit.platform.landscape))

        made = await visit.create(idempotency_key, body, work)
        return answer(made, status=201, headers={"location": f"/api/v1/jobs/{made['id']}"})

    create.__annotations__["body"] = model
    router.post(path, status_code=201, response_model=ResourceOut, summary=f"{spec.__doc__}", name=model.__name__)(
        create
    )
