"""Following logs: however many read along, each log is looked at once.

A follower first reads what is there, then waits for the one poller that its log has while anybody follows it. What the
poller finds is shared by all who have read up to it.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from lepton.engine.base import Engine
from lepton.server.hub import wait_for

T = TypeVar("T")
POLL_S = 0.05
PIECE_BYTES = 256 << 10
"""Most that is read, and held for one reader, at once."""
SHARED_PIECES = 8
THINK_AGAIN_S = 15.0
THREADS = 4
GAP = re.compile(rb"\[lepton: (\d{1,18}) bytes dropped\]\n")
"""The line that an engine puts where a part is missing."""


@dataclass(slots=True)
class _Log:
    news: "asyncio.Future[None]"
    size: int
    """Bytes seen by the poller."""
    is_ended: bool = False
    followers: int = 0
    poller: "asyncio.Task[None] | None" = None
    pieces: deque[tuple[int, bytes, int]] = field(default_factory=lambda: deque(maxlen=SHARED_PIECES))
    """(offset, bytes, offset after them) of the newest growth."""


class Tails:
    """The logs that somebody reads. Files are read in a few threads of their own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._logs: dict[str, _Log] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lepton-logs")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def read(self, key: str, *, offset: int) -> AsyncIterator[tuple[bytes, int]]:
        """Yield what is there since `offset`, piece by piece, each with the offset to go on from."""
        chunks = self._engine.logs(key, offset=offset)
        while (taken := await self._run(partial(_take, chunks, offset)))[0]:
            offset = taken[1]
            yield taken

    async def follow(self, key: str, *, offset: int, left_s: Callable[[], float]) -> AsyncIterator[tuple[bytes, int]]:
        """Yield what is written from `offset` on until the worker has ended and all is read, or no time is left.

        Now and then it yields nothing, so that its reader can think again.
        """
        log = await self._join(key)
        try:
            while left_s() > 0:
                news, is_ended, size = log.news, log.is_ended, log.size
                shared = next((piece for piece in log.pieces if piece[0] == offset), None)
                if shared is not None:
                    offset = shared[2]
                    yield shared[1], offset
                elif offset < size:
                    async for data, offset in self.read(key, offset=offset):  # noqa: B020  goes on from there
                        yield data, offset
                elif is_ended:
                    return
                else:
                    await wait_for(news, min(THINK_AGAIN_S, left_s()))
                    yield b"", offset
        finally:
            self._leave(key, log)

    async def _join(self, key: str) -> _Log:
        size = await self._run(lambda: self._engine.log_size(key))
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log(asyncio.get_running_loop().create_future(), size)
            log.poller = asyncio.create_task(self._poll(key, log))
        log.followers += 1
        return log

    def _leave(self, key: str, log: _Log) -> None:
        log.followers -= 1
        if not log.followers:
            if log.poller is not None:
                log.poller.cancel()
            if self._logs.get(key) is log:
                del self._logs[key]

    def wake(self) -> None:
        """Let every follower look again how much time is left."""
        for log in self._logs.values():
            _tell(log)

    async def _poll(self, key: str, log: _Log) -> None:
        while not log.is_ended:
            is_running, data, after = await self._run(lambda: self._look(key, log.size))
            if data:
                log.pieces.append((log.size, data, after))
                log.size = after
            log.is_ended = not is_running and not data
            if data or log.is_ended:
                _tell(log)
            if len(data) < PIECE_BYTES:
                await asyncio.sleep(POLL_S)

    def _look(self, key: str, offset: int) -> tuple[bool, bytes, int]:
        """Whether it runs (asked first: what it wrote before it ended is not missed), what it has written since."""
        is_running = self._engine.look(key).status == "running"
        if self._engine.log_size(key) <= offset:
            return is_running, b"", offset
        return is_running, *_take(self._engine.logs(key, offset=offset), offset)


def _take(chunks: Iterator[bytes], offset: int) -> tuple[bytes, int]:
    """The next piece of about `PIECE_BYTES`, empty at the end, and the offset after it."""
    taken, size = [], 0
    for chunk in chunks:
        gap = GAP.fullmatch(chunk)
        offset += int(gap[1]) if gap else len(chunk)
        taken.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            break
    return b"".join(taken), offset


def _tell(log: _Log) -> None:
    news, log.news = log.news, asyncio.get_running_loop().create_future()
    news.set_result(None)
