"""What is damaged of a pack beside its boxes costs nothing, and what is damaged of a box that box alone."""

import random

import pytest

from lepton.core.errors import IntegrityError
from lepton.vault.store.packs import ENTRY, HEADER, TRAILER
from lepton.vault.store.rescue import known, rescued
from tests.unit.vault.test_packs import KEY, reader, written

CHANCE = random.Random(7)
CHUNKS = [b"text " * 400, CHANCE.randbytes(300), b"", bytes(range(256)) * 9, CHANCE.randbytes(1000), b"end " * 99]
BODY = written(CHUNKS)
START = len(BODY) - TRAILER.size - 16 - len(CHUNKS) * ENTRY.size


def flipped(*places: int, body: bytes = BODY) -> bytes:
    changed = bytearray(body)
    for at in places:
        changed[at] ^= 1 << at % 8
    return bytes(changed)


def whole(body: bytes) -> list[bytes]:
    its = reader(body)
    return [bytes(its.read(entry)) for entry in known(its, len(body))[0]]


@pytest.mark.parametrize(
    "at", [*range(48), *range(START, len(BODY))]
)  # 48 to 63 may say anything, and nothing else does
def test_any_byte_of_header_directory_and_end_comes_back(at: int) -> None:
    body = flipped(at)
    with pytest.raises(IntegrityError):
        reader(body).directory(len(body))
    found = rescued(reader(body), body)
    assert found and (found.lost, found.body) == (0, BODY) and whole(body) == CHUNKS


def test_of_a_directory_that_is_damaged_at_many_places_all_comes_back_whose_place_is_known() -> None:
    ids = [START + ENTRY.size * number + 5 for number in range(len(CHUNKS))]
    assert whole(flipped(*ids)) == CHUNKS, "every id"
    assert whole(flipped(START + ENTRY.size + 36, START + 4 * ENTRY.size + 40, START + 3 * ENTRY.size + 34)) == CHUNKS
    found = rescued(reader(BODY), flipped(START + ENTRY.size + 36, START + 2 * ENTRY.size + 36))
    assert found and [entry.number for entry in found.entries] == [0, 3, 4, 5] and (found.lost, found.body) == (2, b"")


def test_a_damaged_box_is_lost_alone_and_the_rest_is_a_pack_again() -> None:
    body = flipped(HEADER.size + 3, START + 100, 9)
    found = rescued(reader(body), body)
    assert found and found.lost == 1 and whole(body) == CHUNKS[1:]
    again = reader(found.body).directory(len(BODY))
    assert [entry.number for entry in again] == list(range(len(CHUNKS)))
    assert found.body == flipped(HEADER.size + 3)


@pytest.mark.parametrize("body", [b"", b"LEPTPACK", BODY[:500], bytes(len(BODY)), CHANCE.randbytes(len(BODY))])
def test_what_is_no_pack_gives_nothing(body: bytes) -> None:
    assert rescued(reader(body), body) is None
    with pytest.raises(IntegrityError):
        known(reader(body), len(body))


def test_another_key_or_place_gives_nothing() -> None:
    body = flipped(START)
    for stranger in (reader(body, key=KEY[::-1]), reader(body, pack=b"q" * 16), reader(body, id_key=KEY)):
        assert rescued(stranger, body) is None
