"""Versions are immutable, branches move from one to the next, and nothing that was committed gets lost."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lepton.core.clock import ManualClock, to_micros
from lepton.core.errors import (
    BadNameError,
    ConflictError,
    IntegrityError,
    MergeConflictError,
    NameTakenError,
    NotFoundError,
    StaleError,
)
from lepton.store import retained
from lepton.store.database import Database
from lepton.store.vault import SqlState
from lepton.vault.store.blobs import EMPTY
from lepton.vault.store.branches import MAIN, Branches
from lepton.vault.store.pages import Entry
from lepton.vault.store.state import Move
from lepton.vault.store.versions import read_version
from tests.unit.vault.stores import ANN, DOMAIN, Store


def entry(number: int) -> Entry:
    return Entry(EMPTY, number)


def commit(store: Store, name: str, expect: bytes | None = None, **edits: int | None) -> bytes:
    made = {path: None if number is None else entry(number) for path, number in edits.items()}
    return store.branches.commit(name, made, store.chunks.writing(), ANN, expect=expect)


def held(store: Store, version: bytes) -> dict[str, int]:
    return {name: value.modified_at for name, value in store.branches.tree(version).scan()}


def test_a_version_says_who_made_it_of_what_and_why(store: Store) -> None:
    first = commit(store, MAIN, a=1)
    second = commit(store, MAIN, b=2)
    version = store.branches.version(second)
    assert (version.parents, version.by, version.message, version.entries) == ([first], "ann", "why", 2)
    assert version.at > store.branches.version(first).at
    assert held(store, first) == {"a": 1} and held(store, second) == {"a": 1, "b": 2}
    assert [id for id, _ in store.branches.log(MAIN)] == [second, first]


def test_a_commit_that_changes_nothing_makes_no_version(store: Store) -> None:
    first = commit(store, MAIN, a=1)
    assert commit(store, MAIN, a=1) == first == commit(store, MAIN) == commit(store, MAIN, gone=None)
    assert len(store.state.moves(DOMAIN, MAIN)) == 1


def test_of_two_who_expect_the_same_head_one_wins(store: Store) -> None:
    first = commit(store, MAIN, expect=b"", a=1)
    second = commit(store, MAIN, expect=first, b=1)
    for stale in (b"", first):
        with pytest.raises(StaleError):
            commit(store, MAIN, expect=stale, c=1)
    assert store.branches.head(MAIN) == second


def test_many_writers_to_one_branch_lose_nothing(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: commit(store, MAIN, **{f"n{number}": number}), range(40)))
    assert held(store, store.branches.head(MAIN)) == {f"n{number}": number for number in range(40)}
    assert len(list(store.branches.log(MAIN))) == 40


def test_branches_and_tags_begin_anywhere_and_tags_stand_still(store: Store) -> None:
    first = commit(store, MAIN, a=1)
    commit(store, MAIN, a=2)
    store.branches.create("try", first)
    store.branches.create("tags/v1", first)
    commit(store, "try", b=1)
    assert held(store, store.branches.head("try")) == {"a": 1, "b": 1}
    assert [name for name, _ in store.branches.names()] == [MAIN, "tags/v1", "try"]
    assert store.branches.names(after=MAIN, limit=1) == [("tags/v1", first)]
    with pytest.raises(NameTakenError):
        store.branches.create("try", first)
    for change in (
        lambda: commit(store, "tags/v1", c=1),
        lambda: store.branches.merge("tags/v1", first, ANN),
        lambda: store.branches.roll_back("tags/v1", first, ANN),
    ):
        with pytest.raises(ConflictError, match="stands still"):
            change()


def test_what_was_deleted_comes_back(store: Store) -> None:
    commit(store, MAIN, a=1, b=2)
    head = commit(store, MAIN, a=None)
    with pytest.raises(ConflictError, match="not deleted"):
        store.branches.undelete(MAIN)
    store.branches.delete(MAIN)
    with pytest.raises(NotFoundError):
        store.branches.head(MAIN)
    assert store.branches.names() == []
    assert store.branches.undelete(MAIN) == head == store.branches.head(MAIN)
    assert store.branches.restore(MAIN, "a", ANN) == entry(1)
    assert held(store, store.branches.head(MAIN)) == {"a": 1, "b": 2}
    with pytest.raises(ConflictError, match="is there"):
        store.branches.restore(MAIN, "a", ANN)
    for missing in (lambda: store.branches.restore(MAIN, "never", ANN), lambda: store.branches.undelete("never")):
        with pytest.raises(NotFoundError, match="never was"):
            missing()


def test_a_deleted_branch_begins_again_without_what_it_held(store: Store) -> None:
    commit(store, MAIN, a=1)
    store.branches.delete(MAIN)
    again = commit(store, MAIN, expect=b"", b=1)
    assert held(store, again) == {"b": 1} and len(list(store.branches.log(MAIN))) == 1


def test_a_branch_is_seen_as_it_was(tmp_path: Path) -> None:
    clock = ManualClock()
    store = Store(tmp_path, clock=clock)
    times, versions = [], []
    for number in range(4):
        versions.append(commit(store, MAIN, a=number))
        times.append(to_micros(clock.now()))
        clock.advance(60)
    assert [store.branches.past(MAIN, at) for at in times] == versions
    assert store.branches.past(MAIN, times[1] + 30_000_000) == versions[1]
    with pytest.raises(NotFoundError):
        store.branches.past(MAIN, times[0] - 1)
    store.branches.delete(MAIN)
    assert store.branches.past(MAIN, times[2]) == versions[2]
    with pytest.raises(NotFoundError):
        store.branches.past(MAIN, to_micros(clock.now() + timedelta(days=1)))
    store.close()


def test_rolling_back_keeps_what_came_after(store: Store) -> None:
    first = commit(store, MAIN, a=1)
    second = commit(store, MAIN, a=2, b=2)
    third = store.branches.roll_back(MAIN, first, ANN)
    assert held(store, third) == {"a": 1} and store.branches.version(third).parents == [second]
    assert store.branches.roll_back(MAIN, second, ANN) != second
    assert held(store, store.branches.head(MAIN)) == {"a": 2, "b": 2}


def test_a_merge_brings_what_one_side_changed(store: Store) -> None:
    commit(store, MAIN, a=1, b=1, c=1)
    base = store.branches.head(MAIN)
    store.branches.create("try", base)
    commit(store, "try", a=2, c=None, d=2)
    theirs = store.branches.head("try")
    assert store.branches.merge(MAIN, base, ANN) == base
    ours = commit(store, MAIN, b=3, d=2)
    merged = store.branches.merge(MAIN, theirs, ANN)
    assert held(store, merged) == {"a": 2, "b": 3, "d": 2}
    assert store.branches.version(merged).parents == [ours, theirs]
    assert store.branches.merge("try", merged, ANN) == merged == store.branches.head("try")
    commit(store, "try", e=1)
    commit(store, MAIN, f=1)
    again = store.branches.merge(MAIN, store.branches.head("try"), ANN)
    assert held(store, again) == {"a": 2, "b": 3, "d": 2, "e": 1, "f": 1}


class Raced(SqlState):
    """Another process moves the branch just before each of some steps."""

    def __init__(self, database: Database, others: list[Callable[[], object]]) -> None:
        super().__init__(database)
        self._others = others

    def move(self, domain: bytes, step: Move, *, uses: Collection[bytes] = ()) -> None:
        if self._others:
            self._others.pop()()
        super().move(domain, step, uses=uses)


def test_a_merge_whose_base_was_let_go_keeps_what_either_side_has(store: Store) -> None:
    base = commit(store, MAIN, both=1, ours=1, theirs=1, gone_here=1, gone_there=1, same=1)
    store.branches.create("side", base)
    theirs = commit(store, "side", theirs=2, new_there=5, gone_there=None, same=3)
    ours = commit(store, MAIN, ours=2, new_here=4, gone_here=None, same=3)
    assert store.database.write(lambda tx: retained.add(tx, DOMAIN, [base], 30)) == [base]
    with pytest.raises(MergeConflictError) as caught:
        store.branches.merge(MAIN, theirs, ANN)
    told = caught.value.details["conflicts"]
    assert [(each["path"], each["kind"], each["base"]) for each in told] == [
        ("ours", "both_added", None),
        ("theirs", "both_added", None),
    ]
    assert "let go" in caught.value.message and store.branches.head(MAIN) == ours
    store.branches.create("mine", ours)
    kept = {"both": 1, "gone_here": 1, "gone_there": 1, "new_here": 4, "new_there": 5, "same": 3}
    for into, side, number in (("mine", "ours", 0), (MAIN, "theirs", 1)):
        merged = store.branches.merge(into, theirs, ANN, take=side)  # type: ignore[arg-type]
        assert held(store, merged) == {**kept, "ours": 2 - number, "theirs": 1 + number}
        assert store.branches.version(merged).parents == [ours, theirs]


@pytest.mark.parametrize("is_forward", [True, False])
def test_a_merge_that_others_come_before_is_made_again(store: Store, is_forward: bool) -> None:
    base = commit(store, MAIN, a=1)
    store.branches.create("try", base)
    theirs = commit(store, "try", b=2)
    if not is_forward:
        commit(store, MAIN, c=3)
    others = [lambda: commit(store, MAIN, d=4), lambda: commit(store, MAIN, e=5)]
    ours = Branches(store.chunks, Raced(store.database, others), store.clock)
    merged = ours.merge(MAIN, theirs, ANN)
    assert held(store, merged) == {"a": 1, "b": 2, "d": 4, "e": 5, **({} if is_forward else {"c": 3})}
    assert store.branches.head(MAIN) == merged and not others


def test_a_merge_with_conflicts_reports_them_and_changes_nothing(store: Store) -> None:
    base = commit(store, MAIN, a=1, b=1, c=1)
    store.branches.create("try", base)
    theirs = commit(store, "try", a=2, b=None, c=2)
    ours = commit(store, MAIN, a=3, b=3, c=2)
    with pytest.raises(MergeConflictError, match="Both branches changed a, b") as caught:
        store.branches.merge(MAIN, theirs, ANN)
    there = EMPTY.sha256.hex()
    assert caught.value.details["conflicts"] == [
        {"path": "a", "kind": "both_changed", "base": there, "ours": there, "theirs": there},
        {"path": "b", "kind": "theirs_removed", "base": there, "ours": there, "theirs": None},
    ]
    assert store.branches.head(MAIN) == ours
    assert held(store, store.branches.merge(MAIN, theirs, ANN, take="theirs")) == {"a": 2, "c": 2}
    assert held(store, store.branches.merge("try", ours, ANN, take="ours")) == {"a": 2, "c": 2}


CLASHES = [
    # ours, theirs; what ours has, what theirs has
    ({"a": 1}, {"a/b": 2, "a/c/d": 3}),
    ({"a/b": 1, "a/c/d": 2, "e": 3}, {"a": 4}),
    ({"x/y": 1}, {"x/y/z/v": 2, "x/y/z/w": 3}),
    ({"base/file/in": 1, "base/file": None}, {"base/file": 2}),
]


@pytest.mark.parametrize(("ours", "theirs"), CLASHES)
def test_a_file_on_one_side_and_a_folder_on_the_other_can_be_resolved(
    store: Store, ours: dict[str, int | None], theirs: dict[str, int | None]
) -> None:
    base = commit(store, MAIN, **{"base/file": 9})
    store.branches.create("try", base)
    mine, its = commit(store, MAIN, **ours), commit(store, "try", **theirs)
    with pytest.raises(MergeConflictError) as caught:
        store.branches.merge(MAIN, its, ANN)
    conflicts = caught.value.details["conflicts"]
    assert conflicts and {each["kind"] for each in conflicts} <= {"theirs_is_folder", "ours_is_folder", "ours_removed"}
    assert store.branches.head(MAIN) == mine
    store.branches.create("twin", mine)
    assert held(store, store.branches.merge(MAIN, its, ANN, take="theirs")).items() >= held(store, its).items()
    assert held(store, store.branches.merge("twin", its, ANN, take="ours")).items() >= held(store, mine).items()


TREES = st.dictionaries(
    st.sampled_from(["a", "a/a", "a/b", "a/a/a", "b", "b/a", "b/b/c"]), st.integers(1, 9), max_size=4
)


def _is_tree(names: Collection[str]) -> bool:
    return not any(other.startswith(f"{name}/") for name in names for other in names)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(base=TREES.filter(_is_tree), ours=TREES.filter(_is_tree), theirs=TREES.filter(_is_tree))
def test_every_merge_can_be_resolved_for_either_side(
    base: dict[str, int], ours: dict[str, int], theirs: dict[str, int]
) -> None:
    """Where one side changed nothing the other's is taken; and whatever clashes, `take` makes an end of it."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        first = commit(store, MAIN, begin=0, **base)
        heads = {}
        for name, side in (("ours", ours), ("theirs", theirs)):
            store.branches.create(name, first)
            edits: dict[str, int | None] = {**dict.fromkeys(base), **side}
            heads[name] = commit(store, name, **edits)
        for take in ("ours", "theirs"):
            store.branches.create(f"take-{take}", heads["ours"])
            merged = held(store, store.branches.merge(f"take-{take}", heads["theirs"], ANN, take=take))  # type: ignore[arg-type]
            if theirs == base:
                assert merged == {"begin": 0, **ours}
            if ours == base:
                assert merged == {"begin": 0, **theirs}
            assert merged.items() <= {*{"begin": 0, **ours}.items(), *theirs.items()}
        store.close()


@pytest.mark.parametrize("name", ["", "Main", "a/b", "tags/", "tags/a/b", "-a", "x" * 64, "a\n", "../a"])
def test_names_that_cannot_name_a_branch_are_refused(store: Store, name: str) -> None:
    version = commit(store, MAIN, a=1)
    for use in (lambda: store.branches.create(name, version), lambda: commit(store, name, a=1)):
        with pytest.raises(BadNameError):
            use()


def test_what_is_no_version_is_refused(store: Store) -> None:
    batch = store.chunks.writing()
    ids = [batch.put(body) for body in (b"[]", b"{}", b"\xff", b'{"format":1,"root":"zz","parents":[]}')]
    batch.finish()
    for id in [*ids, bytes(32)]:
        with pytest.raises(IntegrityError):
            read_version(store.chunks, id)
    with pytest.raises(IntegrityError):
        store.branches.create("try", bytes(32))


def test_a_commit_on_content_that_was_pruned_meanwhile_is_refused(store: Store) -> None:
    commit(store, MAIN, a=1)
    (pack,) = store.state.packs(DOMAIN)
    batch = store.chunks.writing()
    version = store.branches.version(store.branches.head(MAIN))
    batch.put(bytes(store.chunks.get(version.root)))  # a hit in the first pack
    store.state.mark_packs(DOMAIN, [pack.id], at=5)
    assert store.state.drop_packs(DOMAIN, [pack.id], marked_before=9, steps=store.state.steps(DOMAIN)) == [pack.id]
    with pytest.raises(StaleError, match="pruned"):
        store.state.move(
            DOMAIN, store.state.moves(DOMAIN, MAIN)[0].__class__(MAIN, 2, b"v" * 32, 9), uses=batch.finish()
        )


class History(RuleBasedStateMachine):
    """Branches against dictionaries."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.known: dict[str, dict[str, int]] = {}
        self.versions: dict[bytes, dict[str, int]] = {}

    @rule(
        branch=st.sampled_from(["main", "x", "y"]),
        edits=st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(0, 3), max_size=3),
    )
    def commit(self, branch: str, edits: dict[str, int | None]) -> None:
        id = commit(self.store, branch, **edits)
        now = {name: number for name, number in {**self.known.get(branch, {}), **edits}.items() if number is not None}
        self.known[branch] = self.versions[id] = now

    @rule(data=st.data(), name=st.sampled_from(["main", "x", "y"]))
    def create(self, data: st.DataObject, name: str) -> None:
        if self.versions and name not in self.known:
            id = data.draw(st.sampled_from(sorted(self.versions)))
            self.store.branches.create(name, id)
            self.known[name] = self.versions[id]

    @rule(name=st.sampled_from(["main", "x", "y"]), is_back=st.booleans())
    def delete(self, name: str, is_back: bool) -> None:
        if name in self.known:
            self.store.branches.delete(name)
            if is_back:
                self.store.branches.undelete(name)
            else:
                del self.known[name]

    @rule(into=st.sampled_from(["main", "x", "y"]), other=st.sampled_from(["main", "x", "y"]))
    def merge(self, into: str, other: str) -> None:
        if {into, other} <= {*self.known}:
            theirs = self.store.branches.head(other)
            id = self.store.branches.merge(into, theirs, ANN, take="theirs")
            self.known[into] = self.versions[id] = held(self.store, id)
            log = [found for found, _ in self.store.branches.log(into)]
            assert theirs in log and self.store.branches.merge(into, theirs, ANN) == id

    @rule(data=st.data(), name=st.sampled_from(["main", "x", "y"]))
    def roll_back(self, data: st.DataObject, name: str) -> None:
        if name in self.known:
            id = data.draw(st.sampled_from(sorted(self.versions)))
            made = self.store.branches.roll_back(name, id, ANN)
            self.known[name] = self.versions[made] = self.versions[id]

    @invariant()
    def all_is_there(self) -> None:
        if hasattr(self, "store"):
            found = dict(self.store.branches.names())
            assert {name: held(self.store, id) for name, id in found.items()} == self.known
            for id, content in self.versions.items():
                assert held(self.store, id) == content

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
