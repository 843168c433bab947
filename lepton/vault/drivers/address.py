"""A storage's address, taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A storage's address, taken apart."""

    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""
    """Decoded; without slashes at its ends."""
    options: Mapping[str, str] = field(default_factory=dict)
