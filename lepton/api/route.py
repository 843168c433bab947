"""The kind of route that every request goes through: who is it, is the question well put - then the endpoint."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from lepton.api.bodies import JsonRequest
from lepton.api.door import admit
from lepton.api.promises import MediaTypeError, documented, parts, promised
from lepton.api.wording import nearest
from lepton.core.errors import InvalidError, clip


class DoorRoute(APIRoute):
    """A route that knows its visitor before it reads a body, takes no parameter it does not know, and says in the
    OpenAPI document which errors it can answer with. A body is JSON, and said to be JSON."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.responses = {**documented(promised(self)), **self.responses}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, behind what must hold before it."""
        answer = super().get_route_handler()
        names, takes_body = query_names(self.dependant), self.body_field is not None

        async def handle(request: Request) -> Response:
            await admit(request)
            if request.scope["query_string"]:
                check_query(request, names)
            if not takes_body:
                return await answer(request)
            check_media_type(request)
            return await answer(JsonRequest(request.scope, request.receive))

        return handle


def query_names(dependant: Dependant) -> frozenset[str]:
    """The query parameters that a route knows."""
    names: set[str] = set()
    for part in parts(dependant):
        for field in part.query_params:
            model = field.field_info.annotation
            is_model = isinstance(model, type) and issubclass(model, BaseModel)
            names |= set(model.model_fields) if is_model else {field.alias}  # type: ignore[union-attr]
    return frozenset(names)


def check_query(request: Request, names: frozenset[str]) -> None:
    """Refuse a parameter that means nothing here, and one that is given twice.

    Raises:
        InvalidError: there is such a one.
    """
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in names:
            raise InvalidError(f"{clip(name, 80)!r} is no parameter of this request", fix=nearest(name, sorted(names)))
        if name in seen:
            raise InvalidError(f"The parameter {name!r} is given more than once", fix=f"Give {name} once.")
        seen.add(name)


def check_media_type(request: Request) -> None:
    """Refuse a body that is not said to be JSON.

    Raises:
        MediaTypeError: it is of another kind, or of no stated one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MediaTypeError(
            f"The body is {clip(kind, 80) or 'of no stated type'}, not JSON",
            fix="Send content-type: application/json.",
        )
