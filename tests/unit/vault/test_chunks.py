"""Chunks are kept once, found by every reader, and never acknowledged before they are durable."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lepton.core.errors import IntegrityError, StorageFullError
from lepton.vault.driver import Head
from tests.unit.vault.stores import DOMAIN, MemoryDriver, Store


def noise(seed: int, size: int = 5000) -> bytes:
    return random.Random(seed).randbytes(size)


def test_what_is_put_is_read_before_and_after_it_is_durable(store: Store) -> None:
    batch = store.chunks.writing()
    ids = [batch.put(noise(seed)) for seed in range(50)]
    assert [bytes(chunk) for chunk in store.chunks.read(reversed(ids))] == [noise(seed) for seed in reversed(range(50))]
    assert not store.driver.kept
    batch.finish()
    assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(seed) for seed in range(50)]
    with closing(store.opened("other.db")) as other:
        assert bytes(other.get(ids[7])) == noise(7)


def test_equal_chunks_are_kept_once_whoever_puts_them(store: Store) -> None:
    first, second = store.chunks.writing(), store.chunks.writing()
    id = first.put(noise(1))
    assert second.put(noise(1)) == id  # while it is in no pack yet
    uses = second.finish()
    assert first.finish() == uses and len(uses) == 1
    with closing(store.opened("other.db")) as other:
        other.follow()
        third = other.writing()
        assert third.put(noise(1)) == id and third.new_bytes == 0
        assert third.finish() == uses
    assert len(store.driver.kept) == 1


def test_a_full_pack_is_sent_off_while_the_batch_goes_on(store: Store) -> None:
    batch = store.chunks.writing()
    ids = [batch.put(noise(seed, 250_000)) for seed in range(300)]
    uses = batch.finish()
    assert len(uses) == len(store.driver.kept) == 3
    assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(seed, 250_000) for seed in range(300)]


def test_many_writers_and_readers_at_once(store: Store) -> None:
    def work(turn: int) -> bool:
        batch = store.chunks.writing()
        bodies = [noise(turn * 7 % 20 * 100 + each, 3000) for each in range(40)]
        ids = [batch.put(body) for body in bodies]
        batch.finish()
        return [bytes(chunk) for chunk in store.chunks.read(ids)] == bodies

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))
    with closing(store.opened("fresh.db")) as fresh:
        fresh.follow()
        assert sum(pack.chunks for pack in store.state.packs(DOMAIN)) == 20 * 40


class FullDriver(MemoryDriver):
    is_full = False

    def put(self, key: str, chunks: object) -> Head:
        if self.is_full:
            raise StorageFullError("no room")
        return super().put(key, chunks)  # type: ignore[arg-type]


def test_every_batch_in_a_pack_that_could_not_be_stored_hears_of_it(tmp_path: Path) -> None:
    driver = FullDriver()
    with closing(Store(tmp_path, driver)) as store:
        driver.is_full = True
        first, second = store.chunks.writing(), store.chunks.writing()
        id = first.put(noise(1))
        second.put(noise(1))
        for batch in (first, second):
            with pytest.raises(StorageFullError):
                batch.finish()
        with pytest.raises(IntegrityError, match="in no pack"):
            store.chunks.get(id)
        driver.is_full = False
        again = store.chunks.writing()
        again.put(noise(1))
        again.finish()
        assert bytes(store.chunks.get(id)) == noise(1)


def test_an_index_that_is_lost_or_damaged_is_made_again(tmp_path: Path) -> None:
    driver = MemoryDriver()
    with closing(Store(tmp_path, driver)) as store:
        batch = store.chunks.writing()
        id = batch.put(noise(3))
        batch.finish()
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with closing(Store(tmp_path, driver)) as store:
        assert bytes(store.chunks.get(id)) == noise(3)
    (tmp_path / "index.db").write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with closing(Store(tmp_path, driver)) as store:
        assert bytes(store.chunks.get(id)) == noise(3)


def test_keys_are_rotated_while_packs_are_written(store: Store) -> None:
    ids = []
    for turn in range(10):
        batch = store.chunks.writing()
        ids.append(batch.put(noise(turn)))
        store.ring.rotate_domain(DOMAIN)
        batch.finish()
    store.ring.rotate_domain(DOMAIN)
    with closing(store.opened("fresh.db")) as fresh:
        assert [bytes(chunk) for chunk in fresh.read(ids)] == [noise(turn) for turn in range(10)]


def test_a_pack_that_is_missing_or_damaged_is_named(store: Store) -> None:
    batch = store.chunks.writing()
    id = batch.put(noise(4))
    batch.finish()
    (path,) = store.driver.kept
    body = bytearray(store.driver.kept[path])
    body[100] ^= 1
    store.driver.kept[path] = bytes(body)
    with pytest.raises(IntegrityError, match=path[-32:]):
        store.chunks.get(id)
    store.driver.delete(path)
    with pytest.raises(IntegrityError, match="missing"):
        store.chunks.get(id)


def test_what_is_given_up_leaves_nothing_and_takes_nothing_from_others(store: Store) -> None:
    lonely, sharing, other = (store.chunks.writing() for _ in range(3))
    lost = lonely.put(noise(1))
    lonely.abandon()
    with pytest.raises(IntegrityError, match="in no pack"):
        store.chunks.get(lost)
    id = sharing.put(noise(2))
    assert other.put(noise(2)) == id
    sharing.abandon()
    other.finish()
    assert bytes(store.chunks.get(id)) == noise(2) and len(store.driver.kept) == 1
