"""What has just been committed, to whoever waits for it: the loops' wake-ups and the watch streams."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lepton.core.event import Event

RECENT = 4_096
"""Events held for watchers; who is further behind reads from the database."""


@dataclass(slots=True)
class Note:
    """A committed event, as it is spread."""

    seq: int
    event: Event
    frame: bytes = b""
    """What goes out to watchers: made by the first of them, shared by all."""


class Hub:
    """Spreads committed events inside one server. Made in the event loop; `publish` may come from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._recent: list[Note] = []
        self._waits: dict[str, asyncio.Future[None]] = {}
        self._wakes: list[Callable[[Event], None]] = []
        self.count = 0
        """Commits heard of so far."""
        self.is_closed = False

    def on_event(self, call: Callable[[Event], None]) -> None:
        """Call `call(event)` in the event loop for every committed event."""
        self._wakes.append(call)

    def publish(self, batch: list[tuple[int, Event]]) -> None:
        """Take in what one commit stored."""
        with suppress(RuntimeError):  # the event loop is gone: nobody listens any more
            self._loop.call_soon_threadsafe(self._spread, batch)

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        for subject in list(self._waits):
            self._resolve(subject)

    def _spread(self, batch: list[tuple[int, Event]]) -> None:
        self.count += 1
        self._recent.extend(Note(seq, event) for seq, event in batch)
        if len(self._recent) > 2 * RECENT:
            del self._recent[:-RECENT]
        self._resolve("")
        for _, event in batch:
            self._resolve(event.subject)
            self._resolve(of_kind(event.kind))
            for wake in self._wakes:
                wake(event)

    def _resolve(self, subject: str) -> None:
        waited = self._waits.pop(subject, None)
        if waited is not None and not waited.done():
            waited.set_result(None)

    def arrival(self, subject: str = "") -> "asyncio.Future[None]":
        """Done at the next event (of that subject, or `of_kind`), or when the hub closes. Shared: never cancel it."""
        waited = self._waits.get(subject)
        if waited is None:
            waited = self._waits[subject] = self._loop.create_future()
            if self.is_closed:
                self._resolve(subject)
        return waited

    def since(self, seq: int) -> list[Note] | None:
        """Recent events above `seq`; None if some of them are no longer held here."""
        if not self._recent or self._recent[0].seq > seq + 1:
            return None
        return self._recent[bisect_right(self._recent, seq, key=lambda note: note.seq) :]


def of_kind(kind: str) -> str:
    """The subject of `arrival` that stands for everything of a kind."""
    return f"{kind} *"


async def wait_for(arrival: "asyncio.Future[None]", seconds: float | None) -> bool:
    """Return when it has arrived, or after `seconds`; whether it has. The future itself is never cancelled."""
    if not arrival.done():
        await asyncio.wait([arrival], timeout=seconds)
    return arrival.done()
