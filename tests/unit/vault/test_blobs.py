"""Content of any size comes back, whole and in ranges; an edit stores little."""

import random
from collections.abc import Iterator
from hashlib import sha256

import pytest

from lepton.core.errors import IntegrityError, InvalidError
from lepton.vault.store.blobs import EMPTY, Blob, places, read, write
from lepton.vault.store.cutting import Cutter
from tests.unit.vault.stores import Store


def kept(store: Store, body: bytes, *, piece: int = 100_000) -> tuple[Blob, int]:
    """The blob, and how many bytes were new."""
    batch = store.chunks.writing()
    pieces = (body[at : at + piece] for at in range(0, len(body), piece))
    blob = write(batch, Cutter(store.chunks.keys.cutter_seed), pieces)
    batch.finish()
    return blob, batch.new_bytes


def body_of(store: Store, blob: Blob, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(read(store.chunks, blob, start=start, stop=stop))


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 5_000_000])
def test_content_comes_back(store: Store, size: int) -> None:
    body = random.Random(size).randbytes(size)
    blob, _ = kept(store, body)
    assert blob.size_bytes == size and blob.sha256 == sha256(body).digest()
    assert body_of(store, blob) == body
    chance = random.Random(size + 1)
    for _ in range(30):
        start, stop = chance.randint(0, size + 10), chance.randint(0, size + 10)
        if start <= stop:
            assert body_of(store, blob, start, stop) == body[start:stop]
    assert body_of(store, blob, size + 5) == b""
    with pytest.raises(InvalidError):
        body_of(store, blob, 5, 4)


def test_no_content_needs_no_chunk(store: Store) -> None:
    assert kept(store, b"") == (EMPTY, 0)
    assert list(places(store.chunks, EMPTY)) == []


def test_a_long_list_of_chunks_has_pages_of_pages(store: Store) -> None:
    """One megabyte of each of many kinds, again and again: few chunks, a long list; with a seed that cuts enough."""
    part = random.Random(5).randbytes(1 << 20)

    def pieces() -> Iterator[bytes]:
        for turn in range(400):
            yield turn.to_bytes(4, "little") + part

    batch = store.chunks.writing()
    blob = write(batch, Cutter(bytes(range(8))), pieces())
    batch.finish()
    assert blob.depth >= 2 and blob.size_bytes == 400 * ((1 << 20) + 4)
    at = 399 * ((1 << 20) + 4)
    assert body_of(store, blob, at, at + 50) == (399).to_bytes(4, "little") + part[:46]
    pages = [id for id, is_page in places(store.chunks, blob) if is_page]
    assert len(pages) > 2 and pages[0] == blob.root
    digest = sha256()
    for piece in read(store.chunks, blob):
        digest.update(piece)
    assert digest.digest() == blob.sha256


def test_an_insert_stores_a_few_chunks(store: Store) -> None:
    body = random.Random(6).randbytes(20_000_000)
    first, _ = kept(store, body)
    second, new_bytes = kept(store, body[:9_000_000] + b"here" + body[9_000_000:])
    assert second != first and new_bytes < 600_000
    assert kept(store, body) == (first, 0)


def test_a_list_that_is_none_is_refused(store: Store) -> None:
    batch = store.chunks.writing()
    page = batch.put(b"x" * 41)
    batch.finish()
    with pytest.raises(IntegrityError, match="list of chunks"):
        body_of(store, Blob(100, 1, page, bytes(32)))
