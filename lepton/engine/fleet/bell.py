"""The thread that calls when a run has ended. It sleeps until then, and now and then looks what others have done."""

import heapq
import logging
import threading
from collections.abc import Callable, Iterable
from math import inf

from lepton.core.errors import LeptonError

LOOK_S = 0.5
"""How often it looks whether another process, or whoever edits the list of nodes, has changed something."""

log = logging.getLogger("lepton.engine")


class Bell:
    """Calls `tell(key)` once for every run that ends.

    Args:
        news: runs that are new or end otherwise since the last call: (key, end).
        now: the time, on the clock of those ends, in seconds.
    """

    def __init__(
        self, news: Callable[[], Iterable[tuple[str, float]]], now: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._news = news
        self._now = now
        self._tell = tell
        self._ends: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._rung = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="lepton-fleet", daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """There are news."""
        self._rung.set()

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._rung.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            self._rung.clear()
            pause_s = LOOK_S
            try:
                pause_s = self._turn()
            except LeptonError as fault:
                log.error("fleet: %s", fault)
            self._rung.wait(pause_s)

    def _turn(self) -> float:
        """Tell of what has ended; return the seconds until it must look again."""
        for key, ends_s in self._news():
            self._ends[key] = ends_s
            if ends_s < inf:
                heapq.heappush(self._heap, (ends_s, key))
        now_s = self._now()
        while self._heap and self._heap[0][0] <= now_s:
            ends_s, key = heapq.heappop(self._heap)
            if self._ends.get(key) == ends_s:
                del self._ends[key]
                self._tell(key)
        return min(LOOK_S, self._heap[0][0] - now_s) if self._heap else LOOK_S
