"""Who is asking: principals, and the tokens that prove it.

A user's token is random and only its SHA-256 is kept (it has 256 bits, so a slow hash would add nothing). A worker's
token is derived from the platform's key, the job and the start of its gang: it needs no row, and dies with the job.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

USER_PREFIX = "lpt_"
WORKER_PREFIX = "lpw_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody or something that makes requests."""

    name: str
    """For the audit trail: a user's name, or `job:<id>`."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Workspace -> admin, editor or viewer."""
    is_platform_admin: bool = False
    """May make workspaces and users, and is admin of every workspace."""
    job: str = ""
    """Set for a worker: the one job it may report for."""
    token: str = ""
    """Id of the user's token that proved it."""
    expires_at: int | None = None
    """Microseconds since 1970 at which its token ends; None: it does not."""


def make_token() -> str:
    """A new user token; shown once."""
    return USER_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a user token."""
    return sha256(token.encode()).hexdigest()


def worker_token(key: bytes, job: str, generation: int) -> str:
    """The token of the workers of one start of a job."""
    claim = f"{job}.{generation}"
    return f"{WORKER_PREFIX}{claim}.{hmac.new(key, claim.encode(), sha256).hexdigest()}"


def read_worker_token(key: bytes, token: str) -> tuple[str, int] | None:
    """The job and generation a worker's token speaks for; None if it was not made with this key."""
    claim, _, proof = token.removeprefix(WORKER_PREFIX).rpartition(".")
    expected = hmac.new(key, claim.encode(), sha256).hexdigest()
    if not hmac.compare_digest(proof.encode(), expected.encode()):
        return None
    job, _, generation = claim.rpartition(".")
    return job, int(generation)
