"""Which errors each route can answer with: its checks say so themselves, and the OpenAPI document repeats it.

A dependency or an endpoint is marked with the errors that it raises; the rest follows from what a route takes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from lepton.api.bodies import SlowBodyError
from lepton.core.errors import (
    BadNameError,
    DatabaseError,
    IdempotencyError,
    InvalidError,
    LeptonError,
    NotFoundError,
    StaleError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
    TooLargeError,
    UnavailableError,
)

F = TypeVar("F", bound=Callable[..., Any])
Kind = type[LeptonError]
MARK = "lepton_raises"
ANYWHERE: tuple[Kind, ...] = (InvalidError, BadNameError, UnavailableError, DatabaseError, LeptonError)
"""An unknown query parameter or odd header; a database that does not answer or is damaged; a mistake of ours.
`unauthenticated` is documented by the application itself, on every route."""
SCHEMA = "#/components/schemas/ErrorOut"


class MediaTypeError(LeptonError):
    """The body is of a kind that this route does not take."""

    code, status = "media_type", 415


def raises(*kinds: Kind) -> Callable[[F], F]:
    """Mark a dependency or an endpoint with the errors it raises, beyond those that follow from its parameters."""

    def mark(function: F) -> F:
        setattr(function, MARK, kinds)
        return function

    return mark


def promised(route: APIRoute) -> set[Kind]:
    """Every error that a route can answer with, but `unauthenticated`."""
    found = set(ANYWHERE)
    for part in parts(route.dependant):
        found |= set(getattr(part.call, MARK, ()))
        headers = {field.name for field in part.header_params}
        found |= {IdempotencyError} if "idempotency_key" in headers else set()
        found |= {StaleError} if "if_match" in headers else set()
        found |= {NotFoundError} if part.path_params else set()
    if route.body_field is not None:
        found |= {MediaTypeError, TooLargeError}
    if "vault" in route.tags:
        found |= {StorageUnreachableError, StorageRefusedError}
    if set(route.methods or ()) - {"GET", "HEAD"}:
        found |= {StorageFullError, SlowBodyError}
    return found


def parts(dependant: Dependant) -> Iterator[Dependant]:
    """An endpoint and all that it depends on."""
    yield dependant
    for inner in dependant.dependencies:
        yield from parts(inner)


def documented(kinds: Iterable[Kind]) -> dict[int | str, dict[str, Any]]:
    """The answers of an OpenAPI document that stand for some errors: status -> description and possible codes."""
    codes: dict[int, set[str]] = defaultdict(set)
    for kind in kinds:
        codes[kind.status].add(kind.code)
    return {status: _answer(status, sorted(codes[status])) for status in sorted(codes)}


def _answer(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {"$ref": SCHEMA, "properties": {"code": {"enum": codes}}}
    text = f"{HTTPStatus(status).phrase}: `code` is {' or '.join(f'`{code}`' for code in codes)}."
    return {"description": text, "content": {"application/json": {"schema": schema}}}
