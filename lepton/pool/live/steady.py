"""The pool's own time: it only goes forward, and no leap of the wall clock moves it.

A wall clock is set by people and programs, a day ahead or back. Who waits, and for how long somebody has run, must not
depend on that. So the pool counts for itself: at its beginning its time is the wall clock's, and then it goes on by
what has really passed, which a clock that cannot be set says (`ticks`). Without one, steps of the wall clock count, one
backwards not at all and one forward up to `LONGEST_STEP_S`: a server looks at its pool every few seconds.

Whatever is written down, is written in wall time, so that it outlives the process. What was written before a leap is
read as it was meant: by the wall clock of then. After a restart the wall clock is all that there is.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from math import inf
from typing import Self

LONGEST_STEP_S = 600.0
LEAP_S = 1.0
"""What the two clocks differ by less between two looks is no leap: the wall clock is followed."""
MOST_SPANS = 64
"""Leaps that are remembered."""


@dataclass(slots=True)
class Span:
    """The time between two leaps."""

    first: float
    """Wall time at its beginning,"""
    last: float
    """and at its end, or now,"""
    ahead: float
    """and what the pool's time is ahead by."""


class Steady:
    """Turns wall time into the pool's own, and back."""

    def __init__(self, ticks: Callable[[], float] | None = None) -> None:
        """Args: `ticks`: seconds since some moment, on a clock that nobody sets."""
        self._ticks = ticks
        self._ticked = self._wall = 0.0
        self._now = 0.0
        self._spans: list[Span] = []

    def see(self, wall: float, *, may_pause: bool = False) -> float:
        """The wall clock says that it is so late; return what the pool's own time is.

        Args:
            may_pause: nobody waits or runs, so that a long time may have passed between two looks.
        """
        ticked = self._ticks() if self._ticks else 0.0
        if not self._spans:
            self._spans.append(Span(wall, wall, 0.0))
            self._now = wall
        else:
            self._go_on(wall, wall - self._wall, ticked - self._ticked, LONGEST_STEP_S if not may_pause else inf)
        self._wall, self._ticked = wall, ticked
        return self._now

    def _go_on(self, wall: float, step_s: float, ticked_s: float, most_s: float) -> None:
        span = self._spans[-1]
        passed_s = max(0.0, ticked_s) if self._ticks else min(max(0.0, step_s), most_s)
        if abs(step_s - passed_s) > LEAP_S:
            self._now += passed_s
            self._spans.append(Span(wall, wall, self._now - wall))
            del self._spans[:-MOST_SPANS]
            return
        span.last = max(span.last, wall)
        self._now = max(self._now, wall + span.ahead)

    def still(self) -> Self:
        """The same, not to be moved by what is seen here."""
        found = copy(self)
        found._spans = [replace(span) for span in self._spans]
        return found

    def own(self, wall: float) -> float:
        """What the pool's own time is when the wall clock says this from now on, or has just said it."""
        return wall + self._spans[-1].ahead if self._spans else wall

    def wall(self, own: float) -> float:
        """The same the other way round."""
        return own - self._spans[-1].ahead if self._spans else own

    def at(self, wall: float) -> float:
        """What the pool's own time was at a moment that was written down: by the last clock that can have said it, and
        not later than now.
        """
        for span in reversed(self._spans):
            if span.first <= wall <= span.last:
                return wall + span.ahead
        before = [span.last + span.ahead for span in self._spans if span.last < wall]
        return min(self._now, max(before, default=self._first(wall)))

    def _first(self, wall: float) -> float:
        """The same by the first clock: of what was before the pool was there."""
        return wall + self._spans[0].ahead if self._spans else wall
