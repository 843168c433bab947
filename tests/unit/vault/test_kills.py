"""Death between every two writes, of storage and database, before and after each: what was acknowledged is there."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from lepton.store.database import Tx
from lepton.vault.driver import Head
from lepton.vault.store.blobs import read, write
from lepton.vault.store.branches import MAIN
from lepton.vault.store.cutting import Cutter
from lepton.vault.store.pages import Entry
from lepton.vault.store.prune import LEASE_S
from tests.unit.vault.stores import ANN, DOMAIN, TENANT, MemoryDriver, Store
from tests.unit.vault.test_prune import advance, run

T = TypeVar("T")
BODIES = {f"file-{number}": random.Random(number).randbytes(3000 * number + 1) for number in range(5)}
LARGE = random.Random(9).randbytes(20 << 20)


class DeadError(BaseException):
    """The process is gone."""


class Fate:
    """Lets so many writes happen, and no more; `is_done` says whether the last one that is begun takes effect."""

    def __init__(self, writes: int, *, is_done: bool) -> None:
        self.left, self.is_done = writes, is_done

    def meet(self, work: Callable[[], T]) -> T:
        if self.left > 0:
            self.left -= 1
            return work()
        if self.left == 0 and self.is_done:
            work()
        self.left = -1
        raise DeadError


class MortalDriver(MemoryDriver):
    fate = Fate(1 << 60, is_done=False)

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        return self.fate.meet(lambda: MemoryDriver.put(self, key, chunks))

    def delete(self, key: str) -> None:
        self.fate.meet(lambda: MemoryDriver.delete(self, key))


class MortalStore(Store):
    """Its writes to storage and database stop when fate says so."""

    def doom(self, fate: Fate) -> None:
        assert isinstance(self.driver, MortalDriver)
        self.driver.fate = fate
        alive = self.database.write

        def write(work: Callable[[Tx], T]) -> T:
            return fate.meet(lambda: alive(work))

        self.database.write = write  # type: ignore[method-assign]


def put(store: Store, bodies: dict[str, bytes]) -> bytes:
    """Store files and commit them as one version."""
    batch, cutter = store.chunks.writing(), Cutter(store.chunks.keys.cutter_seed)
    edits: dict[str, Entry | None] = {name: Entry(write(batch, cutter, [body])) for name, body in bodies.items()}
    return store.branches.commit(MAIN, edits, batch, ANN)


def held(store: Store) -> dict[str, bytes]:
    if not store.branches.names():
        return {}
    tree = store.branches.tree(store.branches.head(MAIN))
    return {name: b"".join(map(bytes, read(store.chunks, entry.blob))) for name, entry in tree.scan()}


def died(folder: Path, driver: MortalDriver, fate: Fate, work: Callable[[Store], object]) -> bool:
    """Whether fate struck before the work was done."""
    store = MortalStore(folder, driver)
    store.doom(fate)
    try:
        work(store)
    except DeadError:
        return True
    finally:
        store.chunks.close()
        store.database.close()
        driver.fate = MortalDriver.fate
    return False


@pytest.mark.parametrize("is_done", [False, True])
def test_a_commit_is_there_whole_or_not_at_all(tmp_path: Path, is_done: bool) -> None:
    deaths = 0
    for writes in range(100):
        folder, driver = tmp_path / str(writes), MortalDriver()
        folder.mkdir()
        before = MortalStore(folder, driver)
        put(before, {"kept": b"from before"})
        before.close()
        is_dead = died(folder, driver, Fate(writes, is_done=is_done), lambda store: put(store, BODIES))
        after = Store(folder, driver)
        found = held(after)
        assert found in ({"kept": b"from before"}, {"kept": b"from before", **BODIES})
        assert is_dead or len(found) == 6
        put(after, BODIES)
        assert held(after) == {"kept": b"from before", **BODIES}
        after.close()
        deaths += is_dead
        if not is_dead:
            break
    assert deaths >= 3  # the pack, its row, the branch


@pytest.mark.parametrize("is_done", [False, True])
def test_large_content_dies_in_any_of_its_packs(tmp_path: Path, is_done: bool) -> None:
    for writes in range(100):
        folder, driver = tmp_path / str(writes), MortalDriver()
        folder.mkdir()
        is_dead = died(folder, driver, Fate(writes, is_done=is_done), lambda store: put(store, {"large": LARGE}))
        after = Store(folder, driver)
        assert held(after) in ({}, {"large": LARGE})
        put(after, {"large": LARGE})
        assert held(after) == {"large": LARGE}
        after.close()
        if not is_dead:
            break
    assert writes >= 5


@pytest.mark.parametrize("has_company", [False, True])
@pytest.mark.parametrize("is_done", [False, True])
def test_what_is_given_up_and_dies_on_the_way_is_pruned(tmp_path: Path, is_done: bool, has_company: bool) -> None:
    def give_up(store: Store) -> None:
        batch, cutter = store.chunks.writing(), Cutter(store.chunks.keys.cutter_seed)
        if has_company:
            other = store.chunks.writing()
            other.put(b"in the same pack")
        write(batch, cutter, [LARGE])
        if has_company:
            other.abandon()
        batch.abandon()

    for writes in range(100):
        folder, driver = tmp_path / str(writes), MortalDriver()
        folder.mkdir()
        before = MortalStore(folder, driver)
        put(before, {"kept": b"from before"})
        before.close()
        fate = Fate(writes, is_done=is_done)
        is_dead = died(folder, driver, fate, give_up) or fate.left < 0  # in a thread that uploads
        after = Store(folder, driver)
        assert held(after) == {"kept": b"from before"}
        assert is_dead or len(driver.kept) == 1
        for _ in range(3):
            run(after)
            advance(after, LEASE_S + 1)
        assert held(after) == {"kept": b"from before"} and len(driver.kept) == 1
        after.close()
        if not is_dead:
            break
    assert writes == 4  # the pack, its row, the row again, the pack again


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("what", ["domain", "tenant"])
def test_a_rotation_that_dies_leaves_keys_that_open(tmp_path: Path, what: str, is_done: bool) -> None:
    def rotate(store: Store) -> None:
        store.ring.rotate_domain(DOMAIN) if what == "domain" else store.ring.rotate_tenant(TENANT)

    for writes in range(10):
        folder, driver = tmp_path / str(writes), MortalDriver()
        folder.mkdir()
        before = Store(folder, driver)
        put(before, BODIES)
        before.close()
        is_dead = died(folder, driver, Fate(writes, is_done=is_done), rotate)
        after = Store(folder, driver)
        assert held(after) == BODIES
        put(after, {"more": b"more"})
        after.ring.rotate_tenant(TENANT)
        assert held(after) == {**BODIES, "more": b"more"}
        after.close()
        if not is_dead:
            break
    assert writes == 1  # all keys change in one write


def test_an_index_from_before_a_death_is_taken_further(tmp_path: Path) -> None:
    """The last write of a pack is the index; it is made good by the next reader."""
    driver = MortalDriver()
    store = MortalStore(tmp_path, driver)
    put(store, BODIES)
    store.close()
    (tmp_path / "index.db").rename(tmp_path / "older.db")
    store = MortalStore(tmp_path, driver)
    put(store, {"more": b"more"})
    store.close()
    (tmp_path / "older.db").replace(tmp_path / "index.db")
    store = MortalStore(tmp_path, driver)
    assert held(store) == {**BODIES, "more": b"more"}
    store.close()
