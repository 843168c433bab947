"""What a replica has to say to its front: answers, parts of streams, and requests that it gives back.

What is ready in one turn of the loop travels together.
"""

import asyncio

from lepton.serve.frames import Entry, Frame, Item, Kind
from lepton.serve.items import is_large, portions
from lepton.serve.shared import Wire
from lepton.serve.streams import Pump

PART_S = 0.002
"""Between two sendings of parts of streams: what comes faster travels together, what comes later goes at once."""
ROWS = 0xFFFF_FFFF
"""What fits the field of an entry."""


class Outbox:
    """What is to be sent on one connection. Made in its event loop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self.is_open = False
        """There is a front to send to."""
        self.items: list[Item] = []
        """Answers that are ready."""
        self.frames = 0
        """Frames of which all is begun, and the front does not know yet that there is room for as many more."""
        self._back: list[Item] = []
        """Requests that were taken back before they were begun."""
        self._pumps: list[Pump] = []
        """Streams that have something ready."""
        self._parts_at = 0.0
        """When parts were sent last, on the loop's clock."""
        self._is_flushing = False

    def put(self, item: Item) -> None:
        """Send it with the next flush."""
        self.items.append(item)

    def put_soon(self, item: Item) -> None:
        """Send it at the end of this turn of the loop, together with whatever else is ready then."""
        self.items.append(item)
        self.flush_soon()

    def give_back(self, number: int, id: int) -> None:
        """Tell, at the end of this turn, that a request will not be begun."""
        self._back.append(Entry(id, rows=number & ROWS))
        self.flush_soon()

    def collect_soon(self, pump: Pump) -> None:
        """Send what its stream has at the end of this turn, or a moment later if parts were sent a moment ago."""
        if not self._pumps:
            wait_s = self._parts_at + PART_S - self._loop.time()
            if wait_s > 0:
                self._loop.call_later(wait_s, self._send_parts)
            else:
                self._loop.call_soon(self._send_parts)
        self._pumps.append(pump)

    def _send_parts(self) -> None:
        pumps, self._pumps = self._pumps, []
        self._parts_at = self._loop.time()
        self.items += [part for pump in pumps if (part := pump.collect()) is not None]
        self.flush()

    def flush_soon(self) -> None:
        """Send all at the end of this turn."""
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send all."""
        self._is_flushing = False
        if not self.is_open:
            return
        if self._back:
            back, self._back = self._back, []
            self._wire.send(Frame(Kind.BACK, back))
        if not (self.items or self.frames):
            return
        items, frames = self.items, self.frames
        self.items, self.frames = [], 0
        for part in portions(items) if is_large(items) else [items]:
            self._wire.send(Frame(Kind.ANSWERS, part, frames))
            frames = 0
