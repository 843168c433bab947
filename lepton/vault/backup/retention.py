"""Which backups are kept. Pure: their times in, what is kept and why out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from lepton.core.clock import from_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many of each kind are kept. Nothing given: all are."""

    last: int = 0
    """The newest ones."""
    hourly: int = 0
    """The newest of each of so many hours that have any; hours, days, weeks, ... of UTC."""
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        """As the options that say it."""
        given = ((each.name, getattr(self, each.name)) for each in fields(self))
        return ", ".join(f"{name} {count}" for name, count in given if count)


PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def kept(backups: Mapping[int, int], keep: Keep) -> dict[int, list[str]]:
    """Numbers of the backups that are kept, newest first, and why.

    Args:
        backups: number -> when it was made, microseconds since 1970. The newest is always kept; that is the one with
            the greatest number, as a clock may have been ahead.
    """
    newest = sorted(backups, reverse=True)
    found: dict[int, list[str]] = {number: [] for number in newest}
    if not keep:
        return {number: ["all"] for number in newest}
    for number in newest[: max(1, keep.last)]:
        found[number].append("last")
    for name, period in PERIODS.items():
        seen = set[tuple[int, ...]]()
        for number in newest:
            its = period(from_micros(backups[number]))
            if its not in seen and len(seen) < getattr(keep, name):
                seen.add(its)
                found[number].append(name)
    return {number: why for number, why in found.items() if why}
