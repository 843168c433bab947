"""The WebSocket that a handler is given. Standard library only: what it speaks with is made by the replica.

class Talk(Service):
    @handler("/rooms/{room}")
    async def chat(self, socket: WebSocket, room: str) -> None:
        async for message in socket:             # until the client says goodbye
            await socket.send(f"{room}: {message}")
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Protocol


class ClosedError(ConnectionError):
    """A message is to be sent over a WebSocket that is closed."""

    def __init__(self) -> None:
        super().__init__("The WebSocket is closed")


class Peer(Protocol):
    """The connection below it, message by message."""

    offered: list[str]

    @property
    def close_code(self) -> int | None:
        """What the client closed with."""
        ...

    async def open(self, subprotocol: str | None = None) -> None:
        """Accept it; a second call does nothing."""
        ...

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client has closed."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send one message."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye."""
        ...


class WebSocket:
    """Annotate a parameter of an async handler with it: the handler then talks with a client until it returns.

    The connection is accepted with the first message that is sent or awaited. What the handler raises before that is a
    status, as of any handler; after it the connection closes with 1011.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def subprotocols(self) -> list[str]:
        """Those that the client would speak, its favourite first."""
        return list(self._peer.offered)

    @property
    def close_code(self) -> int | None:
        """What the client closed with; None: it has not."""
        return self._peer.close_code

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accept the connection, perhaps with one of the client's subprotocols."""
        await self._peer.open(subprotocol)

    async def receive(self) -> str | bytes | None:
        """The next message, text or bytes; None once the client has closed or is gone."""
        await self._peer.open()
        return await self._peer.receive()

    async def send(self, message: str | bytes) -> None:
        """Send one message; waits while the client does not read.

        Raises:
            ConnectionError: one side has closed. A handler that lets it pass just ends.
        """
        await self._peer.open()
        await self._peer.send(message)

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        await self.send(json.dumps(value))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; before it is accepted: refuse it with a 403."""
        await self._peer.close(code, reason)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while (message := await self.receive()) is not None:
            yield message
