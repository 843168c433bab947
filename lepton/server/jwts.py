"""Signed tokens for endpoints: made from a token that may use them, and taken back, each with its event."""

from dataclasses import replace
from typing import NamedTuple

from lepton.core.clock import to_micros
from lepton.core.errors import CapacityError
from lepton.core.event import Event
from lepton.core.ids import make_id
from lepton.core.resource import Resource
from lepton.security.identity import Principal
from lepton.security.jwts import Signer
from lepton.security.revoked import MAX_LIFETIME_S, Grant, of_jwt
from lepton.server.submit import Author
from lepton.store import events, revoked
from lepton.store.database import Tx
from lepton.store.revoked import Revoked

REVOKED = "revoked"
"""Subject of the events by which fronts hear that something was taken back."""
REMEMBER = (MAX_LIFETIME_S + 60) * 1_000_000
"""Microseconds, in which also the last signed token that it is about has ended."""
MOST_REVOKED = 1000
"""Of one user at a time: who needs more takes back the token that all were made from."""


class Issued(NamedTuple):
    """A signed token when it is made: the only time it is shown."""

    token: str
    id: str
    expires_at: int
    """Microseconds since 1970."""


def audience_of(place: Resource) -> str:
    """How a token names an endpoint that it is for, or a workspace."""
    return place.id if place.kind == "endpoint" else f"workspace:{place.name}"


def issue(tx: Tx, signer: Signer, who: Principal, *, place: Resource, lifetime_s: int, author: Author) -> Issued:
    """Make one; it ends no later than the token it is made from.

    Args:
        place: the endpoint that it is for, or the workspace of whose endpoints each takes it.
    """
    now = to_micros(author.at)
    expires_at = now // 1_000_000 + lifetime_s
    if who.expires_at is not None:
        expires_at = min(expires_at, who.expires_at // 1_000_000)
    grant = Grant(
        user=who.name,
        id=make_id("jwt", at=author.at),
        parent=who.token,
        workspace=author.workspace,
        issued_at=now // 1_000_000,
    )
    token = signer.sign(grant, audience=audience_of(place), expires_at=expires_at)
    events.append(tx, told(place.id, author, "issued", f"{who.name}: {grant.id} for {lifetime_s} s"))
    return Issued(token, grant.id, expires_at * 1_000_000)


def revoke_one(tx: Tx, username: str, id: str, author: Author) -> None:
    """Take back a signed token of a user; of others' it takes back nothing.

    Raises:
        CapacityError: too many of the user's are taken back already.
    """
    if revoked.count_of(tx, username) >= MOST_REVOKED:
        raise CapacityError(
            f"{MOST_REVOKED} JWTs of '{username}' are revoked already",
            fix="Revoke the token that they were made from: lepton users revoke.",
        )
    revoke(tx, of_jwt(username, id), username, author, why=f"{username}: {id}")


def revoke(tx: Tx, mark: str, username: str, author: Author, *, why: str) -> None:
    """Take back the signed tokens that bear a mark; fronts hear of it by the event."""
    at = to_micros(author.at)
    seq = events.append(tx, told(REVOKED, replace(author, workspace=""), "revoked", why))
    revoked.add(tx, Revoked(seq, mark, at, at + REMEMBER), username)


def told(subject: str, author: Author, verb: str, why: str) -> Event:
    """What happened to signed tokens."""
    return Event(
        subject=subject, kind="jwt", workspace=author.workspace, verb=verb, why=why, actor=author.actor, at=author.at
    )
