"""The HTTP application: routes, limits, and errors that always look alike."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lepton.api import branches, catalog, files, jobs, jwts, keeping, logs, pool, security, stages, vault, watch
from lepton.api.bodies import BodyLimit, SlowBodyError, Turns
from lepton.api.copies import Copies
from lepton.api.door import Gate
from lepton.api.doorstep import Doorstep
from lepton.api.promises import documented
from lepton.api.streams import RangeError
from lepton.api.wire import ErrorOut
from lepton.api.wording import fields_beside, invalid
from lepton.core import __version__
from lepton.core.errors import LeptonError, UnauthenticatedError, clip
from lepton.server.build import Platform

log = logging.getLogger("lepton.api")
PREFIX = "/api/v1"
MODULES = (jobs, logs, stages, catalog, vault, files, branches, keeping, pool, security, jwts, watch)
ROUTERS = (*(module.router for module in MODULES), jwts.open_router)
STREAMED = tuple(f"{PREFIX}/vault/{kind}/" for kind in ("objects", "files", "folders"))
"""Beginning of the paths whose bodies are worked on while they come, and have limits of their own."""
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {**about, "model": ErrorOut} for status, about in documented([UnauthenticatedError]).items()
}
"""What every route can answer; see `promises` for the rest."""
HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid", 413: "too_large", 415: "invalid"}
HTTP_FIXES = {404: f"See {PREFIX}/openapi.json for every path."}
HOLE = re.compile(r"\\\{[^}]*\\\}")


class Application(FastAPI):
    """FastAPI, whose document says how to show who one is."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for operations in document["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    _without_null(parameter["schema"])
        return document

    def methods(self, path: str) -> list[str]:
        """The methods that a path knows."""
        found = set()
        for form, operations in self.openapi()["paths"].items():
            if re.fullmatch(HOLE.sub("[^/]+", re.escape(form)), path):
                found |= {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        return sorted(found or {"GET", "HEAD"})  # else: of the document itself


def _without_null(schema: dict[str, Any]) -> None:
    """Say of a parameter that may be left out what it is when it is given: never null."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if choices:
        schema.update(choices[0] if len(choices) == 1 else {"anyOf": choices})


def make_app(platform: Platform) -> FastAPI:
    """The application over a platform; its loops turn while it runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        platform.start()
        yield
        await platform.close()

    app = Application(
        title="Lepton",
        version=__version__,
        summary="The AI cloud you own.",
        lifespan=lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=DOCUMENTED,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.state.gate = Gate(platform)
    app.state.uploads = Turns()
    app.state.copies = Copies()
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.add_exception_handler(LeptonError, _lepton_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(BodyLimit, limit_bytes=platform.config.max_body_bytes, spared=STREAMED)
    app.add_middleware(Doorstep, spared=STREAMED)
    return app


async def _lepton_error(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, LeptonError)
    if fault.status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, fault)
    headers = {"www-authenticate": "Bearer"} if fault.status == 401 else {}
    headers |= {"retry-after": "1"} if fault.status == 503 else {}
    headers |= {"connection": "close"} if isinstance(fault, SlowBodyError) else {}  # the rest is not waited for
    headers |= fault.headers if isinstance(fault, RangeError) else {}
    return JSONResponse(fault.to_json(), status_code=fault.status, headers=headers)


async def _validation_error(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    body = getattr(request.scope.get("route"), "body_field", None)
    model = None if body is None else body.field_info.annotation
    error = invalid(fault.errors(), lambda where: fields_beside(model, where))
    return JSONResponse(error.to_json(), status_code=error.status)


async def _http_error(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    if isinstance(fault.__cause__, LeptonError):  # FastAPI wraps what goes wrong while a body is read
        return await _lepton_error(request, fault.__cause__)
    headers = {name.lower(): value for name, value in (fault.headers or {}).items()}
    fix = HTTP_FIXES.get(fault.status_code, f"See {PREFIX}/openapi.json.")
    if fault.status_code == 405:  # every method of the path, not only of the route that came nearest
        methods = request.app.methods(request.url.path)
        headers["allow"], fix = ", ".join(methods), f"Use {' or '.join(methods)}."
    code = HTTP_CODES.get(fault.status_code, "invalid" if fault.status_code < 500 else "internal")
    body = {
        "code": code,
        "message": f"{request.method} {clip(request.url.path)}: {fault.detail}",
        "fix": fix,
    }
    return JSONResponse(body, status_code=fault.status_code, headers=headers)


async def _bug(request: Request, fault: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=fault)
    error = LeptonError("The server made a mistake; it is in its log", fix="Report it with the time of the request.")
    return JSONResponse(error.to_json(), status_code=500)
