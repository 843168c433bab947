"""What is settled before a request finds its route: names with a slash or a line break in them, and HEAD."""

import asyncio
from contextlib import suppress

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton.core.errors import NotFoundError

NO_SLASH = NotFoundError("No name or id has a '/' in it", fix="Check it with the list command.")

NO_BREAK = NotFoundError("No name or id has a line break in it", fix="Use another name.")
"""A route would match the path without one that it ends with, and act on another thing."""


class Doorstep:
    """Refuses what would be taken apart into another path; answers HEAD with the headers that GET would have.

    Args:
        spared: beginning of the paths whose routes know HEAD themselves.
    """

    def __init__(self, app: ASGIApp, spared: tuple[str, ...]) -> None:
        self.app = app
        self.spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, if it is one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (fault := _fault(scope)) is not None:
            await JSONResponse(fault.to_json(), status_code=fault.status)(scope, receive, send)
        elif scope["method"] == "HEAD" and not scope["path"].startswith(self.spared):
            await self._head({**scope, "method": "GET"}, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let GET begin; end it, be it an endless stream, once its headers are known."""
        begun = asyncio.Event()

        async def headers_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                begun.set()

        answering = asyncio.ensure_future(self._to_end(scope, receive, headers_only))
        waiting = asyncio.ensure_future(begun.wait())
        await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for one in (waiting, answering):
            one.cancel()
        with suppress(asyncio.CancelledError):
            await answering

    async def _to_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _fault(scope: Scope) -> NotFoundError | None:
    """Why there is no such path, if that is plain."""
    if b"%2f" in (scope.get("raw_path") or b"").lower():
        return NO_SLASH
    return NO_BREAK if "\n" in scope["path"] else None
