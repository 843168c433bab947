"""What has been taken back of signed tokens that have not ended by themselves yet. Pure, and light to import.

Only digests leave the server: who asks for the list learns no names of users.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

MAX_LIFETIME_S = 86_400
"""No signed token lives longer, and nothing that was revoked need be remembered longer."""
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What of a signed token can be revoked."""

    user: str
    id: str
    parent: str
    """Id of the token that it was made from."""
    workspace: str
    issued_at: float
    """Seconds since 1970."""

    def marks(self) -> Iterator[str]:
        """Everything whose revocation ends it."""
        yield of_jwt(self.user, self.id)
        yield of_token(self.parent)
        yield of_user(self.user)
        yield of_member(self.workspace, self.user)


def of_jwt(user: str, id: str) -> str:
    """The mark of one signed token: with its user's name, so that nobody can revoke another's."""
    return _digest("jwt", user, id)


def of_token(id: str) -> str:
    """The mark of all that was made from a token."""
    return _digest("token", id)


def of_user(name: str) -> str:
    """The mark of all of a user."""
    return _digest("user", name)


def of_member(workspace: str, user: str) -> str:
    """The mark of all that a user has in a workspace."""
    return _digest("member", workspace, user)


def _digest(*words: str) -> str:
    return sha256("\n".join(words).encode()).hexdigest()[: 2 * DIGEST_BYTES]
