"""Request bodies: JSON read strictly, so that what we understand is what was meant; none too large or too slow."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton.core.errors import InvalidError, LeptonError, TooLargeError

DRAIN_LIMITS = 16
"""How many times the limit is read of a body that is refused."""
IDLE_S = 60.0
"""A sender that is silent for so long is gone; and one that we have waited for longer must have sent ..."""
LEAST_RATE = 1024
"""... so many bytes for each second that we waited."""
UPLOADS_EACH = 16
"""Uploads of one principal that are taken at once; further ones wait."""
JSON_FIX = "Send one JSON object in UTF-8."


class JsonRequest(Request):
    """A request whose JSON may hold nothing twice, no NaN, and no other encoding than UTF-8."""

    async def json(self) -> Any:
        """The body.

        Raises:
            InvalidError: it is not such JSON.
        """
        return read_json(await self.body())


def read_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        InvalidError: it is malformed, is not UTF-8, names a field twice, or holds NaN or Infinity.
    """
    try:
        return json.loads(body.decode(), object_pairs_hook=_each_once, parse_constant=_refuse)
    except UnicodeDecodeError as fault:
        raise InvalidError(f"The body is not UTF-8 at byte {fault.start}", fix=JSON_FIX) from fault
    except json.JSONDecodeError as fault:
        raise InvalidError(f"The body is not JSON: {fault}", fix=JSON_FIX) from fault
    except RecursionError as fault:
        raise InvalidError("The body is nested too deep", fix="Nest it less.") from fault
    except ValueError as fault:  # an integer of thousands of digits
        raise InvalidError("A number in the body is too long", fix="Send numbers of 64 bits.") from fault


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidError(f"The body has the field {twice[:80]!r} twice", fix="Send it once.")
    return found


def _refuse(word: str) -> Any:
    raise InvalidError(f"The body has {word}, which is no JSON number", fix="Send a finite number, or null.")


class SlowBodyError(LeptonError):
    """The body of a request does not come."""

    code, status = "timeout", 408


class Patience:
    """Waits for the pieces of one body, but not for ever: a sender that stalls holds a thread and a connection.

    Args:
        clock: seconds.
    """

    def __init__(self, receive: Receive, *, idle_s: float = IDLE_S, clock: Callable[[], float] = monotonic) -> None:
        self._receive, self._idle_s, self._clock = receive, idle_s, clock
        self._seen, self._waited_s, self._is_whole = 0, 0.0, False

    async def receive(self) -> Message:
        """The next message; once the body is whole, however long that takes.

        Raises:
            SlowBodyError: it does not come, or in drops.
        """
        if self._is_whole:
            return await self._receive()
        begun = self._clock()
        try:
            message = await asyncio.wait_for(self._receive(), self._idle_s)
        except TimeoutError as fault:
            raise _slow(f"Nothing of the body came for {self._idle_s:g} s") from fault
        self._waited_s += self._clock() - begun
        self._seen += len(message.get("body", b""))
        self._is_whole = not message.get("more_body")
        if not self._is_whole and self._waited_s > self._idle_s and self._seen < LEAST_RATE * self._waited_s:
            raise _slow(f"Only {self._seen} bytes came in {self._waited_s:.0f} s")
        return message


class Turns:
    """Lets so many things of each name be under way at once; others wait their turn. For one event loop."""

    def __init__(self, each: int = UPLOADS_EACH) -> None:
        self._each = each
        self._of: dict[str, tuple[asyncio.Semaphore, int]] = {}
        """Name -> its turns, and how many have one or wait for one."""

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """A turn, once there is one."""
        turns, count = self._of.get(name) or (asyncio.Semaphore(self._each), 0)
        self._of[name] = turns, count + 1
        try:
            async with turns:
                yield
        finally:
            turns, count = self._of.pop(name)
            if count > 1:
                self._of[name] = turns, count - 1


def _slow(message: str) -> SlowBodyError:
    return SlowBodyError(message, fix="Send it again, faster; look at the network between.")


class BodyLimit:
    """Refuses bodies over a limit, whether they say their length or not, and those that do not come.

    What is somewhat too large is read to its end first: a client that still sends would not see the answer.

    Args:
        spared: beginning of the paths that have limits of their own for what is too large.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, spared: tuple[str, ...]) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what it brings."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        receive = Patience(receive).receive
        if scope["path"].startswith(self.spared):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limit_bytes:
            await self._drain(receive, 0)
            error = self._error()
            refusal = JSONResponse(error.to_json(), status_code=error.status, headers={"connection": "close"})
            await refusal(scope, receive, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit_bytes:
                if message.get("more_body"):
                    await self._drain(receive, seen)
                raise self._error()
            return message

        return counted

    async def _drain(self, receive: Receive, seen: int) -> None:
        """Read on to the end, if that is not too far."""
        message: Message = {"more_body": True}
        while message.get("more_body") and seen < DRAIN_LIMITS * self.limit_bytes:
            message = await receive()
            seen += len(message.get("body", b""))

    def _error(self) -> TooLargeError:
        return TooLargeError(f"The body is over {self.limit_bytes} bytes", fix="Upload files through the vault.")
