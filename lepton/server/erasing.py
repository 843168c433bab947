"""Erase the content of a workspace: its keys are destroyed, and with them whatever lies in packs, wherever it lies.

What is left then is said in a certificate: a backup from before holds the sealed keys, for whoever has the recovery
key, until it is forgotten. No server may run meanwhile, as it has keys in memory. A death in between is made good by
calling it again.
"""

import base64
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import IntegrityError, NotFoundError
from lepton.core.resource import Json
from lepton.core.size import number_of
from lepton.server.backups import DUMP, PLATFORM
from lepton.server.house import OWN_INDEX, SERVER_INDEX, House
from lepton.server.ownership import Ownership
from lepton.store import domains, facts, holdings, targets
from lepton.store.database import Tx
from lepton.store.vault import forget_domain
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.files import pack_folder
from lepton.vault.store.prune import Caution, Roots, prune
from lepton.vault.vault import Domain

FORMAT = 1
STATEMENT = (
    "The keys of this workspace's content were destroyed in the platform's database; what lies in its packs, and in "
    "copies of them, cannot be read without those keys. Backups named here hold the keys, sealed, for whoever has the "
    "recovery key or the platform's root key, until they are forgotten and their packs removed. Names, sizes and "
    "hashes of its versions stay in the catalog. Not covered: copies that were exported, and remnants of deleted "
    "files on the medium."
)


@dataclass(frozen=True, slots=True)
class Erased:
    """What was destroyed."""

    keys: int
    packs: int
    size_bytes: int
    certificate: Mapping[str, object]


def held_by(house: House, workspace: str) -> tuple[int, int]:
    """(packs, bytes) of a workspace.

    Raises:
        NotFoundError: it has no content, or it was erased.
    """
    _, domain = _of(house, workspace)
    sql = "SELECT count(*), coalesce(sum(size_bytes), 0) FROM vault_packs WHERE domain = ? AND is_gone = 0"
    row = house.database.read(lambda tx: tx.row(sql, (domain,)))
    return (int(row[0]), int(row[1])) if row else (0, 0)


def erase(house: House, workspace: str, paper: str = "") -> Erased:
    """Destroy the keys of a workspace's content, then its packs; return what was destroyed.

    Args:
        paper: where the certificate is going to be, for the event.

    Raises:
        NotFoundError: it has no content, or it was erased.
        StorageSharedError: its packs are another's by now.
    """
    tenant, domain = _of(house, workspace)
    Ownership(house.database, house.storage).check()
    packs, size = held_by(house, workspace)
    keys = house.database.write(lambda tx: _forget(tx, house, (workspace, paper), tenant, domain))
    _remove_files(house, domain)
    _remove_dump(house)
    if house.database.dialect.name == "sqlite":
        wipe(house.folder / "lepton.db")
    certificate = _certificate(house, workspace, {"keys": keys, "packs": packs, "size_bytes": size})
    return Erased(keys, packs, size, certificate)


def finish(house: House, workspace: str) -> None:
    """Once the certificate is safe: whatever is stored for the workspace from now on has new keys."""
    house.database.write(lambda tx: domains.drop(tx, workspace))


def verify_certificate(text: str, signer: bytes) -> Mapping[str, object]:
    """What a certificate says.

    Raises:
        IntegrityError: it is none, or not signed by that key.
    """
    try:
        told = dict(json.loads(text))
        signature = base64.b64decode(str(told.pop("signature")))
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, _signed(told))
    except (ValueError, KeyError, TypeError, InvalidSignature) as fault:
        raise IntegrityError("The certificate is not what was signed", fix="Ask for the original.") from fault
    return told


def _of(house: House, workspace: str) -> tuple[bytes, bytes]:
    found = house.database.read(lambda tx: domains.find(tx, workspace)) if workspace != PLATFORM else None
    if found is None:
        raise NotFoundError(
            f"The workspace {workspace!r} has no content", fix="lepton vault keys lists those that have."
        )
    return found


def _forget(tx: Tx, house: House, what: tuple[str, str], tenant: bytes, domain: bytes) -> int:
    workspace, paper = what
    if tx.dialect.name == "sqlite":
        tx.execute("PRAGMA secure_delete = ON")
    keys = forget_domain(tx, tenant, domain)
    holdings.drop(tx, workspace)
    told: dict[str, Json] = {"certificate": paper, "up_to_backup": int(facts.get(tx, "backup") or 0)}
    house.note(tx, "erased", f"{number_of(keys, 'key')} destroyed", workspace=workspace, data=told)
    return keys


def _remove_files(house: House, domain: bytes) -> None:
    """Its packs, and what older versions kept in the clear for nobody else."""
    for head in list(house.driver.list(pack_folder(domain))):
        house.driver.delete(head.key)
    for folder in (SERVER_INDEX, OWN_INDEX):
        for path in (house.folder / folder).glob(f"{domain.hex()}.db*"):
            path.unlink(missing_ok=True)
    plain = house.plain
    for digest in list(plain.list()):
        if not house.database.read(lambda tx, digest=digest: holdings.is_plain(tx, digest)):  # type: ignore[misc]
            plain.delete(digest)


def _remove_dump(house: House) -> None:
    """The last backup's dump lies in the platform's own domain too, with the sealed keys in it."""
    found = house.database.read(lambda tx: domains.find(tx, PLATFORM))
    if found is None:
        return
    own: Domain = house.vault.domain(found[1])
    if any(name == MAIN for name, _ in own.branches.names()):
        own.branches.commit(MAIN, {DUMP: None}, own.chunks.writing(), Author(by="erasure"))
    roots = Roots(versions=[version for _, version in own.branches.names()], with_parents=False)
    for _ in range(2):  # marked, and removed: nobody else is here
        prune(own.chunks, roots, now=to_micros(house.clock.now()), caution=Caution(lease_s=-1))


def wipe(path: Path) -> None:
    """Write the database anew, without what was deleted in it."""
    rows = sqlite3.connect(path)
    try:
        rows.execute("PRAGMA secure_delete = ON")
        rows.execute("VACUUM")
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        rows.close()


def _certificate(house: House, workspace: str, destroyed: Mapping[str, int]) -> Mapping[str, object]:
    told: dict[str, object] = {
        "lepton_erasure": FORMAT,
        "platform": house.platform(),
        "workspace": workspace,
        "at": str(house.clock.now()),
        "destroyed": dict(destroyed),
        "backups": _backups(house),
        "statement": STATEMENT,
        "signer": house.verifier.hex(),
    }
    signature = Ed25519PrivateKey.from_private_bytes(house.signer).sign(_signed(told))
    return {**told, "signature": base64.b64encode(signature).decode()}


def _backups(house: House) -> Sequence[Mapping[str, object]]:
    """Where backups from before lie, and what lets them go."""
    return [
        {
            "at": place.address,
            "up_to_backup": place.last_number,
            "made": str(from_micros(place.last_at)),
            "kept": str(place.keep) if place.every_s and place.keep else "until somebody forgets them",
        }
        for place in house.database.read(targets.every)
        if place.last_number
    ]


def _signed(told: Mapping[str, object]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
