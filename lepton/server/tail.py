"""Following logs: however many read along, each log is looked at once.

A follower first reads what is there, then waits for the one poller that its log has while anybody follows it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lepton.engine.base import Engine

POLL_S = 0.05
LOOK_AGAIN_S = 1.0


@dataclass(slots=True)
class _Log:
    size: int = -1
    """Bytes seen by the poller; -1 before its first look."""
    is_ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0
    poller: "asyncio.Task[None] | None" = None
    piece: tuple[int, bytes] = (0, b"")
    """(offset, bytes) of the newest growth, shared by all who have read up to it."""


class Tails:
    """The logs that somebody follows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._logs: dict[str, _Log] = {}

    async def read(self, key: str, *, offset: int) -> tuple[bytes, int]:
        """What is there since `offset`, and the offset to go on from."""
        return await asyncio.to_thread(self._read, key, offset)

    def _read(self, key: str, offset: int) -> tuple[bytes, int]:
        size = self._engine.log_size(key)
        if size <= offset:
            return b"", offset
        data = b"".join(self._engine.logs(key, offset=offset))
        return data, max(size, offset + len(data))

    async def follow(self, key: str, *, offset: int, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield what is written from `offset` on until the worker has ended and all is read, or `is_over()`."""
        log = self._logs.setdefault(key, _Log())
        log.followers += 1
        if log.poller is None:
            log.poller = asyncio.create_task(self._poll(key, log))
        try:
            while not is_over():
                news, is_ended = log.news, log.is_ended
                data, offset = await self._next(key, log, offset)
                if data:
                    yield data
                elif is_ended:
                    return
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), LOOK_AGAIN_S)
        finally:
            log.followers -= 1
            if not log.followers:
                log.poller.cancel()
                self._logs.pop(key, None)

    async def _next(self, key: str, log: _Log, offset: int) -> tuple[bytes, int]:
        start, piece = log.piece
        if start <= offset < start + len(piece):
            return piece[offset - start :], start + len(piece)
        if offset >= log.size >= 0 and not log.is_ended:
            return b"", offset
        return await self.read(key, offset=offset)

    async def _poll(self, key: str, log: _Log) -> None:
        log.size = await asyncio.to_thread(self._engine.log_size, key)
        while not log.is_ended:
            sighting = await asyncio.to_thread(self._engine.look, key)
            data, end = await self.read(key, offset=log.size)
            if data:
                log.piece, log.size = (end - len(data), data), end
            log.is_ended = sighting.status != "running" and not data
            if data or log.is_ended:
                news, log.news = log.news, asyncio.Event()
                news.set()
            await asyncio.sleep(POLL_S)
