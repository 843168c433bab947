"""What a signed token (JWT, RFC 7519) says, read strictly: no member appears twice, every time is a number, and a token
without an end is none. Pure, and light to import. Nothing here proves anything: see `jwts`.
"""

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from lepton.core.errors import UnauthenticatedError, clip
from lepton.security.revoked import Grant

ALGORITHMS = ("EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""Of keys of others; the platform's own is EdDSA with Ed25519."""
LEEWAY_S = 10.0
"""By which clocks may differ."""
MAX_BYTES = 8192
MOST_S = 1e12
"""A time beyond this is none."""
TYPES = ("jwt", "at+jwt", "application/at+jwt")


class BadJwtError(UnauthenticatedError):
    """A token that is not in order, or not for this place."""


class UnknownKeyError(BadJwtError):
    """It names a key that is not known here, or no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says, as far as it matters; nothing of it is proven before its signature is."""

    issuer: str
    key: str
    """Name of the key that it says it was signed with; empty: none."""
    algorithm: str
    audiences: tuple[str, ...]
    subject: str
    id: str
    parent: str
    """Id of the token that it was made from; only the platform's say it."""
    workspace: str
    issued_at: float
    not_before: float
    expires_at: float

    @property
    def grant(self) -> Grant:
        """What of it can be revoked."""
        return Grant(
            user=self.subject,
            id=self.id,
            parent=self.parent,
            workspace=self.workspace,
            issued_at=self.issued_at,
        )


def read(token: bytes) -> Claims:
    """What a token says; cheap, and no proof of anything.

    Raises:
        BadJwtError: it is not in order.
    """
    if len(token) > MAX_BYTES:
        raise BadJwtError(f"The JWT is longer than {MAX_BYTES} bytes", fix="Ask for one with fewer claims.")
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):
        raise BadJwtError("The token is no signed JWT: it has not three parts", fix="Send it as it was issued.")
    head, told = _object(parts[0], "header"), _object(parts[1], "claims")
    if "crit" in head or str(head.get("typ", "JWT")).lower() not in TYPES:
        raise BadJwtError("The header of the JWT asks for what is not known here", fix="Send a plain signed JWT.")
    algorithm = head.get("alg")
    if algorithm not in ALGORITHMS:
        raise BadJwtError(
            f"The JWT is signed with {clip(str(algorithm), 40)!r}", fix=f"Allowed are {', '.join(ALGORITHMS)}."
        )
    audience = told.get("aud")
    return Claims(
        issuer=_text(told, "iss", is_needed=True),
        key=_text(head, "kid"),
        algorithm=algorithm,
        audiences=_texts(audience if isinstance(audience, list) else [audience]),
        subject=_text(told, "sub"),
        id=_text(told, "jti"),
        parent=_text(told, "lepton_token"),
        workspace=_text(told, "lepton_workspace"),
        issued_at=_time(told, "iat") if "iat" in told else 0.0,
        not_before=_time(told, "nbf") if "nbf" in told else 0.0,
        expires_at=_time(told, "exp"),
    )


def check(claims: Claims, *, audiences: Collection[str], now: float) -> None:
    """See that a token holds now and here.

    Args:
        audiences: who we are; one of them must be meant.
        now: seconds since 1970.
    Raises:
        BadJwtError: it does not.
    """
    if claims.expires_at + LEEWAY_S <= now:
        raise BadJwtError(f"The JWT has expired, {now - claims.expires_at:.0f} s ago", fix="Get a new one.")
    early = max(claims.not_before, claims.issued_at) - LEEWAY_S
    if early > now:
        raise BadJwtError(f"The JWT is not valid for another {early - now:.0f} s", fix="Wait, or set the clocks.")
    if not any(audience in audiences for audience in claims.audiences):
        meant = clip(", ".join(claims.audiences) or "nobody", 80)
        raise BadJwtError(f"The JWT is for {meant!r}", fix=f"Get one for {' or '.join(map(repr, sorted(audiences)))}.")


def _object(part: bytes, what: str) -> dict[str, Any]:
    try:
        data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        if b64encode(data, b"-_").rstrip(b"=") != part:
            raise ValueError("not in base64url")
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_none)
    except (ValueError, RecursionError) as fault:
        why = clip(str(fault), 80)
        raise BadJwtError(f"The {what} of the JWT cannot be read: {why}", fix="Send it as it was issued.") from fault
    if not isinstance(found, dict):
        raise BadJwtError(f"The {what} of the JWT is no JSON object", fix="Send it as it was issued.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _none(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _text(found: Mapping[str, Any], name: str, *, is_needed: bool = False) -> str:
    value = found.get(name, "")
    if not isinstance(value, str) or not value.isprintable() or (is_needed and not value):
        raise BadJwtError(f"`{name}` of the JWT is missing or no plain text", fix="Send it as it was issued.")
    return value


def _texts(values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise BadJwtError("`aud` of the JWT is missing or no text", fix="Get one that says for whom it is.")
    return tuple(values)


def _time(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST_S:
        raise BadJwtError(f"`{name}` of the JWT is missing or no time", fix="Send it as it was issued.")
    return float(value)
