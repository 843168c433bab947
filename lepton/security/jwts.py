"""Signed tokens that end by themselves (JWT, RFC 7519): made by the platform, proven by its public keys or another's.

Signatures are PyJWT's work; an algorithm is the key's own, and one of few, whatever a token says.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lepton.core.errors import InvalidError, clip
from lepton.security.claims import ALGORITHMS, BadJwtError, Claims, UnknownKeyError
from lepton.security.revoked import MAX_LIFETIME_S, Grant

MAX_KEYS = 100
MIN_RSA_BITS = 2048
SIGNATURES = jwt.PyJWS(algorithms=list(ALGORITHMS))


class Signer:
    """The platform as an issuer.

    Args:
        seed: 32 bytes, the private key.
        issuer: how it names itself.
    """

    def __init__(self, seed: bytes, issuer: str) -> None:
        self.issuer = issuer
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = urlsafe_b64encode(public).rstrip(b"=").decode()
        thumb = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"), sort_keys=True)
        self._name = urlsafe_b64encode(sha256(thumb.encode()).digest()).rstrip(b"=").decode()  # RFC 7638
        self.keys: list[dict[str, str]] = [
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self._name, "alg": "EdDSA", "use": "sig"}
        ]
        """The public keys, as a JWKS has them."""

    def sign(self, grant: Grant, *, audience: str, expires_at: float) -> str:
        """The token of a grant.

        Raises:
            InvalidError: it would live longer than any may.
        """
        if not 0 < expires_at - grant.issued_at <= MAX_LIFETIME_S:
            raise InvalidError("A JWT lives for at most a day", fix=f"Ask for up to {MAX_LIFETIME_S} seconds.")
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "sub": grant.user,
            "jti": grant.id,
            "iat": int(grant.issued_at),
            "nbf": int(grant.issued_at),
            "exp": int(expires_at),
            "lepton_token": grant.parent,
            "lepton_workspace": grant.workspace,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._name})


class Keys:
    """The public keys of one issuer.

    Args:
        found: those of a JWKS; what is no key for signatures here is left out.
    """

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        self._known: dict[str, jwt.PyJWK] = {}
        for plain in found[:MAX_KEYS]:
            key = _key(plain)
            if key is not None:
                self._known[str(plain.get("kid") or "")] = key

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The keys of a JWKS document.

        Raises:
            InvalidError: it is none, or none of its keys can be used.
        """
        try:
            keys = cls([dict(key) for key in json.loads(text)["keys"]])
        except (ValueError, TypeError, KeyError, RecursionError) as fault:
            raise InvalidError(f"It is no JWKS: {type(fault).__name__}", fix="Give an object with `keys`.") from fault
        if not len(keys):
            raise InvalidError("It has no key that can be used", fix=f"Give public keys for {', '.join(ALGORITHMS)}.")
        return keys

    def __len__(self) -> int:
        return len(self._known)

    def find(self, name: str) -> jwt.PyJWK:
        """The key of that name; of no name the only one there is.

        Raises:
            UnknownKeyError: there is none.
        """
        found = self._known.get(name)
        if found is None and not name and len(self._known) == 1:
            found = next(iter(self._known.values()))
        if found is None:
            raise UnknownKeyError(
                f"The JWT names the key {clip(name, 80)!r}, which its issuer does not have", fix="Get a new one."
            )
        return found

    def prove(self, token: bytes, claims: Claims) -> None:
        """Check a token's signature.

        Args:
            claims: what it says.
        Raises:
            BadJwtError: it is wrong; UnknownKeyError if another set of keys may have the right one.
        """
        key = self.find(claims.key)
        if claims.algorithm != key.algorithm_name:
            raise BadJwtError(
                f"The JWT says {claims.algorithm}, its key is for {key.algorithm_name}", fix="Send it as it was issued."
            )
        try:
            SIGNATURES.decode_complete(token, key, algorithms=[key.algorithm_name])
        except (jwt.PyJWTError, ValueError, TypeError) as fault:
            raise BadJwtError("The signature of the JWT is wrong", fix="Send it as it was issued.") from fault


def _key(plain: Mapping[str, Any]) -> jwt.PyJWK | None:
    if plain.get("use", "sig") != "sig" or plain.get("kty") not in ("OKP", "EC", "RSA"):
        return None
    try:
        key = jwt.PyJWK.from_dict({name: value for name, value in plain.items() if name != "d"})
    except jwt.PyJWTError:
        return None
    is_short = plain["kty"] == "RSA" and key.key.key_size < MIN_RSA_BITS
    return key if key.algorithm_name in ALGORITHMS and not is_short else None
