"""The keys of a vault: root -> tenant -> domain -> one for each pack, each sealed under the one above it.

What is stored is a table of sealed keys, one row a key; the root key comes from outside and is in no row. Rotation
seals rows anew and touches no pack. Erasing a domain, or a tenant, forgets its rows: nothing that lies in its packs can
be read again, wherever copies of them are - once backups of the table have forgotten them too.

A change is one `put`, so that a crash leaves the rows from before it or those from after it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

from lepton.core.errors import IntegrityError, NameTakenError, NotFoundError, StaleError
from lepton.vault.store.cutting import SEED_BYTES
from lepton.vault.store.sealing import ROOT, Kind, Place, Sealer, fresh_key

TRIES = 5
FIRST = 1
"""Version of a key that was never rotated; the root key's version is said by whoever has it."""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """One row of the table."""

    place: Place
    sealed: bytes
    version: int = FIRST
    """Of the key itself."""


class KeyTable(Protocol):
    """Where sealed keys are kept. A key is found by its kind and owner; there is one of each."""

    def find(self, kind: Kind, owner: bytes) -> SealedKey | None:
        """The row, if there is one."""
        ...

    def under(self, holder: bytes) -> Iterable[SealedKey]:
        """All rows that are sealed under a tenant's or a domain's key, or under the root."""
        ...

    def put(self, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]] = ()) -> None:
        """Write rows, replacing those of the same kind and owner, and forget others: all of it or nothing.

        Raises:
            StaleError: a row lies under a version of a key that is not the present one, or this new version of a key
                leaves one behind that lies under an older version. Nothing was changed.
        """
        ...


@dataclass(frozen=True, slots=True)
class DomainKeys:
    """What the chunks of a domain are named and cut by. Rotation keeps both."""

    chunk_id: bytes
    cutter_seed: bytes


class KeyRing:
    """Opens, makes and rotates keys. Any thread may use it.

    Args:
        root: the root key, 32 bytes.
        root_version: of it.
    """

    def __init__(self, table: KeyTable, root: bytes, *, root_version: int = FIRST) -> None:
        self._table = table
        self._root, self._root_version = Sealer(root), root_version
        self._opened: dict[tuple[bytes, int], Sealer] = {}
        """(tenant or domain, version) -> what its key seals."""
        self._lock = Lock()
        """One change at a time."""

    def add_tenant(self, tenant: bytes) -> None:
        """Make a tenant's key.

        Raises:
            NameTakenError: it has one.
        """
        with self._lock:
            self._refuse_taken(Kind.TENANT, tenant)
            self._table.put([self._made(Kind.TENANT, tenant, ROOT, fresh_key())])

    def add_domain(self, domain: bytes, *, tenant: bytes) -> None:
        """Make the keys of a domain: its own, and those that its chunks are named and cut by.

        Raises:
            NotFoundError: no such tenant.
            NameTakenError: the domain is there.
        """
        with self._lock:
            self._refuse_taken(Kind.DOMAIN, domain)
            key = fresh_key()
            own = self._made(Kind.DOMAIN, domain, tenant, key)
            sealer = Sealer(key)
            inner = [
                _sealed(sealer, Place(kind=kind, owner=domain, holder=domain, version=FIRST), made)
                for kind, made in ((Kind.CHUNK_ID, fresh_key()), (Kind.CUTTER_SEED, os.urandom(SEED_BYTES)))
            ]
            self._table.put([own, *inner])

    def domain(self, domain: bytes) -> DomainKeys:
        """What a domain's chunks are named and cut by.

        Raises:
            NotFoundError: no such domain, or it was erased.
            IntegrityError: the root key is not this vault's, or a row is damaged.
        """
        return DomainKeys(self._open(Kind.CHUNK_ID, domain), self._open(Kind.CUTTER_SEED, domain))

    def seal_pack(self, pack: bytes, key: bytes, *, domain: bytes) -> SealedKey:
        """The row for the key of a pack; whoever registers the pack stores it with it.

        Raises:
            NotFoundError: no such domain.
        """
        return self._made(Kind.PACK, pack, domain, key)

    def pack(self, pack: bytes) -> bytes:
        """The key of a pack; raises as `domain`."""
        return self._open(Kind.PACK, pack)

    def rotate_domain(self, domain: bytes) -> int:
        """Give a domain a new key and seal what lies under it anew; return how many keys that were.

        Raises:
            StaleError: others made keys under it meanwhile, every time it was tried.
        """
        return self._tried(lambda: self._rotate([domain]))

    def rotate_tenant(self, tenant: bytes) -> int:
        """Give a tenant and each of its domains a new key; as `rotate_domain`."""
        return self._tried(lambda: self._rotate_tenant(tenant))

    def _tried(self, change: Callable[[], int]) -> int:
        """A change, begun again when it was overtaken."""
        with self._lock:
            for _ in range(TRIES - 1):
                with suppress(StaleError):
                    return change()
            return change()

    def _rotate_tenant(self, tenant: bytes) -> int:
        domains = [row.place.owner for row in self._table.under(tenant)]
        row = self._row(Kind.TENANT, tenant)
        fresh = replace(self._made(Kind.TENANT, tenant, ROOT, fresh_key()), version=row.version + 1)
        return self._rotate(domains, tenant=fresh)

    def rotate_root(self, root: bytes, *, version: int) -> "KeyRing":
        """Seal the tenants' keys under another root key; return the ring that opens them, as this one does no more."""
        with self._lock:
            other = KeyRing(self._table, root, root_version=version)
            rows = [
                other._made(Kind.TENANT, row.place.owner, ROOT, self._plain(row), version=row.version)
                for row in self._table.under(ROOT)
            ]
            self._table.put(rows)
            return other

    def erase_domain(self, domain: bytes) -> int:
        """Forget a domain's key and all below it; return how many keys are gone."""
        with self._lock:
            gone = [(row.place.kind, row.place.owner) for row in self._table.under(domain)]
            gone.append((Kind.DOMAIN, self._row(Kind.DOMAIN, domain).place.owner))
            self._table.put([], gone)
            self._forget([domain])
            return len(gone)

    def erase_tenant(self, tenant: bytes) -> int:
        """Forget a tenant's key and all below it; return how many keys are gone."""
        with self._lock:
            domains = [row.place.owner for row in self._table.under(tenant)]
            gone = [(Kind.TENANT, self._row(Kind.TENANT, tenant).place.owner)]
            for domain in domains:
                gone += [(row.place.kind, row.place.owner) for row in self._table.under(domain)]
                gone.append((Kind.DOMAIN, domain))
            self._table.put([], gone)
            self._forget([tenant, *domains])
            return len(gone)

    def _rotate(self, domains: Sequence[bytes], *, tenant: SealedKey | None = None) -> int:
        """New keys for domains, under their tenant's present key or under a fresh one; all rows change at once."""
        rows: list[SealedKey] = [] if tenant is None else [tenant]
        holder = None if tenant is None else Sealer(self._plain(tenant))
        for domain in domains:
            old = self._row(Kind.DOMAIN, domain)
            fresh, version = fresh_key(), old.version + 1
            above = old.place if tenant is None else replace(old.place, version=tenant.version)
            rows.append(_sealed(holder or self._holder(old.place), above, fresh, version))
            rows += self._resealed(domain, Sealer(fresh), version)
        self._table.put(rows)
        self._forget(domains if tenant is None else [tenant.place.owner, *domains])
        return len(rows)

    def _resealed(self, domain: bytes, sealer: Sealer, version: int) -> Iterator[SealedKey]:
        """The rows under a domain, sealed under its new key."""
        for row in self._table.under(domain):
            yield _sealed(sealer, replace(row.place, version=version), self._plain(row), row.version)

    def _made(self, kind: Kind, owner: bytes, holder: bytes, key: bytes, *, version: int = FIRST) -> SealedKey:
        """A row for a key, under the present key of its holder."""
        above = self._root_version if holder == ROOT else self._row(_kind_of_holder(kind), holder).version
        place = Place(kind=kind, owner=owner, holder=holder, version=above)
        return _sealed(self._holder(place), place, key, version)

    def _open(self, kind: Kind, owner: bytes) -> bytes:
        return self._plain(self._row(kind, owner))

    def _plain(self, row: SealedKey) -> bytes:
        return self._holder(row.place).open(row.sealed, row.place)

    def _holder(self, place: Place) -> Sealer:
        """What a key in that place is sealed with."""
        if place.holder == ROOT:
            if place.version != self._root_version:
                raise IntegrityError(
                    f"The keys are sealed under version {place.version} of the root key, not {self._root_version}",
                    fix="Give the root key of that version.",
                )
            return self._root
        known = self._opened.get((place.holder, place.version))
        if known is None:
            row = self._row(_kind_of_holder(place.kind), place.holder)
            if row.version != place.version:
                kind = place.kind.name.lower()
                raise IntegrityError(
                    f"A {kind} key lies under version {place.version} of a key of version {row.version}",
                    fix="Restore the keys from a backup.",
                )
            known = self._opened[place.holder, place.version] = Sealer(self._plain(row))
        return known

    def _row(self, kind: Kind, owner: bytes) -> SealedKey:
        row = self._table.find(kind, owner)
        if row is None:
            raise NotFoundError(
                f"There is no {kind.name.lower()} key of {owner.hex()}", fix="It was erased, or never made."
            )
        return row

    def _refuse_taken(self, kind: Kind, owner: bytes) -> None:
        if self._table.find(kind, owner) is not None:
            raise NameTakenError(f"There is a {kind.name.lower()} key of {owner.hex()}", fix="Use another id.")

    def _forget(self, owners: Iterable[bytes]) -> None:
        gone = set(owners)
        for known in [each for each in self._opened if each[0] in gone]:
            del self._opened[known]


def _kind_of_holder(kind: Kind) -> Kind:
    return Kind.TENANT if kind is Kind.DOMAIN else Kind.DOMAIN


def _sealed(sealer: Sealer, place: Place, key: bytes, version: int = FIRST) -> SealedKey:
    return SealedKey(place, sealer.seal(key, place), version)
