"""A service whose generators never wait for anything, and whose answers are large."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from lepton.serve import Response, Service, WebSocket, handler
from lepton.serve.llm.runtime import Ask


class Rows(Service):
    """Gives more than anybody takes."""

    concurrency = 8

    def init(self) -> None:
        self.given = self.open = 0
        self.gate = asyncio.Event()

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

    @handler(sse=False)
    def plain(self, size: int) -> Iterator[bytes]:
        self.open += 1
        try:
            while True:
                self.given += 1
                yield b"x" * size
        finally:
            self.open -= 1

    @handler
    async def large(self, size: int) -> bytes:
        await self.gate.wait()
        return b"x" * size

    @handler
    async def release(self) -> None:
        """All that wait answer in one turn of the loop."""
        self.gate.set()

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
