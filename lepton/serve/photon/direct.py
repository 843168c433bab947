"""A photon's plain POST handlers, asked without FastAPI: it reads and answers the same, at a fifth of the cost.

Only what is usual goes this way: a JSON body that fits the handler, no other origin. Whatever else comes - a body that
does not fit, a request of a browser from elsewhere, another method - goes the way of all, and gets its answer there.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import pydantic
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from lepton.serve.asgi import METHODS, Mount, head_lines
from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.photon.endpoint import Endpoint
from lepton.serve.photon.meter import Meter
from lepton.serve.program import Reply, Work
from lepton.serve.routes import OWN, Operation

JSON = "application/json"
USUAL = [b"content-length", b"content-type"]
"""Headers of an answer that the front would set by itself."""


@dataclass(frozen=True, slots=True)
class Direct:
    """One handler.

    Args:
        path: where it answers.
        mount: the whole application.
    """

    path: str
    endpoint: Endpoint
    mount: Mount
    meter: Meter
    open: set["asyncio.Task[Reply]"] = field(default_factory=set)
    """What is being worked on."""

    def works(self, number: int, timeout_s: float) -> Iterator[Work]:
        """How a replica answers: its own method here, others by the application. Takes two numbers."""
        rest = tuple(method for method in METHODS if method != "POST")
        common: dict[str, Any] = {"path": self.path, "is_headed": True, "has_body": False, "timeout_s": timeout_s}
        yield Work(operation=Operation(id=number, methods=("POST",), **common), answer=self.answer)
        yield Work(operation=Operation(id=number + 1, methods=rest, **common), answer=self.mount.answer)

    async def answer(self, call: Call) -> Reply:
        """The answer to one request. It is worked on to its end even if its client goes, as elsewhere."""
        given = self._arguments(call)
        if given is None:
            return await self.mount.answer(call)
        work = asyncio.ensure_future(self._answer(call, given))
        self.open.add(work)
        work.add_done_callback(self.open.discard)
        return await asyncio.shield(work)

    def _arguments(self, call: Call) -> Mapping[str, Any] | None:
        """The handler's arguments; None: this is not for here to answer."""
        kind = origin = ""
        for name, value in call.head.headers if call.head is not None else ():
            if name == "content-type":
                kind = value
            elif name == "origin":
                origin = value
        if origin or (kind != JSON and not kind.startswith(f"{JSON};")):
            return None
        if self.endpoint.model is None:
            return {}
        try:
            return self.endpoint.arguments(json.loads(call.body))
        except (ValueError, RecursionError, pydantic.ValidationError, HTTPException):
            return None

    async def _answer(self, call: Call, given: Mapping[str, Any]) -> Reply:
        meter, began, status, size = self.meter, monotonic(), 500, 0
        meter.running += 1
        try:
            response = await self.endpoint.answers.give(partial(self.endpoint.run, **given))
            reply = await self._reply(call, response)
            status, size = reply.status, len(reply.body)
            return reply
        finally:
            meter.running -= 1
            meter.saw((self.path, "POST"), status, len(call.body), size, monotonic() - began)

    async def _reply(self, call: Call, response: Response) -> Reply:
        if not hasattr(response, "body") or response.background is not None:
            return await Mount("", response, finishes=True).answer(call)  # it streams, or does more
        headers = response.raw_headers
        if response.media_type == JSON and [name for name, _ in headers] == USUAL:
            return Reply(bytes(response.body), response.status_code)
        return Reply(bytes(response.body), response.status_code, Media.OTHER, head_lines(headers))


def directs(app: FastAPI, mount: Mount, meter: Meter) -> list[Direct]:
    """The handlers that can be asked so; none if the program has changed what happens round all of them."""
    middleware: list[Any] = [each.cls for each in app.user_middleware]
    if middleware != [CORSMiddleware] or app.router.dependencies:
        return []
    if app.dependency_overrides or app.exception_handlers.keys() - FastAPI().exception_handlers.keys() != {404}:
        return []
    found = []
    for endpoint in app.state.endpoints:
        path = f"/{endpoint.path}"
        if endpoint.is_plain and path.encode() not in OWN and _is_first(app, path, endpoint.path):
            found.append(Direct(path, endpoint, mount, meter))
    return found


def _is_first(app: FastAPI, path: str, name: str) -> bool:
    """Whether no other route answers a POST at this path."""
    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": []}
    first = next((route for route in app.router.routes if route.matches(scope)[0] is Match.FULL), None)
    return getattr(first, "name", None) == name and getattr(first, "path", None) == path
