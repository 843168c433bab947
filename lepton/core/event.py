"""An event: one thing that happened, written in the same transaction as the change it tells of.

Audit log, timeline, watch streams, metrics and billing all read events. The canonical bytes and their leaf
hash (RFC 6962) are stored with each, so that a tamper-evident log can grow from the same table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from lepton.core.clock import to_micros
from lepton.core.resource import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    subject: str
    """Id of the resource it happened to; for a refused request, the path that was asked for."""
    kind: str
    """Kind of the subject."""
    workspace: str
    verb: str
    """What happened: `created`, `deleted`, `queued->placed`, `refused`, ..."""
    why: str
    """The reason, for people; may be empty."""
    actor: str
    """Who did it: name of a principal, `loop:<name>`, or `owner:<system user>` of a command on the data directory."""
    at: datetime
    data: Mapping[str, Json] = field(default_factory=dict)
    """What else a reader may need, small."""


def canonical(event: Event) -> bytes:
    """The one byte string of an event: JSON, keys sorted, no spaces, UTF-8, time in microseconds."""
    fields = {
        "subject": event.subject,
        "kind": event.kind,
        "workspace": event.workspace,
        "verb": event.verb,
        "why": event.why,
        "actor": event.actor,
        "at": to_micros(event.at),
        "data": event.data,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def leaf_hash(body: bytes) -> bytes:
    """SHA-256 of a Merkle tree leaf (RFC 6962, section 2.1): 0x00, then the canonical bytes."""
    return sha256(b"\x00" + body).digest()
