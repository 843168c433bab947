"""Each writer fills packs of his own: what he gives up goes, and takes nothing from others."""

import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Semaphore

from lepton.vault.driver import Head
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import UPLOADS
from lepton.vault.store.packs import FULL_BYTES
from lepton.vault.store.pools import MOST_BYTES
from lepton.vault.store.state import Move
from tests.server.house import wait_until
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


def test_what_is_given_up_leaves_nothing_beside_others(store: Store) -> None:
    lost = store.chunks.writing()
    ids = beside(store, lost, 0)
    assert sum(map(len, store.driver.kept.values())) > 2 * FULL_BYTES
    lost.abandon()
    assert sum(map(len, store.driver.kept.values())) < 100_000
    assert [bytes(chunk) for chunk in store.chunks.read(ids[::10])] == [
        noise(seed + 100_000, 500) for seed in range(0, 200, 10)
    ]


class ShutDriver(MemoryDriver):
    """Stores nothing until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.waiting = Event(), Semaphore(0)

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        self.waiting.release()
        assert self.gate.wait(20)
        return super().put(key, chunks)


def test_small_writers_that_end_while_others_are_stored_share_a_pack(tmp_path: Path) -> None:
    driver = ShutDriver()
    with closing(Store(tmp_path, driver)) as store, ThreadPoolExecutor(12) as pool:
        batches = [store.chunks.writing() for _ in range(12)]
        ids = [batch.put(noise(seed, 200_000)) for seed, batch in enumerate(batches)]
        done = []
        for batch in batches[:UPLOADS]:
            done.append(pool.submit(batch.finish))
            assert driver.waiting.acquire(timeout=20)
        done += [pool.submit(batch.finish) for batch in batches[UPLOADS:]]
        wait_until(lambda: all(not batch.own for batch in batches), "all wait for room")
        driver.gate.set()
        packs = [each.result() for each in done]
        assert len(driver.kept) == UPLOADS + 1 and len(set(packs[UPLOADS:])) == 1
        assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(seed, 200_000) for seed in range(12)]


def test_what_is_read_while_it_goes_into_the_pack_of_many_is_right(store: Store) -> None:
    batch = store.chunks.writing()
    ids = [batch.put(noise(seed)) for seed in range(600)]  # more than are looked up at once
    reading = store.chunks.read(ids)
    assert bytes(next(reading)) == noise(0)
    batch.finish()
    assert [bytes(chunk) for chunk in reading] == [noise(seed) for seed in range(1, 600)]


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
