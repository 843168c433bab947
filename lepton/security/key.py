"""The platform's root key, the keys derived from it, and secrets sealed under one of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lepton.core.errors import IntegrityError

KEY_BYTES = 32
NONCE_BYTES = 12


def derive(root: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"lepton/{purpose}".encode()).derive(root)


@dataclass(frozen=True, slots=True)
class Root:
    """The root key, and the keys that were kept when it took the place of another."""

    key: bytes = field(repr=False)
    kept: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def own(self, purpose: str) -> bytes:
        """A key by which others know the platform: rotation of the root key does not change it."""
        return self.kept.get(purpose) or derive(self.key, purpose)


def seal(key: bytes, plain: bytes, *, place: str) -> bytes:
    """Encrypt (AES-256-GCM, random nonce first); `place` is bound in, so a box moved elsewhere does not open."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())


def unseal(key: bytes, box: bytes, *, place: str) -> bytes:
    """Decrypt what `seal` made for the same place.

    Raises:
        IntegrityError: another key, another place, or changed bytes.
    """
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError) as fault:
        raise IntegrityError(
            f"The secret {place} does not open", fix="Restore the platform's key file that it was sealed with."
        ) from fault
