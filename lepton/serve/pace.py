"""How many coroutines a replica begins in one turn of its loop: as many as hold it up for a moment at most.

All that have come could begin in the same turn. If they compute, it would end with the last of them: no answer would
leave before, and nothing be heard, not even that nobody waits for them any more.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

SLICE_S = 0.005
"""A turn that takes longer begins too many."""
MANY = 256


class Pace:
    """That of one loop, in which it is made."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._quota = self._left = 1
        """How many may begin in a turn, and in this one yet. Twice as many in the next, if it is short."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False
        self._since = 0.0

    async def begin(self) -> None:
        """Return once it is the caller's turn, first come, first served."""
        if self._left and not self._waiting:
            self._left -= 1
            self._turn()
            return
        place = self._loop.create_future()
        self._waiting.append(place)
        self._turn()
        await place

    def _turn(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            self._since = self._clock()
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_turning = False
        is_short = self._clock() - self._since < SLICE_S
        self._quota = self._left = min(2 * self._quota, MANY) if is_short else max(1, self._quota // 2)
        while self._waiting and self._left:
            place = self._waiting.popleft()
            if not place.done():  # else nobody waits for it any more
                place.set_result(None)
                self._left -= 1
        if self._waiting:
            self._turn()
