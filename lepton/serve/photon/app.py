"""A photon as one ASGI application: its routes, mounts, documentation, metrics, token and cross-origin rules."""

import hmac
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

from lepton.serve.openapi import page
from lepton.serve.photon import config
from lepton.serve.photon.endpoint import Endpoint
from lepton.serve.photon.exposition import joined
from lepton.serve.photon.lanes import Lane
from lepton.serve.photon.marks import marks_of
from lepton.serve.photon.meter import Meter
from lepton.serve.photon.mounts import mount
from lepton.serve.siblings import Siblings, Topics

App = Callable[..., Awaitable[None]]
GUIDE = "/ledoc"
"""Where who asks for an unknown page is sent."""


def make_app(photon: Any, *, load_mount: bool) -> FastAPI:
    """The routes that the program itself has; with `load_mount` also what it mounts."""
    name = photon._photon_name
    title, text = name.replace(".", "_"), photon.__doc__ or f"Photon {name}"
    app = FastAPI(title=title, description=text, docs_url=None, redoc_url=None)
    lane = Lane(photon.handler_max_concurrency, photon.handler_timeout)
    last: list[Mount] = []
    app.state.endpoints = []
    for mark in marks_of(type(photon)):
        if not mark.options.get("mount"):
            endpoint = Endpoint(photon, mark, lane)
            endpoint.add_to(app)
            app.state.endpoints.append(endpoint)
        elif load_mount:
            last += mount(app, photon, mark)
    app.state.mounts = sorted(last, key=lambda each: -len(each.path))
    if load_mount:
        app.router.routes += app.state.mounts
    return app


def finish(app: FastAPI, photon: Any, meter: Meter, *, port: int = 0, siblings: Siblings | None = None) -> App:
    """The whole application: what every photon answers beside its own, behind the token and the cross-origin rules.

    Args:
        meter: counts its requests.
        port: where it is served.
        siblings: the replicas whose numbers are told beside its own.
    """
    mounts: list[Any] = app.state.mounts
    for each in mounts:
        app.router.routes.remove(each)
    _add_pages(app, photon, siblings or Siblings(topics_of(meter)), port)
    if any(not each.path for each in mounts):  # it answers whatever nothing else does
        app.router.routes[:] = [route for route in app.router.routes if getattr(route, "name", "") not in LATE]
    app.router.routes += mounts
    app.add_exception_handler(404, _missing)
    if hasattr(photon, "openapi"):
        app.openapi = photon.openapi()  # type: ignore[method-assign]
    app.add_middleware(
        CORSMiddleware,
        allow_origins=config.ALLOW_ORIGINS,
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    return meter.around(guarded(app, config.get_local_deployment_token()))


LATE = ("favicon", "ledoc")
METRICS, QUEUE = "metrics", "queue-length"


def topics_of(meter: Meter) -> Topics:
    """What replicas ask each other."""
    return {METRICS: lambda: meter.render().encode(), QUEUE: lambda: b"%d" % meter.running}


def _add_pages(app: FastAPI, photon: Any, siblings: Siblings, port: int) -> None:
    def healthz() -> Any:
        return {"status": "ok"}

    async def metrics() -> Response:
        found = await siblings.ask(METRICS)
        text = joined({name: told.decode() for name, told in found.items()})
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def queue_length() -> int:
        return max(0, sum(map(int, (await siblings.ask(QUEUE)).values())) - 1)  # this request is one of them

    def favicon() -> Response:
        return Response(status_code=404)

    pages: dict[str, Any] = {"/metrics": metrics, "/healthz": healthz, "/favicon.ico": favicon}
    if photon.health_check_liveness_tcp_port in (None, port):
        pages["/livez"] = healthz
    for path, answer in pages.items():
        name = "favicon" if answer is favicon else path
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False, name=name)
    app.add_api_route("/queue-length", queue_length, methods=["GET"], include_in_schema=False)
    _add_guide(app)


def _add_guide(app: FastAPI) -> None:
    """Our documentation page, which loads nothing from elsewhere; at GUIDE the vendor's if its package is there."""

    def guide() -> Response:
        return HTMLResponse(page(app.openapi()))

    def moved() -> Response:
        return RedirectResponse(GUIDE)

    for path in ("/docs", "/redoc"):
        app.add_api_route(path, guide, methods=["GET"], include_in_schema=False)
    if find_spec("ledoc_ui") is not None:
        from ledoc_ui import ledoc_ui_path  # noqa: PLC0415  only where it is installed

        app.mount(GUIDE, StaticFiles(directory=ledoc_ui_path, html=True), name="ledoc")
        return
    for path, answer in ((GUIDE, guide), (f"{GUIDE}/", moved)):
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False, name="ledoc")


async def _missing(request: Request, fault: Exception) -> Response:
    """What was not found: by the code of a mount, an error; by nobody, or among files, on to the documentation."""
    if request.url.path.startswith("/static"):
        return JSONResponse({"message": "Not Found"}, status_code=404)
    answered = request.scope.get("endpoint")
    if answered is not None and not isinstance(answered, StaticFiles):
        return JSONResponse({"detail": getattr(fault, "detail", "Not Found")}, status_code=404)
    return RedirectResponse(GUIDE)


def guarded(app: App, token: str) -> App:
    """The application for those who know the token; if it is empty, for everybody."""
    if not token:
        return app

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            word = given.split(b" ")[-1]
            if not hmac.compare_digest(word, token.encode()):
                refusal = JSONResponse({"detail": "Invalid or expired token"}, status_code=403)
                await (refusal(scope, receive, send) if scope["type"] == "http" else send({"type": "websocket.close"}))
                return
        await app(scope, receive, send)

    return asked
