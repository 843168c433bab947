"""Request bodies: JSON read strictly, so that what we understand is what was meant."""

import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton.core.errors import InvalidError, TooLargeError

DRAIN_LIMITS = 16
"""How many times the limit is read of a body that is refused."""
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


class BodyLimit:
    """Refuses bodies over a limit, whether they say their length or not.

    What is somewhat too large is read to its end first: a client that still sends would not see the answer.

    Args:
        spared: beginning of the paths that have limits of their own.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, spared: tuple[str, ...]) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.spared = spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what it brings."""
        if scope["type"] != "http" or scope["path"].startswith(self.spared):
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
