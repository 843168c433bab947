"""Wake those who wait for something on the server: one stream of events, shared by all who wait in a workspace.

Nobody has to ask again and again. Where the stream cannot be had (a server being started again), the pauses are
short instead.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from lepton.core.errors import LeptonError

FIRST_PAUSE_S, LAST_PAUSE_S = 0.02, 0.5
AGAIN_S = 0.5


class Bell:
    """Rings when something has happened to one thing."""

    def __init__(self, feed: "Feed", subject: str) -> None:
        self.subject = subject
        self.rung = asyncio.Event()
        self._feed = feed
        self._pause_s = FIRST_PAUSE_S

    async def wait(self, seconds: float) -> None:
        """Return when it rings, at the latest after `seconds`; much sooner while the stream is away."""
        if not self._feed.is_open:
            seconds, self._pause_s = min(seconds, self._pause_s), min(self._pause_s * 1.5, LAST_PAUSE_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.rung.wait(), seconds)
        self.rung.clear()


class Feed:
    """The events of a workspace, read while somebody waits for one.

    Args:
        stream: opens the server's stream of events (`GET /watch`).
    """

    def __init__(self, stream: Callable[[], AsyncIterator[bytes]]) -> None:
        self.is_open = False
        """Whether events arrive now."""
        self._stream = stream
        self._bells: set[Bell] = set()
        self._reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def bell(self, subject: str) -> AsyncIterator[Bell]:
        """A bell for the thing with this id. It also rings when the stream begins: look again, nothing is missed."""
        bell = Bell(self, subject)
        self._bells.add(bell)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_forever())
        try:
            yield bell
        finally:
            self._bells.discard(bell)
            if not self._bells:
                await self.close()

    async def close(self) -> None:
        """End the stream."""
        reading, self._reading, self.is_open = self._reading, None, False
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _read_forever(self) -> None:
        while True:
            with suppress(LeptonError):
                await self._read()
            self.is_open = False
            await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        left = b""
        async for chunk in self._stream():
            *frames, left = (left + chunk).split(b"\n\n")
            if not self.is_open:
                self.is_open = True
                self._ring(None)
            for frame in frames:
                self._ring(subject_of(frame))

    def _ring(self, subject: str | None) -> None:
        """Ring the bells of a thing; None: all."""
        for bell in self._bells:
            if subject is None or bell.subject == subject:
                bell.rung.set()


def subject_of(frame: bytes) -> str:
    """Id of what an event is about; empty for a frame without an event."""
    for line in frame.split(b"\n"):
        if line.startswith(b"data: "):
            return str(json.loads(line[6:])["subject"])
    return ""
