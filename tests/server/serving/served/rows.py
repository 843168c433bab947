"""A service whose async generators never wait for anything."""

from collections.abc import AsyncIterator
from typing import Any

from lepton.serve import Response, Service, WebSocket, handler
from lepton.serve.llm.runtime import Ask


class Rows(Service):
    """Gives more than anybody takes."""

    concurrency = 8

    def init(self) -> None:
        self.given = self.open = 0

    def models(self) -> dict[str, object]:
        return {"endless": self}

    async def _endless(self, piece: Any) -> AsyncIterator[Any]:
        self.open += 1
        try:
            while True:
                self.given += 1
                yield piece
        finally:
            self.open -= 1

    @handler
    async def text(self, size: int) -> AsyncIterator[str]:
        async for piece in self._endless("x" * size):
            yield piece

    @handler
    async def answer(self, size: int) -> Response:
        return Response(self._endless("x" * size))

    async def chat(self, ask: Ask) -> AsyncIterator[str]:
        async for piece in self._endless("x" * len(ask.messages[0]["content"])):
            yield piece

    @handler("/talk")
    async def talk(self, socket: WebSocket) -> None:
        self.open += 1
        try:
            for _ in range(50_000):
                await socket.send("x" * 1000)
        finally:
            self.open -= 1

    @handler("/state", method="GET")
    async def state(self) -> list[int]:
        return [self.given, self.open]
