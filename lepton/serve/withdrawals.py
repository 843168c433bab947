"""Taking back from workers that seem to hang what they have not begun, so that others do it: see `marks`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lepton.serve.frames import Item
from lepton.serve.marks import SETTLE_S, Words
from lepton.serve.queue import Queue
from lepton.serve.seats import Ticket


class Marked(Protocol):
    """The connection of a worker."""

    marks: Words | None
    """What it has begun; None: it does not tell."""
    void: Words | None
    """How many requests are taken back; None: it does not look."""


class Withdrawals:
    """Those of one queue.

    Args:
        links: the worker's number -> its connection.
    """

    def __init__(self, queue: Queue, links: Mapping[int, Marked]) -> None:
        self._queue = queue
        self._links = links
        self._void: dict[int, int] = {}
        """Worker -> how many of its requests were taken back, when it is not known yet which of them it has begun."""
        self._since = 0.0

    def turn(self, now: float) -> list[Ticket]:
        """A few times a second. Returned is what waits again."""
        marks = {number: link.marks for number, link in self._links.items() if link.marks is not None}
        back: list[Ticket] = []
        if self._void:
            if now - self._since < SETTLE_S:
                return []
            for number, until in self._void.items():
                if number in marks:
                    back += self._queue.take_back(number, marks[number], until)
            self._void = {}
        voidable = {number: own for number, own in marks.items() if self._links[number].void is not None}
        for number, sent in self._queue.stalled(voidable, now).items():
            void = self._links[number].void
            if void is not None and void[0] < sent:
                void[0] = self._void[number] = sent
                self._since = now
        return back

    def given_back(self, number: int, items: Sequence[Item]) -> list[Ticket]:
        """What a worker says that it has not begun, if it does not wait again already; now it does."""
        found = [self._queue.given_back(number, item[0], item[3]) for item in items]
        return [ticket for ticket in found if ticket is not None]
