"""What has just been committed, to whoever waits for it: the loops' wake-ups and the watch streams."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from lepton.core.event import Event

RECENT = 4_096


class Hub:
    """Spreads committed events inside one server. Made in the event loop; `publish` may come from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._recent: deque[tuple[int, Event]] = deque(maxlen=RECENT)
        self._arrived = asyncio.Event()
        self._wakes: list[Callable[[Event], None]] = []
        self.is_closed = False

    def on_event(self, call: Callable[[Event], None]) -> None:
        """Call `call(event)` in the event loop for every committed event."""
        self._wakes.append(call)

    def publish(self, batch: list[tuple[int, Event]]) -> None:
        """Take in what one commit stored."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, batch)

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        self._arrived.set()

    def _spread(self, batch: list[tuple[int, Event]]) -> None:
        self._recent.extend(batch)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        for _, event in batch:
            for wake in self._wakes:
                wake(event)

    async def wait(self, seconds: float) -> None:
        """Return at the next event, or after `seconds`."""
        if self.is_closed:
            return
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return

    def since(self, seq: int) -> list[tuple[int, Event]] | None:
        """Recent events above `seq`; None if some of them are no longer held here."""
        if not self._recent or self._recent[0][0] > seq + 1:
            return None
        return [pair for pair in self._recent if pair[0] > seq]


EventStream = AsyncIterator[tuple[int, Event]]
