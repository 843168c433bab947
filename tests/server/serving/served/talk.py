"""A service whose handlers talk over WebSockets."""

from lepton.serve import HTTPError, Service, WebSocket, handler


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

    @handler
    async def pick(self, socket: WebSocket) -> None:
        if "v2" not in socket.subprotocols:
            raise HTTPError(400, "Speak v2", fix="Offer the subprotocol v2.")
        await socket.accept("v2")
        await socket.send_json({"code": await socket.receive()})
