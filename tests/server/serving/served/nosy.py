"""A service that tells what it sees of its callers, in every way a request reaches code."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi import Request as Asked
from fastapi import WebSocket as Line

from lepton.serve import Request, Service, Upload, WebSocket, handler


class Nosy(Service):
    """Answers with the headers of its requests."""

    @handler
    def mine(self, request: Request) -> dict[str, Any]:
        return {**request.headers, "user": request.user}

    @handler("/items/{id}", method="GET")
    def item(self, id: str, request: Request) -> dict[str, str]:
        return dict(request.headers)

    @handler(is_public=True)
    def open(self, request: Request) -> dict[str, str]:
        return dict(request.headers)

    @handler(is_public=True)
    def blind(self) -> int:
        return 1

    @handler
    def form(self, file: Upload, request: Request) -> dict[str, str]:
        return dict(request.headers)

    @handler
    async def talk(self, socket: WebSocket, request: Request) -> None:
        await socket.send(json.dumps(dict(request.headers)))

    def mounts(self) -> Mapping[str, Any]:
        app = FastAPI()

        @app.get("/mine")
        def mine(request: Asked) -> dict[str, str]:
            return dict(request.headers)

        @app.websocket("/talk")
        async def talk(line: Line) -> None:
            await line.accept()
            await line.send_json(dict(line.headers))

        def old(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            start("200 OK", [("content-type", "application/json")])
            return [json.dumps({name: value for name, value in environ.items() if name.startswith("HTTP_")}).encode()]

        return {"/app": app, "/old": old}
