"""The keys of a vault, as a state machine and case by case."""

import os
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from lepton.core.errors import IntegrityError, NameTakenError, NotFoundError
from lepton.vault.store.keyring import KeyRing, SealedKey
from lepton.vault.store.sealing import Kind, fresh_key

ROOT_KEY = bytes(range(32))


class Table:
    """Sealed keys in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Kind, bytes], SealedKey] = {}

    def find(self, kind: Kind, owner: bytes) -> SealedKey | None:
        return self.rows.get((kind, owner))

    def under(self, holder: bytes) -> Iterable[SealedKey]:
        return [row for row in self.rows.values() if row.place.holder == holder]

    def put(self, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]] = ()) -> None:
        for key in gone:
            self.rows.pop(key, None)
        self.rows.update({(row.place.kind, row.place.owner): row for row in rows})


def add_pack(table: Table, ring: KeyRing, pack: bytes, domain: bytes) -> bytes:
    key = fresh_key()
    table.put([ring.seal_pack(pack, key, domain=domain)])
    return key


class Ring(RuleBasedStateMachine):
    """Whatever is made and rotated, every key that was not erased opens to what it was, and no other does."""

    tenants, domains, packs = Bundle("tenants"), Bundle("domains"), Bundle("packs")

    @initialize()
    def begin(self) -> None:
        self.table = Table()
        self.ring = KeyRing(self.table, ROOT_KEY)
        self.version = 1
        self.known: dict[bytes, object] = {}
        self.above: dict[bytes, bytes] = {}

    def named(self, above: bytes) -> bytes:
        name = os.urandom(16)
        self.above[name] = above
        return name

    def is_there(self, name: bytes) -> bool:
        return name in self.above and (not self.above[name] or self.is_there(self.above[name]))

    @rule(target=tenants)
    def add_tenant(self) -> bytes:
        name = self.named(b"")
        self.ring.add_tenant(name)
        return name

    @rule(target=domains, tenant=tenants)
    def add_domain(self, tenant: bytes) -> bytes:
        name = self.named(tenant)
        if self.is_there(tenant):
            self.ring.add_domain(name, tenant=tenant)
            self.known[name] = self.ring.domain(name)
        return name

    @rule(target=packs, domain=domains)
    def add_pack(self, domain: bytes) -> bytes:
        name = self.named(domain)
        if self.is_there(domain):
            self.known[name] = add_pack(self.table, self.ring, name, domain)
        return name

    @rule(tenant=tenants)
    def rotate_tenant(self, tenant: bytes) -> None:
        if self.is_there(tenant):
            assert self.ring.rotate_tenant(tenant) > 0

    @rule(domain=domains)
    def rotate_domain(self, domain: bytes) -> None:
        if self.is_there(domain):
            assert self.ring.rotate_domain(domain) >= 3

    @rule(is_restart=st.booleans())
    def rotate_root(self, is_restart: bool) -> None:
        self.version += 1
        key = self.version.to_bytes(32, "big")
        self.ring = self.ring.rotate_root(key, version=self.version)
        if is_restart:
            self.ring = KeyRing(self.table, key, root_version=self.version)

    @rule(domain=consumes(domains))
    def erase_domain(self, domain: bytes) -> None:
        if self.is_there(domain):
            assert self.ring.erase_domain(domain) >= 3
            del self.above[domain]

    @rule(tenant=consumes(tenants))
    def erase_tenant(self, tenant: bytes) -> None:
        self.ring.erase_tenant(tenant)
        del self.above[tenant]

    @invariant()
    def what_is_there_opens_and_nothing_else(self) -> None:
        for name, wanted in getattr(self, "known", {}).items():
            opener = self.ring.pack if isinstance(wanted, bytes) else self.ring.domain
            if self.is_there(name):
                assert opener(name) == wanted
            else:
                with pytest.raises(NotFoundError):
                    opener(name)


TestRing = Ring.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def made() -> tuple[Table, KeyRing]:
    table = Table()
    ring = KeyRing(table, ROOT_KEY)
    ring.add_tenant(b"t" * 16)
    ring.add_domain(b"d" * 16, tenant=b"t" * 16)
    return table, ring


def test_names_are_taken_once() -> None:
    _, ring = made()
    for again in (
        lambda: ring.add_tenant(b"t" * 16),
        lambda: ring.add_domain(b"d" * 16, tenant=b"t" * 16),
    ):
        with pytest.raises(NameTakenError):
            again()


def test_another_root_key_opens_nothing() -> None:
    table, _ = made()
    with pytest.raises(IntegrityError, match="does not open"):
        KeyRing(table, bytes(32)).domain(b"d" * 16)
    with pytest.raises(IntegrityError, match="version 1 of the root key, not 2"):
        KeyRing(table, ROOT_KEY, root_version=2).domain(b"d" * 16)


def test_a_row_put_back_from_before_a_rotation_is_refused() -> None:
    table, ring = made()
    add_pack(table, ring, b"p" * 16, b"d" * 16)
    before = dict(table.rows)
    ring.rotate_domain(b"d" * 16)
    table.rows[Kind.PACK, b"p" * 16] = before[Kind.PACK, b"p" * 16]
    with pytest.raises(IntegrityError, match="lies under version 1 of a key of version 2"):
        ring.pack(b"p" * 16)


def test_rotation_keeps_names_and_cuts_of_chunks() -> None:
    _, ring = made()
    before = ring.domain(b"d" * 16)
    ring.rotate_tenant(b"t" * 16)
    assert ring.domain(b"d" * 16) == before
