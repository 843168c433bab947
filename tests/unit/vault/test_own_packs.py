"""Who has put much gets packs of his own: what he gives up goes, and takes nothing from others."""

import tracemalloc
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from lepton.vault.driver import Head
from lepton.vault.store.batch import Batch
from lepton.vault.store.packs import FULL_BYTES
from lepton.vault.store.pools import MOST_BYTES
from lepton.vault.store.state import Move
from tests.unit.vault.stores import DOMAIN, MemoryDriver, Store
from tests.unit.vault.test_chunks import noise


class ForgetfulDriver(MemoryDriver):
    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        return Head(key=key, size_bytes=sum(map(len, chunks)), etag="")


def beside(store: Store, batch: Batch, first: int, count: int = 200) -> list[bytes]:
    """Fill more than one pack, while another writer puts a little between any two chunks and names it."""
    ids = []
    for seed in range(first, first + count):
        tiny = store.chunks.writing()
        ids.append(tiny.put(noise(seed + 100_000, 500)))
        batch.put(noise(seed, 250_000))
        if seed % 10 == 0:
            store.state.move(DOMAIN, Move(f"b{seed}", 1, b"v" * 32, 5), uses=tiny.finish())
    return ids


def test_what_is_given_up_leaves_little_in_packs_of_others(store: Store) -> None:
    lost = store.chunks.writing()
    ids = beside(store, lost, 0)
    assert sum(map(len, store.driver.kept.values())) > 32 << 20
    lost.abandon()
    last = store.chunks.writing()
    last.put(noise(7))
    last.finish()
    assert sum(map(len, store.driver.kept.values())) < store.chunks.most_shared + (1 << 20)
    assert [bytes(chunk) for chunk in store.chunks.read(ids[::10])] == [
        noise(seed + 100_000, 500) for seed in range(0, 200, 10)
    ]


def test_small_writers_share_a_pack_and_a_large_one_alone_has_one(store: Store) -> None:
    small = [store.chunks.writing() for _ in range(5)]
    ids = [batch.put(noise(seed, 200_000)) for seed, batch in enumerate(small)]
    alone = store.opened("other.db").writing()
    more = [alone.put(noise(seed, 200_000)) for seed in range(100, 150)]  # more than may lie in a shared one
    assert len({pack for batch in small for pack in batch.finish()}) == 1
    assert len(alone.finish()) == 1
    alone.chunks.close()
    assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(seed, 200_000) for seed in range(5)]
    assert [bytes(chunk) for chunk in store.chunks.read(more)] == [noise(seed, 200_000) for seed in range(100, 150)]


def test_who_found_a_chunk_in_the_open_pack_of_another_waits_for_it_and_not_for_him(store: Store) -> None:
    owner, hit = store.chunks.writing(), store.chunks.writing()
    beside(store, owner, 0, 30)
    last = owner.put(noise(29, 250_000))
    assert hit.put(noise(29, 250_000)) == last and not hit.new_bytes
    store.state.move(DOMAIN, Move("main", 1, b"v" * 32, 5), uses=hit.finish())  # sends the other's open pack off
    again = owner.put(noise(999, 250_000))
    owner.abandon()
    with closing(store.opened("other.db")) as other:
        assert bytes(other.get(last)) == noise(29, 250_000)
        assert not other.has(again)


def test_an_open_pack_that_only_others_rely_on_is_theirs(store: Store) -> None:
    owner, hit, second = (store.chunks.writing() for _ in range(3))
    beside(store, owner, 0, 30)
    id = hit.put(noise(29, 250_000))
    assert second.put(noise(29, 250_000)) == id
    owner.abandon()
    second.abandon()
    hit.finish()
    assert bytes(store.chunks.get(id)) == noise(29, 250_000)
    before = len(store.driver.kept)
    hit.abandon()
    assert len(store.driver.kept) == before - 1


def test_however_many_large_writers_there_are_what_is_held_in_memory_is_bounded(tmp_path: Path) -> None:
    with closing(Store(tmp_path, ForgetfulDriver())) as store:
        tracemalloc.start()
        try:
            batches = [store.chunks.writing() for _ in range(24)]
            body = noise(0, 300_000)
            for seed in range(60):
                for number, batch in enumerate(batches):
                    start = seed * len(batches) + number
                    batch.put(body[start : start + 250_000])
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES + FULL_BYTES + (48 << 20)
            for batch in batches:
                batch.abandon()
        finally:
            tracemalloc.stop()
