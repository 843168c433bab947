"""Stop working for a client that has gone."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import HTTPException, Request


async def while_connected(request: Request, every_s: float, work: Awaitable[Any]) -> Any:
    """The result of the work, which is cancelled when the client leaves.

    Raises:
        HTTPException: 503 if the client has left.
        Exception: whatever the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=every_s)
            if done:
                return task.result()
            if await request.is_disconnected():
                handle_client_disconnected()
    finally:
        task.cancel()


def handle_client_disconnected() -> None:
    """Its name and its line stand in the log of every request that was given up."""
    raise HTTPException(status_code=503, detail="Client disconnected.")
