"""The recovery key: made once, kept outside, the only thing that opens backups when the platform is gone.

The platform keeps its public half, so that what it backs up is sealed for it (HPKE, RFC 9180: X25519, HKDF-SHA256,
AES-256-GCM), and signs every backup (Ed25519) with a key whose public half lies in the recovery key's file.
"""

import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from lepton.core.errors import IntegrityError, InvalidError

FORMAT = 1
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PURPOSE = b"lepton backup 1"
NOTE = "Whoever has this file and a backup can read everything. Keep it offline, and apart from the backups."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryKey:
    """What lies in the file."""

    platform: str
    private: bytes
    """(32,) of X25519."""
    signer: bytes
    """(32,) Ed25519 public key that the platform's backups are signed with."""
    at_least: int = 0
    """A backup of that number had been made when the key was; an older one is refused as the newest."""

    @property
    def public(self) -> bytes:
        """(32,) what backups are sealed for."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()

    def to_text(self) -> str:
        """The file."""
        told = {
            "lepton_recovery_key": FORMAT,
            "note": NOTE,
            "platform": self.platform,
            "key": self.private.hex(),
            "signer": self.signer.hex(),
            "at_least": self.at_least,
        }
        return json.dumps(told, indent=1) + "\n"

    def open(self, sealed: bytes) -> bytes:
        """What was sealed for this key.

        Raises:
            IntegrityError: it was sealed for another, or is damaged.
        """
        try:
            return SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(self.private), PURPOSE)
        except (InvalidTag, ValueError) as fault:
            raise IntegrityError(
                "The backup does not open with this recovery key", fix="Use the key that was the platform's then."
            ) from fault


def make_key(*, platform: str, signer: bytes, at_least: int) -> RecoveryKey:
    """A fresh key."""
    private = X25519PrivateKey.generate().private_bytes_raw()
    return RecoveryKey(platform=platform, private=private, signer=signer, at_least=at_least)


def read_key(text: str) -> RecoveryKey:
    """The key of a file.

    Raises:
        InvalidError: it is none.
    """
    try:
        told = json.loads(text)
        private, signer = bytes.fromhex(told["key"]), bytes.fromhex(told["signer"])
        key = RecoveryKey(
            platform=str(told["platform"]), private=private, signer=signer, at_least=int(told["at_least"])
        )
        is_known = told["lepton_recovery_key"] == FORMAT and len(private) == len(signer) == 32
    except (ValueError, KeyError, TypeError) as fault:
        raise InvalidError("The file is no recovery key", fix="Give the file that was made with it.") from fault
    if not is_known:
        raise InvalidError("The recovery key is of a form that this Lepton does not know", fix="Upgrade Lepton.")
    return key


def seal_for(public: bytes, secret: bytes) -> bytes:
    """Seal for whoever has the private half."""
    return bytes(SUITE.encrypt(secret, X25519PublicKey.from_public_bytes(public), PURPOSE))
