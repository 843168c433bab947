"""A resource: anything a user makes and keeps, with a wish (`spec`) and a truth (`status`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Any
"""A value that JSON can hold: None, bool, int, float, str, list or dict of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One row of the platform, of any kind.

    Users write `spec` and nobody else does; only reconcile loops write `state` and `status`.
    """

    id: str
    kind: str
    """One of `ids.PREFIXES`."""
    workspace: str
    """Name of the tenant it belongs to."""
    name: str
    spec: Mapping[str, Json]
    state: str
    """Where it is in its life cycle, e.g. `jobs.life.State`."""
    created_at: datetime
    updated_at: datetime
    revision: int = 0
    """Sequence number of the event of its last change: its ETag, and where a watch can resume."""
    status: Mapping[str, Json] = field(default_factory=dict)
    owner: str = ""
    """Id of the resource it was made for, e.g. the endpoint of a replica's job; empty if a user made it."""
    is_final: bool = False
    """Nothing will happen to it any more; it is history."""
