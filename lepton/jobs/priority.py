"""Priorities: three classes of three grades. Who has a higher one goes first, and may have others stopped for it."""

from lepton.core.errors import InvalidError

PRIORITIES = tuple(f"{each}-{grade}" for each in ("high", "medium", "low") for grade in (3, 2, 1))
"""The highest first."""
USUAL = "medium-2"


def check_priority(name: str) -> None:
    """Refuse what is no priority.

    Raises:
        InvalidError: it is none of `PRIORITIES`.
    """
    if name not in PRIORITIES:
        raise InvalidError(f"There is no priority {name[:40]!r}", fix=f"Give one of {', '.join(PRIORITIES)}.")


def rank(name: str) -> int:
    """Place of a priority, 0 for the highest."""
    return PRIORITIES.index(name)
