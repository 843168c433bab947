"""Prune takes what nothing names, and nothing else, whatever happens in between."""

import random
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lepton.core.clock import ManualClock, to_micros
from lepton.core.errors import ConflictError, StaleError
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import Blob, read, write
from lepton.vault.store.branches import MAIN, Branches
from lepton.vault.store.compacting import chosen
from lepton.vault.store.cutting import Cutter
from lepton.vault.store.index import Use
from lepton.vault.store.pages import Entry
from lepton.vault.store.prune import LEASE_S, Caution, Pruned, Roots, prune
from tests.unit.vault.stores import ANN, DOMAIN, Store


def body(number: int) -> bytes:
    return random.Random(number).randbytes(20_000)


def stored(store: Store, batch: Batch, number: int) -> Blob:
    return write(batch, Cutter(store.chunks.keys.cutter_seed), [body(number)])


def run(store: Store, blobs: list[Blob] | None = None, *, compacts: int = 0) -> Pruned:
    heads = [version for _, version in store.branches.names()]
    roots = Roots(versions=heads, blobs=blobs or [])
    return prune(store.chunks, roots, now=to_micros(store.clock.now()), compacts=compacts)


def advance(store: Store, seconds: float) -> None:
    assert isinstance(store.clock, ManualClock)
    store.clock.advance(seconds)


def test_what_nothing_names_goes_after_a_lease_and_not_before(store: Store) -> None:
    kept, lost = store.chunks.writing(), store.chunks.writing()
    blob = stored(store, kept, 1)
    kept.finish()
    stored(store, lost, 2)
    lost.finish()
    assert (run(store, [blob]).marked, len(store.driver.kept)) == (1, 2)
    advance(store, LEASE_S - 1)
    assert run(store, [blob]).removed == 0
    advance(store, 2)
    done = run(store, [blob])
    assert (done.removed, done.marked, len(store.driver.kept)) == (1, 0, 1) and done.removed_bytes > 20_000
    assert b"".join(map(bytes, read(store.chunks, blob))) == body(1)
    again = store.chunks.writing()
    stored(store, again, 2)
    assert again.new_bytes >= 20_000  # and a list of chunks, where it was cut; it is not taken for what has gone
    again.finish()


def test_a_hit_on_a_marked_pack_keeps_it(store: Store) -> None:
    lost = store.chunks.writing()
    blob = stored(store, lost, 2)
    lost.finish()
    run(store)
    advance(store, LEASE_S + 1)
    hit = store.chunks.writing()
    assert stored(store, hit, 2) == blob and hit.new_bytes == 0
    store.branches.commit(MAIN, {"a": Entry(blob)}, hit, ANN)
    assert run(store).removed == 0
    assert b"".join(map(bytes, read(store.chunks, blob))) == body(2)


def test_a_branch_that_comes_back_while_it_is_looked_stops_the_sweep(store: Store) -> None:
    batch = store.chunks.writing()
    version = store.branches.commit(MAIN, {"a": Entry(stored(store, batch, 3))}, batch, ANN)
    store.branches.delete(MAIN)
    run(store)
    advance(store, LEASE_S + 1)

    class Late:
        """Roots during whose reading the branch comes back."""

        def __iter__(self) -> "Late":
            store.branches.undelete(MAIN)
            return self

        def __next__(self) -> bytes:
            raise StopIteration

    with pytest.raises(StaleError):
        prune(store.chunks, Roots(versions=Late()), now=to_micros(store.clock.now()))
    assert run(store).removed == 0 and store.branches.head(MAIN) == version
    assert [name for name, _ in store.branches.tree(version).scan()] == ["a"]


def test_files_that_no_row_names_go_after_a_lease(store: Store) -> None:
    path = f"domains/{DOMAIN.hex()}/packs/ab/{'ab' * 16}"
    store.driver.put(path, [b"half of a death"])
    assert run(store).orphans == 0
    advance(store, LEASE_S + 1)
    assert run(store).orphans == 1 and path not in store.driver.kept


def test_nothing_is_removed_from_a_storage_that_became_anothers(store: Store) -> None:
    small(store, range(3))
    now, left = to_micros(store.clock.now()), 0

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConflictError("another's", fix="")

    def swept(days: float, orphan_s: float = LEASE_S) -> Pruned:
        at, caution = now + int(days * 86_400e6), Caution(orphan_s=orphan_s, check=check)
        return prune(store.chunks, Roots(), now=at, caution=caution)

    left = 1
    assert swept(0).marked == 3
    with pytest.raises(ConflictError):
        swept(2)
    assert len(store.driver.kept) == 3 and not any(pack.is_gone for pack in store.state.packs(DOMAIN))
    left = 2
    with pytest.raises(ConflictError):  # another came while it removed
        swept(2)
    assert len(store.driver.kept) == 2 and all(pack.is_gone for pack in store.state.packs(DOMAIN))
    left = 99
    for days, orphans in ((3, 0), (32, 0), (34, 2)):
        assert swept(days, 30 * LEASE_S).orphans == orphans


def small(store: Store, numbers: range) -> dict[int, Blob]:
    """Each in a pack of its own."""
    found = {}
    for number in numbers:
        batch = store.chunks.writing()
        found[number] = stored(store, batch, number)
        batch.finish()
    return found


def test_many_small_packs_become_one_for_every_reader(store: Store) -> None:
    with closing(store.opened("other.db")) as other:
        blobs = small(store, range(20))
        other.follow()
        assert len(store.driver.kept) == 20
        done = run(store, [*blobs.values()], compacts=16)
        assert (done.moved, done.marked, len(store.driver.kept)) == (20, 0, 21)
        assert run(store, [*blobs.values()], compacts=16).marked == 20
        advance(store, LEASE_S + 1)
        done = run(store, [*blobs.values()], compacts=16)
        assert (done.removed, done.moved, len(store.driver.kept)) == (20, 0, 1)
        for chunks in (store.chunks, other):
            for number, blob in blobs.items():
                assert b"".join(map(bytes, read(chunks, blob))) == body(number)


def test_what_is_mostly_unused_goes_and_a_hit_in_it_stays(store: Store) -> None:
    batch = store.chunks.writing()
    blobs = {number: stored(store, batch, number) for number in range(120)}
    batch.finish()  # one pack of 2.4 MB
    assert run(store, [blobs[3]], compacts=16).moved == 1
    hit = store.chunks.writing()
    assert stored(store, hit, 5) == blobs[5] and hit.new_bytes == 0  # in the old pack
    assert stored(store, hit, 3) == blobs[3] and hit.new_bytes == 0  # in the new one
    run(store, [blobs[3]])
    store.branches.commit(MAIN, {"a": Entry(blobs[5])}, hit, ANN)
    advance(store, LEASE_S + 1)
    assert run(store, [blobs[3]]).removed == 0
    for number in (3, 5):
        assert b"".join(map(bytes, read(store.chunks, blobs[number]))) == body(number)


def test_a_damaged_pack_is_not_moved_and_stops_no_other(store: Store) -> None:
    blobs = small(store, range(4))
    one = next(number for number, blob in blobs.items() if not blob.depth)  # of one chunk: which those are is not lost
    path = [*store.driver.kept][one]
    store.driver.kept[path] = bytes(len(store.driver.kept[path]))
    assert run(store, [*blobs.values()], compacts=2).moved == 3


def test_which_packs_are_moved() -> None:
    def uses(*sizes: tuple[int, int]) -> dict[bytes, Use]:
        return {bytes([number]): Use(size, used) for number, (size, used) in enumerate(sizes)}

    assert chosen(uses(*[(5000, 5000)] * 15)) == []
    assert len(chosen(uses(*[(5000, 5000)] * 16, (32 << 20, 30 << 20)))) == 16
    assert chosen(uses(*[(5000, 5000)] * 8, *[(500_000, 500_000)] * 8)) == []
    assert chosen(uses((32 << 20, 15 << 20), (32 << 20, 17 << 20), (32 << 20, 0))) == [b"\0"]


class Pruning(RuleBasedStateMachine):
    """Writers of two processes that take their time or give up, branches that come and go, and prune between any."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.other = self.store.opened("other.db")
        self.store.chunks.most_shared, self.other.most_shared = 30_000, 0
        self.open: list[tuple[Batch, dict[str, Entry | None], dict[str, int]]] = []
        self.known: dict[str, dict[str, int]] = {}

    @rule(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=3), is_other=st.booleans())
    def write(self, numbers: list[int], is_other: bool) -> None:
        batch = (self.other if is_other else self.store.chunks).writing()
        edits: dict[str, Entry | None] = {f"n{number}": Entry(stored(self.store, batch, number)) for number in numbers}
        self.open.append((batch, edits, {f"n{number}": number for number in numbers}))

    @rule(which=st.integers(0, 5))
    def upload(self, which: int) -> None:
        """What was put so far lies in the storage, as full packs do."""
        if self.open:
            self.open[which % len(self.open)][0].finish()

    @rule(which=st.integers(0, 5))
    def give_up(self, which: int) -> None:
        if self.open:
            self.open.pop(which % len(self.open))[0].abandon()

    @rule(name=st.sampled_from(["main", "x"]), which=st.integers(0, 5))
    def commit(self, name: str, which: int) -> None:
        if not self.open:
            return
        batch, edits, numbers = self.open.pop(which % len(self.open))
        try:
            Branches(batch.chunks, self.store.state, self.store.clock).commit(name, edits, batch, ANN)
        except StaleError:
            return  # what it relied on was pruned, or taken back: it was told so
        self.known[name] = {**self.known.get(name, {}), **numbers}

    @rule(name=st.sampled_from(["main", "x"]))
    def delete(self, name: str) -> None:
        if name in self.known:
            self.store.branches.delete(name)
            del self.known[name]

    @rule(seconds=st.sampled_from([0, LEASE_S / 2, LEASE_S + 1]), compacts=st.sampled_from([0, 2]))
    def prune(self, seconds: float, compacts: int) -> None:
        advance(self.store, seconds)
        run(self.store, compacts=compacts)

    @rule()
    def settle(self) -> None:
        """With nobody writing and two leases gone, exactly what is named is kept."""
        if not self.open:
            for _ in range(2):
                run(self.store)
                advance(self.store, LEASE_S + 1)
            run(self.store)
            if not self.known:
                assert not self.store.driver.kept

    @invariant()
    def all_is_there(self) -> None:
        if hasattr(self, "store"):
            for chunks in (self.store.chunks, self.other):
                branches = Branches(chunks, self.store.state, self.store.clock)
                for name, wanted in self.known.items():
                    tree = branches.tree(branches.head(name))
                    found = {path: b"".join(map(bytes, read(chunks, e.blob))) for path, e in tree.scan()}
                    assert found == {path: body(number) for path, number in wanted.items()}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.other.close()
            self.store.close()
            self.folder.cleanup()


TestPruning = Pruning.TestCase
TestPruning.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
