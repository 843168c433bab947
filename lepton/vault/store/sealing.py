"""Keys that lie sealed under other keys, each bound to its own place. `docs/vault-format.md` has the picture."""

import os
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.errors import IntegrityError

KEY_BYTES = 32
ID_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
ROOT = bytes(ID_BYTES)
"""The holder of what is sealed under the root key."""


def fresh_key() -> bytes:
    """A random key; asked for after a fork, never kept across one."""
    return os.urandom(KEY_BYTES)


class Kind(IntEnum):
    """What a sealed key is for. The numbers are on disk."""

    TENANT = 1
    DOMAIN = 2
    CHUNK_ID = 3
    CUTTER_SEED = 4
    PACK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sealed key belongs: it opens nowhere else."""

    kind: Kind
    owner: bytes
    """(16,) id of the tenant, domain or pack that the key is of."""
    holder: bytes
    """(16,) id of what it is sealed under; `ROOT`: the root key."""
    version: int
    """Of the key that it is sealed under."""

    def text(self) -> bytes:
        """What is authenticated with the key."""
        version = self.version.to_bytes(4, "little")
        return b"lepton key 1" + bytes([self.kind]) + self.owner + self.holder + version


class Sealer:
    """Seals keys under one key, and opens them."""

    def __init__(self, key: bytes) -> None:
        self._box = AESGCM(key)

    def seal(self, key: bytes, place: Place) -> bytes:
        """The key, sealed: nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._box.encrypt(nonce, key, place.text())

    def open(self, sealed: bytes, place: Place) -> bytes:
        """The key.

        Raises:
            IntegrityError: it was sealed under another key or for another place, or is damaged.
        """
        try:
            return self._box.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.text())
        except (InvalidTag, ValueError) as fault:
            raise IntegrityError(
                f"The sealed {place.kind.name.lower()} key of {place.owner.hex()} does not open",
                fix="Check that the root key is this vault's; else restore the keys from a backup.",
            ) from fault
