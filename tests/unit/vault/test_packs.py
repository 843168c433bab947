"""Packs: what goes in comes out, and nothing else ever does."""

import os
import random
from collections.abc import Sequence
from contextlib import suppress
from struct import unpack

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.errors import IntegrityError, TooLargeError
from lepton.vault.store.codecs import Codec, Encoder, Octets
from lepton.vault.store.cutting import MOST_BYTES
from lepton.vault.store.packs import ENTRY, HEADER, TRAILER, Entry, PackReader, PackWriter, chunk_id
from lepton.vault.store.sealing import fresh_key

DOMAIN, PACK = b"d" * 16, b"p" * 16
KEY, ID_KEY = bytes(range(32)), bytes(range(1, 33))
CHUNKS = [b"", b"x", b"text " * 4000, bytes(100), random.Random(1).randbytes(MOST_BYTES)]


class Held:
    """A pack in memory."""

    def __init__(self, body: Octets) -> None:
        self.body = bytes(body)

    def read(self, start: int, stop: int) -> bytes:
        return self.body[start:stop]


def written(chunks: list[bytes], *, key: bytes = KEY, pack: bytes = PACK) -> bytes:
    writer = PackWriter(domain=DOMAIN, pack=pack, key=key)
    for chunk in chunks:
        writer.add(chunk_id(ID_KEY, chunk), len(chunk), *Encoder().encode(chunk))
    return b"".join(writer.close()[1])


def reader(body: Octets, *, key: bytes = KEY, id_key: bytes = ID_KEY, pack: bytes = PACK) -> PackReader:
    return PackReader(Held(body), domain=DOMAIN, pack=pack, key=key, id_key=id_key)


def test_a_pack_gives_back_its_chunks() -> None:
    body = written(CHUNKS)
    its = reader(body)
    assert [bytes(its.read(entry)) for entry in its.directory(len(body))] == CHUNKS


def test_a_stranger_reads_it_by_the_page_alone() -> None:
    """With struct, `cryptography`, `blake3` and docs/vault-format.md."""
    body = written([b"first", b"second"])
    assert body[:12] == b"LEPTPACK\x01\x00\x01\x00" and body[16:32] == DOMAIN and body[32:48] == PACK
    start, length, count, magic = unpack("<QII8x8s", body[-32:])
    directory = AESGCM(KEY).decrypt(bytes(4) + b"\xff" * 8, body[start : start + length], body[:64] + body[-32:])
    assert magic == b"LEPTPEND" and count == 2 and len(directory) == 96
    at, found = 64, []
    for number in range(count):
        id, size, box, codec = unpack("<32sIIB7x", directory[48 * number : 48 * number + 48])
        bound = DOMAIN + PACK + id + size.to_bytes(4, "little") + bytes([codec])
        plain = AESGCM(KEY).decrypt(bytes(4) + number.to_bytes(8, "little"), body[at : at + box], bound)
        assert codec == 0 and blake3(plain, key=ID_KEY).digest() == id
        found.append(plain)
        at += box
    assert found == [b"first", b"second"] and at == start


def accepts(body: bytes, wanted: list[bytes], entries: Sequence[Entry]) -> bool:
    """Whether a changed pack is taken for whole, or gives something that never went in."""
    its = reader(body)
    try:
        for entry in its.directory(len(body)):
            its.read(entry)
    except IntegrityError:
        return is_any_taken(body, wanted, entries)
    return True


def is_any_taken(body: bytes, wanted: list[bytes], entries: Sequence[Entry]) -> bool:
    """Whether the boxes, where they were, give what never went in."""
    its = reader(body)
    for entry in entries:
        with suppress(IntegrityError):
            if bytes(its.read(entry)) != wanted[entry.number]:
                return True
    return False


def test_ten_thousand_tampers_and_none_is_accepted() -> None:
    chunks = [b"one" * 40, b"two" * 40, random.Random(2).randbytes(300), b"three" * 9]
    body, chance = written(chunks), random.Random(3)
    entries = reader(body).directory(len(body))
    other = written([b"evil" * 30, *chunks[1:]], key=fresh_key(), pack=b"q" * 16)
    refused = 0
    for turn in range(10_000):
        changed = bytearray(body)
        kind, at, to = turn % 5, chance.randrange(len(body)), chance.randrange(len(body))
        if kind == 0:  # a bit
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:  # cut off
            del changed[at:]
        elif kind == 2:  # a stretch of another pack
            changed[at : at + 64] = other[at : at + 64]
        elif kind == 3:  # a stretch put elsewhere
            changed[to : to + 40] = body[at : at + 40]
        else:  # something put between
            changed[at:at] = chance.randbytes(chance.randrange(1, 20))
        if bytes(changed) != body:
            assert not accepts(bytes(changed), chunks, entries), (kind, at, to)
            refused += 1
    assert refused > 9_900


def test_boxes_do_not_open_elsewhere() -> None:
    body = written([b"a" * 50, b"b" * 50])
    its = reader(body)
    first, second = its.directory(len(body))
    swapped = Entry(first.number, second.id, second.length, second.start, second.box, second.codec)
    replayed = Entry(second.number, first.id, first.length, first.start, first.box, first.codec)
    for wrong in (swapped, replayed):
        with pytest.raises(IntegrityError):
            its.read(wrong)
    for stranger in (reader(body, key=fresh_key()), reader(body, pack=b"q" * 16), reader(body, id_key=fresh_key())):
        with pytest.raises(IntegrityError):
            stranger.read(first)


@pytest.mark.parametrize("body", [b"", b"LEPTPACK", os.urandom(200), bytes(96)])
def test_what_is_no_pack_is_refused(body: bytes) -> None:
    with pytest.raises(IntegrityError):
        reader(body).directory(len(body))


def test_a_chunk_that_no_pack_may_hold_is_refused() -> None:
    writer = PackWriter(domain=DOMAIN, pack=PACK, key=KEY)
    with pytest.raises(TooLargeError):
        writer.add(bytes(32), MOST_BYTES + 1, Codec.RAW, bytes(MOST_BYTES + 1))


def test_sizes_on_disk_are_those_of_the_page() -> None:
    assert (HEADER.size, TRAILER.size, ENTRY.size) == (64, 32, 48)
