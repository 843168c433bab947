"""Following logs: however many read along, each log is looked at once.

A follower first reads what is there, then waits for the one poller that its log has while anybody follows it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from lepton.engine.base import Engine

POLL_S = 0.05
CHUNK_BYTES = 64 << 10


@dataclass(slots=True)
class _Log:
    size: int = 0
    is_ended: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0
    poller: "asyncio.Task[None] | None" = None
    last: tuple[int, bytes] = (0, b"")
    """(offset, bytes) of the newest piece, shared by all followers that have read up to it."""


class Tails:
    """The logs that somebody follows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._logs: dict[str, _Log] = {}

    async def read(self, key: str, *, offset: int) -> tuple[bytes, int]:
        """What is there since `offset`, and the offset to go on from."""
        size = await asyncio.to_thread(self._engine.log_size, key)
        if size <= offset:
            return b"", size
        data = await asyncio.to_thread(lambda: b"".join(self._engine.logs(key, offset=offset)))
        return data, max(size, offset + len(data))

    async def follow(self, key: str, *, offset: int, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield what is written from `offset` on until the worker has ended and all is read, or `is_over()`."""
        log = self._logs.setdefault(key, _Log())
        log.followers += 1
        if log.poller is None:
            log.poller = asyncio.create_task(self._poll(key, log))
        try:
            while not is_over():
                grown = log.grown
                is_ended = log.is_ended
                data, offset = await self._next(key, log, offset)
                if data:
                    yield data
                elif is_ended:
                    return
                else:
                    await asyncio.wait([asyncio.ensure_future(grown.wait())], timeout=1.0)
        finally:
            log.followers -= 1
            if not log.followers:
                log.poller.cancel()
                self._logs.pop(key, None)

    async def _next(self, key: str, log: _Log, offset: int) -> tuple[bytes, int]:
        start, piece = log.last
        if piece and start <= offset < start + len(piece):
            return piece[offset - start :], start + len(piece)
        if log.size and offset >= log.size and not log.is_ended:
            return b"", offset
        return await self.read(key, offset=offset)

    async def _poll(self, key: str, log: _Log) -> None:
        while True:
            sighting = await asyncio.to_thread(self._engine.look, key)
            size = await asyncio.to_thread(self._engine.log_size, key)
            if size > log.size:
                data, end = await self.read(key, offset=log.size)
                log.last = (end - len(data), data[-CHUNK_BYTES * 16 :]) if log.size else (0, b"")
                if len(data) > CHUNK_BYTES * 16:
                    log.last = (end - CHUNK_BYTES * 16, data[-CHUNK_BYTES * 16 :])
                log.size = end
            has_news = size > 0 or sighting.status == "exited"
            if sighting.status != "running" and size == log.size:
                log.is_ended = True
            if has_news:
                grown, log.grown = log.grown, asyncio.Event()
                grown.set()
            await asyncio.sleep(POLL_S)
