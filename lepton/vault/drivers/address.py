"""A storage's address, taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lepton.core.clock import AHEAD_S, read_moment
from lepton.core.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A storage's address, taken apart."""

    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""
    """Decoded; without slashes at its ends."""
    options: Mapping[str, str] = field(default_factory=dict)


def read_as_of(text: str) -> datetime:
    """The option `as_of` of an address.

    Raises:
        InvalidError: it is no time, or one that is yet to come.
    """
    try:
        at = read_moment(text)
    except ValueError:
        raise InvalidError("as_of is no time", fix="Write 2026-01-31T09:30, in UTC; a zone's + as %2B.") from None
    if at > datetime.now(UTC) + timedelta(seconds=AHEAD_S):
        raise InvalidError("as_of is yet to come", fix="Leave it out for what lies there now; a time is in UTC.")
    return at
