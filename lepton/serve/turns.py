"""Work that must not starve the loop: done one piece after the other, within a bounded share of the loop's time.

Whoever brings much waits behind their own: the clients' addresses take turns.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

SLICE_S = 0.001
"""Work of one turn: a piece is begun only within it."""
REST = 4.0
"""Between two turns the loop has this many times as long for everything else."""
MAX_WAITING, MAX_WAITING_EACH = 4096, 256
"""Pieces that may wait, and those of one client."""


class Turns:
    """Pieces of work, and when each is done.

    Args:
        clock: seconds, of what the work costs.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._waiting: dict[bytes, deque[Callable[[], None]]] = {}
        self._count = 0
        self._rests_until = 0.0
        self._is_due = False

    def add(self, client: bytes, piece: Callable[[], None]) -> bool:
        """Have a piece done soon; False: too much waits already."""
        own = self._waiting.get(client)
        if self._count >= MAX_WAITING or (own is not None and len(own) >= MAX_WAITING_EACH):
            return False
        if own is None:
            self._waiting[client] = own = deque()
        own.append(piece)
        self._count += 1
        self._call()
        return True

    def _call(self) -> None:
        if self._is_due or not self._count:
            return
        self._is_due = True
        loop, rest_s = asyncio.get_running_loop(), self._rests_until - self._clock()
        if rest_s > 0:
            loop.call_later(rest_s, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        begun = now = self._clock()
        while self._count and now - begun < SLICE_S:
            self._next()()
            now = self._clock()
        self._rests_until = now + REST * (now - begun)
        self._call()

    def _next(self) -> Callable[[], None]:
        client = next(iter(self._waiting))
        own = self._waiting.pop(client)
        piece = own.popleft()
        self._count -= 1
        if own:
            self._waiting[client] = own  # now the last
        return piece
