"""Parcels: some files handed to another site through a storage that both can reach.

A parcel is a domain of its own: fresh keys, a fresh way to cut, its packs beside each other in the storage, and a file
`parcels/ID` that names them. What opens it is sealed for the recipient (HPKE, RFC 9180) with a commitment to the key,
and signed by the sender (Ed25519). So a parcel opens for one site, says for certain who sent it, and tells whoever
keeps the storage who sent it, when, and how much there is. `docs/vault-format.md` says every byte.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.clock import from_micros
from lepton.core.errors import IntegrityError, InvalidError
from lepton.vault.backup.manifest import sealed_key, told_key
from lepton.vault.backup.recovery import SUITE
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.sealing import fresh_key
from lepton.vault.uses import PARCELS

MAGIC, FORMAT = b"LEPTPRCL", 1
HEAD = Struct("<8sHHI32s32s")
"""Magic, format, lengths of the sealed key and of the body, commitment to the key, sender's public Ed25519 key."""
PURPOSE = b"lepton parcel 1"
NONCE = bytes(12)
"""Each parcel has a key of its own."""
SIGNATURE_BYTES, KEY_BYTES, CHECK_BYTES = 64, 32, 4
MOST_BYTES = 1 << 30
TO_THE_MICROSECOND, TO_THE_SECOND = "%Y%m%dT%H%M%S%f", "%Y%m%dT%H%M%S"
"""What an id begins with: the time, in older ones to the second."""
PREFIX = "lepton-site-"


class ForeignParcelError(IntegrityError):
    """It is from somebody else, or for somebody else: there is nothing wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteKey:
    """The public half of a site: what parcels for it are sealed for, and what its own are verified with."""

    seals: bytes
    """(32,) X25519."""
    verifies: bytes
    """(32,) Ed25519."""

    def __str__(self) -> str:
        body = self.seals + self.verifies
        return PREFIX + base64.b32encode(body + _check(body)).decode().lower().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The private half."""

    opens: bytes
    """(32,) X25519."""
    signs: bytes
    """(32,) Ed25519."""

    @property
    def key(self) -> SiteKey:
        """The public half."""
        seals = X25519PrivateKey.from_private_bytes(self.opens).public_key().public_bytes_raw()
        signer = Ed25519PrivateKey.from_private_bytes(self.signs).public_key()
        return SiteKey(seals=seals, verifies=signer.public_bytes_raw())


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What lies in one."""

    id: str
    """What its file is called, begins with `order` as a time; empty: a Lepton that did not sign it has sent it."""
    order: int
    """Of all that its sender has sent a later one has a greater one: `at`, or one more than the last's."""
    at: int
    """When it was sent by its sender's clock, microseconds since 1970."""
    name: str
    """What the sender calls it."""
    files: int
    size_bytes: int
    domain: bytes
    vault_root: bytes
    version: bytes
    """Of the domain's one version."""
    keys: Sequence[SealedKey]
    packs: Sequence[tuple[bytes, int]]
    """Id and bytes of each."""


def read_site_key(text: str) -> SiteKey:
    """The public half of a site, as it is told.

    Raises:
        InvalidError: it is none, or mistyped.
    """
    try:
        coded = text.strip().removeprefix(PREFIX).upper()
        raw = base64.b32decode(coded + "=" * (-len(coded) % 8))
    except ValueError:
        raw, coded = b"", ""
    is_exact = base64.b32encode(raw).decode().rstrip("=") == coded  # the last letter has bits that decode to nothing
    body, check = raw[:-CHECK_BYTES], raw[-CHECK_BYTES:]
    is_whole = is_exact and len(body) == 2 * KEY_BYTES and check == _check(body)
    if not is_whole or not text.strip().startswith(PREFIX):
        raise InvalidError("That is no site's key, or it is mistyped", fix="Ask for what `lepton vault site-key` says.")
    return SiteKey(seals=body[:KEY_BYTES], verifies=body[KEY_BYTES:])


def seal_parcel(parcel: Parcel, *, recipient: SiteKey, sender: Site) -> bytes:
    """The file of a parcel."""
    key = fresh_key()
    theirs = bytes(SUITE.encrypt(key, X25519PublicKey.from_public_bytes(recipient.seals), PURPOSE))
    told = {
        **({"id": parcel.id} if parcel.id else {}),
        "order": parcel.order,
        "at": parcel.at,
        "name": parcel.name,
        "files": parcel.files,
        "size_bytes": parcel.size_bytes,
        "domain": parcel.domain.hex(),
        "vault_root": parcel.vault_root.hex(),
        "version": parcel.version.hex(),
        "keys": [told_key(row) for row in parcel.keys],
        "packs": [[pack.hex(), size] for pack, size in parcel.packs],
    }
    plain = zstandard.ZstdCompressor().compress(json.dumps(told, separators=(",", ":")).encode())
    head = HEAD.pack(MAGIC, FORMAT, len(theirs), len(plain) + 16, _commitment(key), sender.key.verifies)
    whole = head + theirs + AESGCM(key).encrypt(NONCE, plain, head)
    return whole + Ed25519PrivateKey.from_private_bytes(sender.signs).sign(whole)


def open_parcel(body: bytes, id: str, *, recipient: Site, sender: SiteKey) -> Parcel:
    """What lies in a parcel.

    Args:
        id: what its file is called: no older parcel can pass as a newer one.

    Raises:
        IntegrityError: it is damaged, from somebody else, for somebody else, or was sent under another id.
    """
    parcel = _opened(body, recipient, sender)
    times = [f"{from_micros(parcel.at):{form}}" for form in (TO_THE_MICROSECOND, TO_THE_SECOND)]
    if id != parcel.id if parcel.id else id.partition("-")[0] not in times:
        raise IntegrityError(
            f"The parcel {id[:80]} was sent as {parcel.id or times[0]}: somebody has renamed it",
            fix="Give its file its name back, or have it sent again.",
        )
    return parcel


def new_id(order: int) -> str:
    """Of a parcel; later ones sort behind."""
    return f"{from_micros(order):{TO_THE_MICROSECOND}}-{os.urandom(4).hex()}"


def _opened(body: bytes, recipient: Site, sender: SiteKey) -> Parcel:
    whole, signature = body[:-SIGNATURE_BYTES], body[-SIGNATURE_BYTES:]
    if len(whole) < HEAD.size or whole[: len(MAGIC)] != MAGIC:
        raise IntegrityError("That is no parcel, or it is damaged", fix="Have it sent again.")
    head = whole[: HEAD.size]
    _, form, theirs, size, commitment, signer = HEAD.unpack(head)
    if form != FORMAT:
        raise IntegrityError("The parcel is of a form that this Lepton does not know", fix="Upgrade Lepton.")
    if signer != sender.verifies:
        raise ForeignParcelError(
            "The parcel was sent by another site", fix="Check --sent-by, or leave the parcel alone."
        )
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, whole)
    except (InvalidSignature, ValueError) as fault:
        raise IntegrityError("The parcel is damaged", fix="Have it sent again.") from fault
    if len(whole) != HEAD.size + theirs + size:
        raise IntegrityError("The parcel is damaged", fix="Have it sent again.")
    sealed, box = whole[HEAD.size : HEAD.size + theirs], whole[HEAD.size + theirs :]
    try:
        key = SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(recipient.opens), PURPOSE)
    except (InvalidTag, ValueError) as fault:
        raise ForeignParcelError("The parcel is for another site", fix="Give the sender this site's key.") from fault
    if _commitment(key) != commitment:
        raise IntegrityError("The parcel was sealed with another key", fix="Have it sent again.")
    try:
        plain = AESGCM(key).decrypt(NONCE, box, head)
        return _read(json.loads(zstandard.ZstdDecompressor().decompress(plain, max_output_size=MOST_BYTES)))
    except (InvalidTag, zstandard.ZstdError, ValueError, KeyError, TypeError) as fault:
        raise IntegrityError(f"The parcel is damaged: {fault}", fix="Have it sent again.") from fault


def parcel_path(id: str) -> str:
    """The key of a parcel's file."""
    return f"{PARCELS}{id}"


def _read(told: dict[str, object]) -> Parcel:
    keys, packs = told["keys"], told["packs"]
    if not isinstance(keys, list) or not isinstance(packs, list):
        raise TypeError("its lists")
    hexes = {name: bytes.fromhex(str(told[name])) for name in ("domain", "vault_root", "version")}
    return Parcel(
        id=str(told.get("id", "")),
        order=int(str(told.get("order", told["at"]))),
        at=int(str(told["at"])),
        name=str(told["name"]),
        files=int(str(told["files"])),
        size_bytes=int(str(told["size_bytes"])),
        keys=[sealed_key(row) for row in keys],
        packs=[(bytes.fromhex(pack), int(size)) for pack, size in packs],
        **hexes,
    )


def _commitment(key: bytes) -> bytes:
    """AES-GCM alone would open under several keys that one made up."""
    return sha256(PURPOSE + key).digest()


def _check(body: bytes) -> bytes:
    return sha256(PREFIX.encode() + body).digest()[:CHECK_BYTES]
