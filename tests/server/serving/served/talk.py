"""A service whose handlers talk over WebSockets."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import fastapi
from fastapi import FastAPI

from lepton.serve import HTTPError, Service, WebSocket, handler

app = FastAPI()


@app.websocket("/nag")
async def nag_all(socket: fastapi.WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text("more")


class Talk(Service):
    """Handlers over WebSocket."""

    @handler("/rooms/{room}")
    async def chat(self, socket: WebSocket, room: str, times: int = 1) -> None:
        async for message in socket:
            if message == "leave":
                break
            if message == "fail":
                raise RuntimeError("broken")
            for _ in range(times):
                await socket.send(message if isinstance(message, bytes) else f"{room}: {message}")

    def mounts(self) -> Mapping[str, Any]:
        return {"/app": app}

    @handler
    async def nag(self, socket: WebSocket) -> None:
        while True:
            await socket.send("more")

    @handler
    async def shrug(self, socket: WebSocket) -> None:
        while True:
            with suppress(ConnectionError):
                await socket.send("more")

    @handler("/ends", method="GET")
    async def ends(self) -> str:
        return "here"

    @handler
    async def pick(self, socket: WebSocket) -> None:
        if "v2" not in socket.subprotocols:
            raise HTTPError(400, "Speak v2", fix="Offer the subprotocol v2.")
        await socket.accept("v2")
        await socket.send_json({"code": await socket.receive()})
