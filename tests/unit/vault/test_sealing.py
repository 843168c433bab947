"""Sealed keys open in their own place and nowhere else."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.errors import IntegrityError
from lepton.vault.store.sealing import ROOT, Kind, Place, Sealer

KEY, SEALED_KEY = os.urandom(32), os.urandom(32)
PLACE = Place(kind=Kind.TENANT, owner=b"t" * 16, holder=ROOT, version=3)


def test_a_sealed_key_opens_in_its_place() -> None:
    sealed = Sealer(KEY).seal(SEALED_KEY, PLACE)
    assert Sealer(KEY).open(sealed, PLACE) == SEALED_KEY and len(sealed) == 60


def test_a_stranger_opens_it_by_the_page_alone() -> None:
    sealed = Sealer(KEY).seal(SEALED_KEY, PLACE)
    bound = b"lepton key 1" + b"\x01" + b"t" * 16 + bytes(16) + b"\x03\x00\x00\x00"
    assert AESGCM(KEY).decrypt(sealed[:12], sealed[12:], bound) == SEALED_KEY


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, kind=Kind.DOMAIN),
        replace(PLACE, owner=b"u" * 16),
        replace(PLACE, holder=b"h" * 16),
        replace(PLACE, version=4),
    ],
)
def test_it_opens_nowhere_else(place: Place) -> None:
    with pytest.raises(IntegrityError, match="does not open"):
        Sealer(KEY).open(Sealer(KEY).seal(SEALED_KEY, PLACE), place)


def test_wrong_keys_and_damage_are_refused() -> None:
    sealed = Sealer(KEY).seal(SEALED_KEY, PLACE)
    damaged = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for wrong in (*damaged, sealed[:-1], sealed + b"x", b"", sealed[:12]):
        with pytest.raises(IntegrityError):
            Sealer(KEY).open(wrong, PLACE)
    with pytest.raises(IntegrityError):
        Sealer(os.urandom(32)).open(sealed, PLACE)
