"""How many bytes of requests a front keeps at one time: what arrives, what waits, and what workers have.

A body whose length is told has its place before it is read, so whatever is let in can arrive whole. Who finds no place
waits for one, first come, first served, and nothing is read from it meanwhile.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL

SMALL_BYTES = 16 << 10
"""A body up to this size needs no place: the queue bounds how many of them there are."""
MUCH_BYTES = 32 << 20
MAX_WAITING = 64
"""Clients that may wait for a place: what was read of each of them already lies in memory."""


class Waiter:
    """One who waits for a place.

    Args:
        then: called once it has it.
    """

    def __init__(self, size: int, then: Callable[[], None]) -> None:
        self.size = size
        self.then = then


class Room:
    """The places.

    Args:
        limit_bytes: of all. A single body may be larger: it comes alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._waiting: deque[Waiter] = deque()
        self._was_much = False

    def tidy(self) -> None:
        """Now and then: once much was kept and nothing is any more, give memory back to the system."""
        if self.held_bytes > MUCH_BYTES:
            self._was_much = True
        elif self._was_much and not self.held_bytes:
            self._was_much = False
            with suppress(OSError, AttributeError):  # another C library keeps what it keeps
                CDLL(None).malloc_trim(0)

    @property
    def is_full(self) -> bool:
        """Whether there is no place at all."""
        return self.held_bytes >= self.limit_bytes

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def has(self, size: int) -> bool:
        """Whether so much more may be kept."""
        return not self.held_bytes or self.held_bytes + size <= self.limit_bytes

    def take(self, size: int) -> None:
        """Keep so much more; less, if that is negative."""
        self.held_bytes += size
        if size < 0 and self._waiting:
            self._hand_out()

    def wait(self, size: int, then: Callable[[], None]) -> Waiter | None:
        """Wait for a place of this size; None: too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return None
        waiter = Waiter(size, then)
        self._waiting.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer."""
        self._waiting.remove(waiter)
        self._hand_out()  # who was behind it may need less

    def _hand_out(self) -> None:
        while self._waiting and self.has(self._waiting[0].size):
            waiter = self._waiting.popleft()
            self.held_bytes += waiter.size
            waiter.then()
