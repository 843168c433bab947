"""Manifests: one for each backup, sealed for the recovery key and for the platform, signed by the platform."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.errors import IntegrityError
from lepton.vault.backup.recovery import seal_for
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.sealing import NONCE_BYTES, Kind, Place, fresh_key

MAGIC, FORMAT = b"LEPTBKUP", 1
HEAD = Struct("<8sHHHI32s")
"""Magic, format, lengths of the two sealed content keys and of the body, commitment to the content key."""
COMMIT = b"lepton backup key 1"
NONCE = bytes(12)
"""Each manifest has a content key of its own."""
SIGNATURE_BYTES = 64
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup is."""

    number: int
    at: int
    """When the state that it holds was true, microseconds since 1970."""
    platform: str
    root: bytes
    """(32,) the platform's root key."""
    vault_root: bytes
    """(32,) what tenants' keys are sealed under."""
    domain: bytes
    """(16,) of the platform itself: in it lies the dump."""
    dump: bytes
    """The blob of the dump."""
    keys: Sequence[SealedKey]
    """Sealed keys of that domain; all others are in the dump."""
    opens: tuple[bytes, bytes] | None = None
    """What the platform opens its manifests with, and the public key that verifies them; None: they follow from `root`,
    as in all that were made before the root key could be rotated."""
    beside: Sequence[int] | None = None
    """Numbers of the backups that were to lie beside it when it was made; None: an older version did not say."""
    place: str = ""
    """Id of the place that it was made for; empty: an older version did not say."""
    packs: Mapping[bytes, Sequence[tuple[bytes, int]]]
    """Domain -> id and bytes of each pack; those of the platform's domain too."""


def seal_manifest(manifest: Manifest, *, recovery: bytes, platform_key: bytes, signer: bytes) -> bytes:
    """The file of a manifest.

    Args:
        recovery: public recovery key.
        platform_key: under which the platform opens it too.
        signer: private Ed25519 key.
    """
    key = fresh_key()
    nonce = os.urandom(NONCE_BYTES)  # the platform's key seals every manifest's
    ours = nonce + AESGCM(platform_key).encrypt(nonce, key, COMMIT + manifest.number.to_bytes(8, "little"))
    theirs = seal_for(recovery, key)
    plain = zstandard.ZstdCompressor().compress(json.dumps(_told(manifest), separators=(",", ":")).encode())
    size = len(plain) + 16
    head = HEAD.pack(MAGIC, FORMAT, len(theirs), len(ours), size, commitment(key))
    whole = head + theirs + ours + AESGCM(key).encrypt(NONCE, plain, head)
    return whole + Ed25519PrivateKey.from_private_bytes(signer).sign(whole)


def commitment(key: bytes) -> bytes:
    """What says which key a manifest was sealed with: AES-GCM alone would open under several that one made up."""
    return sha256(COMMIT + key).digest()


@dataclass(frozen=True, slots=True)
class SealedManifest:
    """A manifest's file, taken apart."""

    head: bytes
    theirs: bytes
    """Its content key, for the recovery key."""
    ours: bytes
    """The same, for the platform."""
    body: bytes

    def open(self, key: bytes) -> Manifest:
        """The manifest.

        Raises:
            IntegrityError: another key, or damaged.
        """
        if commitment(key) != self.head[-32:]:
            raise IntegrityError("The manifest was sealed with another key", fix="Use another backup.")
        try:
            packed = AESGCM(key).decrypt(NONCE, self.body, self.head)
            told = json.loads(zstandard.ZstdDecompressor().decompress(packed, max_output_size=MOST_BYTES))
            return _read(told)
        except (InvalidTag, zstandard.ZstdError, ValueError, KeyError, TypeError) as fault:
            raise IntegrityError(f"The manifest is damaged: {fault}", fix="Use another backup.") from fault


def platform_opens(sealed: SealedManifest, platform_key: bytes, number: int) -> bytes:
    """The content key, for the platform itself.

    Raises:
        IntegrityError: it is another platform's, or another number's.
    """
    try:
        nonce, box = sealed.ours[:NONCE_BYTES], sealed.ours[NONCE_BYTES:]
        return AESGCM(platform_key).decrypt(nonce, box, COMMIT + number.to_bytes(8, "little"))
    except (InvalidTag, ValueError) as fault:
        raise IntegrityError("The backup is not this platform's", fix="Check the address.") from fault


def read_manifest(body: bytes, *, signer: bytes) -> SealedManifest:
    """Take a file apart, once its signature is right.

    Raises:
        IntegrityError: it is none, damaged, or not signed by the platform.
    """
    whole, signature = body[:-SIGNATURE_BYTES], body[-SIGNATURE_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, whole)
    except (InvalidSignature, ValueError) as fault:
        raise IntegrityError(
            "The manifest is damaged, or signed by somebody else", fix="Use another backup, or the right recovery key."
        ) from fault
    head = whole[: HEAD.size]
    magic, form, theirs, ours, size, _ = HEAD.unpack(head)
    if (magic, form) != (MAGIC, FORMAT) or len(whole) != HEAD.size + theirs + ours + size:
        raise IntegrityError("The manifest is of a form that this Lepton does not know", fix="Upgrade Lepton.")
    at = HEAD.size
    return SealedManifest(
        head, whole[at : at + theirs], whole[at + theirs : at + theirs + ours], whole[at + theirs + ours :]
    )


def _told(manifest: Manifest) -> Mapping[str, object]:
    packs = {domain.hex(): [[pack.hex(), size] for pack, size in packs] for domain, packs in manifest.packs.items()}
    return {
        "number": manifest.number,
        "at": manifest.at,
        "platform": manifest.platform,
        "root": manifest.root.hex(),
        "vault_root": manifest.vault_root.hex(),
        "domain": manifest.domain.hex(),
        "dump": manifest.dump.hex(),
        "keys": [told_key(row) for row in manifest.keys],
        **({"opens": [key.hex() for key in manifest.opens]} if manifest.opens else {}),
        **({} if manifest.beside is None else {"beside": list(manifest.beside)}),
        **({"place": manifest.place} if manifest.place else {}),
        "packs": packs,
    }


def _read(told: Mapping[str, object]) -> Manifest:
    hexes = {name: bytes.fromhex(str(told[name])) for name in ("root", "vault_root", "domain", "dump")}
    keys, packs, opens, beside = told["keys"], told["packs"], told.get("opens"), told.get("beside")
    if not isinstance(keys, list) or not isinstance(packs, dict):
        raise TypeError("its lists")
    if not isinstance(opens, list | None) or not isinstance(beside, list | None):
        raise TypeError("its lists")
    return Manifest(
        number=int(str(told["number"])),
        at=int(str(told["at"])),
        platform=str(told["platform"]),
        keys=[sealed_key(row) for row in keys],
        opens=(bytes.fromhex(opens[0]), bytes.fromhex(opens[1])) if opens else None,
        place=str(told.get("place", "")),
        beside=None if beside is None else [int(number) for number in beside],
        packs={
            bytes.fromhex(domain): [(bytes.fromhex(pack), int(size)) for pack, size in found]
            for domain, found in packs.items()
        },
        **hexes,
    )


def told_key(row: SealedKey) -> list[object]:
    """A sealed key as plain values."""
    place = row.place
    return [int(place.kind), place.owner.hex(), place.holder.hex(), place.version, row.version, row.sealed.hex()]


def sealed_key(row: Sequence[object]) -> SealedKey:
    """A sealed key from kind, owner, holder, holder's version, version, sealed; bytes in hexadecimal."""
    kind, owner, holder, holder_version, version, sealed = (str(value) for value in row)
    place = Place(
        kind=Kind(int(kind)), owner=bytes.fromhex(owner), holder=bytes.fromhex(holder), version=int(holder_version)
    )
    return SealedKey(place, bytes.fromhex(sealed), int(version))
