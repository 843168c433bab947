"""Time, passed in: nobody reads the wall clock directly, so every rule can be tested without waiting."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_S = 300
"""Clocks of machines that work together differ by less."""


class Clock(Protocol):
    """Tells the time. `now` may jump (people set clocks); `monotonic` never does."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC: for records and for people."""
        ...

    def monotonic(self) -> float:
        """Seconds since an unknown start: for leases, timeouts and durations inside one process."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since this machine started."""
        return monotonic()


class ManualClock:
    """A clock that stands still until `advance`: for tests and for simulation in virtual time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Wall time, aware, in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move time forward."""
        self._elapsed_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, while no time passes."""
        self._start += timedelta(seconds=seconds)


def believed(at: int, now: int) -> int:
    """A remembered time; 0 where it lies ahead: it was noted before the clock was set back, and is no time."""
    return at if at <= now + AHEAD_S * 1_000_000 else 0


def to_micros(at: datetime) -> int:
    """Microseconds since 1970 in UTC: how stores keep time."""
    return (at - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The aware UTC time of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)


def read_moment(text: str) -> datetime:
    """A time in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
