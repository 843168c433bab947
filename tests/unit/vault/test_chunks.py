"""Chunks are kept once, found by every reader, and never acknowledged before they are durable."""

import os
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import active_count

import pytest

from lepton.core.errors import IntegrityError, StaleError, StorageFullError
from lepton.vault.driver import Head
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.files import pack_path
from lepton.vault.store.index import Index, Shelf
from lepton.vault.store.pools import Pools
from lepton.vault.store.state import Move
from tests.unit.vault.stores import DOMAIN, TENANT, MemoryDriver, Store


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
    ids = [batch.put(noise(seed, 250_000)) for seed in range(150)]
    uses = batch.finish()
    assert len(uses) == len(store.driver.kept) == 3
    assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(seed, 250_000) for seed in range(150)]


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


def large(batch: Batch, first: int) -> list[bytes]:
    """Fill more than one pack."""
    return [batch.put(noise(seed, 250_000)) for seed in range(first, first + 100)]


def test_full_packs_of_what_is_given_up_go_at_once(store: Store) -> None:
    kept, lost = store.chunks.writing(), store.chunks.writing()
    ids = large(kept, 0)
    store.state.move(DOMAIN, Move("main", 1, b"v" * 32, 5), uses=kept.finish())
    before = dict(store.driver.kept)
    large(lost, 1000)
    lost.abandon()
    assert store.driver.kept == before
    assert sum(pack.is_gone for pack in store.state.packs(DOMAIN)) == 1
    kept.abandon()  # too late
    assert store.driver.kept == before
    with closing(store.opened("other.db")) as other:
        for chunks in (store.chunks, other):
            assert [bytes(chunk) for chunk in chunks.read(ids[::50])] == [noise(seed, 250_000) for seed in (0, 50)]
            again = chunks.writing()
            again.put(noise(1000, 250_000))
            assert again.new_bytes == 250_000
            again.abandon()


def test_many_writers_of_whom_half_give_up_take_nothing_from_each_other(store: Store) -> None:
    def work(turn: int) -> list[bytes]:
        batch = store.chunks.writing()
        ids = [batch.put(noise(turn // 2 * 7 % 20 * 100 + each, 3000)) for each in range(40)]
        uses = batch.finish()
        try:
            if turn % 2:
                store.state.move(DOMAIN, Move(f"b{turn}", 1, b"v" * 32, 5), uses=uses)
                return ids
        except StaleError:  # told so: it is to be stored again
            pass
        batch.abandon()
        return []

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(work, range(120)))
    assert sum(map(bool, kept)) > 50
    with closing(store.opened("fresh.db")) as fresh:
        fresh.follow()
        for chunks in (store.chunks, fresh):
            for turn, ids in enumerate(kept):
                wanted = [noise(turn // 2 * 7 % 20 * 100 + each, 3000) for each in range(len(ids))]
                assert [bytes(chunk) for chunk in chunks.read(ids)] == wanted
    there = [pack for pack in store.state.packs(DOMAIN) if not pack.is_gone]
    assert sum(pack.marked_at == 0 for pack in there) >= 1 and len(store.driver.kept) == len(there)


@pytest.mark.parametrize("is_same", [True, False])
def test_what_others_found_in_it_stays(store: Store, is_same: bool) -> None:
    with closing(store.opened("other.db")) as far:
        lost, chunks = store.chunks.writing(), store.chunks if is_same else far
        ids = large(lost, 0)
        store.chunks.get(ids[0])
        lost.finish()
        hit = chunks.writing()
        assert hit.put(noise(0, 250_000)) == ids[0] and not hit.new_bytes
        if not is_same:  # no process knows what is open in another: who has said so first, has it
            store.state.move(DOMAIN, Move("main", 1, b"v" * 32, 5), uses=hit.finish())
        lost.abandon()
        assert bytes(chunks.get(ids[0])) == noise(0, 250_000) and len(store.driver.kept) == 1
        hit.abandon()
        assert len(store.driver.kept) == (0 if is_same else 1)


def test_a_hit_of_another_process_on_what_went_is_told_so(store: Store) -> None:
    with closing(store.opened("other.db")) as far:
        lost = store.chunks.writing()
        large(lost, 0)
        lost.finish()
        hit = far.writing()
        hit.put(noise(0, 250_000))
        lost.abandon()
        with pytest.raises(StaleError, match="pruned"):
            store.state.move(DOMAIN, Move("main", 1, b"v" * 32, 5), uses=hit.finish())
        again = far.writing()
        assert again.put(noise(0, 250_000)) and again.new_bytes
        again.abandon()


def test_what_two_processes_stored_is_read_when_one_gives_up(store: Store) -> None:
    """Its chunks are read from the newer pack, on every machine: that one stays, for prune."""
    with closing(store.opened("other.db")) as far:
        first, second = store.chunks.writing(), far.writing()
        id = first.put(noise(1))
        assert second.put(noise(1)) == id and second.new_bytes
        store.state.move(DOMAIN, Move("main", 1, b"v" * 32, 5), uses=first.finish())
        second.finish()
        second.abandon()
        for chunks in (store.chunks, far):
            chunks.follow()
            assert bytes(chunks.get(id)) == noise(1)


def prune_all(store: Store) -> None:
    """Let every pack go that nothing names: here all."""
    packs = [pack.id for pack in store.state.packs(DOMAIN) if not pack.is_gone]
    store.state.mark_packs(DOMAIN, packs, at=5)
    for pack in store.state.drop_packs(DOMAIN, packs, marked_before=9, steps=store.state.steps(DOMAIN)):
        store.driver.delete(pack_path(DOMAIN, pack))


def put(store: Store, *seeds: int) -> list[bytes]:
    batch = store.chunks.writing()
    ids = [batch.put(noise(seed)) for seed in seeds]
    batch.finish()
    return ids


def test_what_went_is_never_taken_for_what_came_after(store: Store) -> None:
    put(store, 1, 2)
    prune_all(store)
    put(store, 3)
    ids = put(store, 1, 2)
    for chunks in (store.chunks, store.opened("fresh.db")):
        assert [bytes(chunk) for chunk in chunks.read(ids)] == [noise(1), noise(2)]
    chunks.close()


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_pack_that_cannot_be_read_stands_in_nobodys_way(store: Store, is_gone: bool) -> None:
    (lost,) = put(store, 1)
    (path,) = store.driver.kept
    kept = store.driver.kept[path]
    if is_gone:
        store.driver.delete(path)
    else:
        store.driver.kept[path] = kept[:-80] + bytes(80)
    put(store, 2)
    with closing(store.opened("fresh.db")) as fresh:
        batch = fresh.writing()
        assert batch.put(noise(3)) and batch.finish()
        assert bytes(fresh.get(put(store, 2)[0])) == noise(2)
        with pytest.raises(IntegrityError, match="in no pack"):
            fresh.get(lost)
    store.driver.kept[path] = kept  # it is there again, e.g. mounted
    with closing(store.opened("fresh.db")) as again:
        again.follow()
        assert bytes(again.get(lost)) == noise(1)


def test_a_lost_chunk_that_is_put_again_is_stored_again(store: Store) -> None:
    put(store, 1)
    store.driver.kept.clear()
    with closing(store.opened("fresh.db")) as fresh:
        batch = fresh.writing()
        id = batch.put(noise(1))
        batch.finish()
        assert bytes(fresh.get(id)) == noise(1)


def test_an_index_of_a_state_that_was_set_back_is_made_again(tmp_path: Path) -> None:
    driver = MemoryDriver()
    with closing(Store(tmp_path, driver)) as store:
        put(store, 1)
    before = (tmp_path / "lepton.db").read_bytes()
    with closing(Store(tmp_path, driver)) as store:
        put(store, 2)
        put(store, 3)
    (tmp_path / "lepton.db").write_bytes(before)
    with closing(Store(tmp_path, driver)) as store:
        ids = put(store, 2, 4)
        assert [bytes(chunk) for chunk in store.chunks.read(ids)] == [noise(2), noise(4)]


def test_what_another_process_pruned_is_not_taken_for_there(store: Store) -> None:
    with closing(store.opened("other.db")) as other:
        (id,) = put(store, 1)
        other.follow()
        prune_all(store)
        batch = other.writing()
        assert batch.put(noise(1)) == id and batch.new_bytes > 0
        batch.finish()
        assert bytes(other.get(id)) == noise(1)


def test_of_many_domains_few_files_are_open_and_no_thread_is_theirs(tmp_path: Path) -> None:
    shelf, pools = Shelf(3), Pools()
    with closing(Store(tmp_path)) as store:
        domains = [bytes([number]) * 16 for number in range(1, 13)]
        opened, ids = [], []
        for domain in domains:
            store.ring.add_domain(domain, tenant=TENANT)
            index = Index(tmp_path / f"{domain.hex()}.db", shelf)
            opened.append(Chunks(store.driver, store.state, store.ring, index, domain=domain, pools=pools))
        threads = active_count()

        def work(turn: int) -> bytes:
            chunks = opened[turn % 12]
            batch = chunks.writing()
            id = batch.put(noise(turn))
            batch.finish()
            return id

        with ThreadPoolExecutor(6) as pool:
            ids = list(pool.map(work, range(48)))
        assert len(shelf) <= 3 + 6
        for turn, id in enumerate(ids):
            assert bytes(opened[turn % 12].get(id)) == noise(turn)
        files = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
        names = [os.readlink(f"/proc/self/fd/{fd}") for fd in files if Path(f"/proc/self/fd/{fd}").is_symlink()]
        assert sum(name.endswith(f"{domain.hex()}.db") for name in names for domain in domains) <= 3
        assert len(shelf) == 3 and active_count() <= threads + 12
        for chunks in opened:
            chunks.close()
        assert len(shelf) == 0
    pools.close()


def test_a_batch_keeps_nothing_of_chunks_that_are_stored(store: Store) -> None:
    tracemalloc.start()
    try:
        batch = store.chunks.writing()
        for seed in range(6000):
            batch.put(noise(seed, 12_000))
        batch.finish()
        store.driver.kept.clear()
        assert tracemalloc.get_traced_memory()[0] < 600_000
    finally:
        tracemalloc.stop()
