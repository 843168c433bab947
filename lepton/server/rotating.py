"""Change the platform's root key: all that lies under it is sealed anew in one transaction, and no pack is rewritten.

The order keeps the platform whole through any death: the new key is durable, then the database is committed, then the
old key's file goes. Whatever happens, the key that the database is sealed under is there, and the next start takes it.
No server may run meanwhile, as it has the old key in memory.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lepton.core.clock import to_micros
from lepton.core.errors import ConflictError
from lepton.security.key import KEY_BYTES, derive
from lepton.server.erasing import wipe
from lepton.server.folder import NEXT_KEY, check_random, flush_folder, write_private
from lepton.server.house import House
from lepton.server.people import reseal_secrets
from lepton.server.root import mark_of, put_root
from lepton.server.sealing import vault_root
from lepton.server.storage import opened_credentials, sealed_credentials
from lepton.store import leases, storage, targets
from lepton.store.database import Tx
from lepton.store.vault import TxKeys
from lepton.vault.store.keyring import FIRST, KeyRing
from lepton.vault.store.sealing import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What was sealed anew."""

    tenants: int
    secrets: int
    credentials: int


def rotate(house: House, key: bytes | None) -> Rotated:
    """Seal everything under another root key.

    Args:
        key: the new one, which its owner keeps; None: a fresh one, in the data directory's file.

    Raises:
        ConflictError: it is the present one; or a server runs on the database.
        ConfigError: it is no random one.
    """
    if key is not None:
        check_random(key)
    if key is not None and mark_of(key) == mark_of(house.root):
        raise ConflictError("The platform is sealed under that root key already", fix="Give another.")
    with _kept(house.folder, key) as new:
        rotated = house.database.write(lambda tx: _reseal(tx, house, new))
    if house.database.dialect.name == "sqlite":
        wipe(house.folder / "lepton.db")
    return rotated


@contextmanager
def _kept(folder: Path, key: bytes | None) -> Iterator[bytes]:
    """The new key, durable before the block; after it, the old one's file is gone."""
    fresh, present = folder / NEXT_KEY, folder / "key"
    if key is None:
        new = os.urandom(KEY_BYTES)
        write_private(fresh, new.hex() + "\n")
        yield new
        fresh.replace(present)
    else:
        yield key
        present.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)
    flush_folder(folder)


def _reseal(tx: Tx, house: House, key: bytes) -> Rotated:
    if tx.dialect.name == "sqlite":
        tx.execute("PRAGMA secure_delete = ON")
    elif leases.any_held(tx, now=to_micros(house.clock.now())):
        raise ConflictError("A server runs on this database", fix="Stop all servers first.")
    old = house.root
    KeyRing(TxKeys(tx), vault_root(old)).rotate_root(vault_root(key), version=FIRST)
    tenants = len(list(TxKeys(tx).under(ROOT)))
    secrets = reseal_secrets(tx, derive(old, "secrets"), derive(key, "secrets"))
    credentials = _reseal_credentials(tx, old, key)
    put_root(tx, house.keys, key)
    rotated = Rotated(tenants=tenants, secrets=secrets, credentials=credentials)
    why = f"the root key; sealed anew: keys of tenants {tenants}, secrets {secrets}, credentials {credentials}"
    house.note(tx, "rotated", why)
    return rotated


def _reseal_credentials(tx: Tx, old: bytes, key: bytes) -> int:
    """Of the storage of packs, and of places with backups."""

    def again(address: str, sealed: bytes) -> bytes:
        return sealed_credentials(key, address, opened_credentials(old, address, sealed))

    count = storage.reseal(tx, again)
    for place in targets.every(tx):
        if place.credentials:
            targets.put(tx, replace(place, credentials=again(place.address, place.credentials)))
            count += 1
    return count
