"""Trees against a dictionary: whatever is edited, in whatever order, they say the same and look the same."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.errors import ConflictError, IntegrityError, InvalidError
from lepton.vault.store import tree as trees
from lepton.vault.store.blobs import Blob
from lepton.vault.store.pages import Entry, Page, check_name, read_page
from lepton.vault.store.tree import Change, Tree
from tests.unit.vault.stores import Store


def entry(number: int) -> Entry:
    return Entry(Blob(number, 0, number.to_bytes(32, "big"), bytes(32)), number, b"{}" if number % 3 else b"")


PATHS = st.tuples(st.lists(st.sampled_from("abcde"), max_size=3), st.sampled_from("wxyz"))
NAMES = PATHS.map(lambda path: "/".join([*path[0], path[1]])) | st.text("xyz.", min_size=1).filter(
    lambda name: name.strip(".") == name
)
"""No folder has the name of a file."""
EDITS = st.lists(st.dictionaries(NAMES, st.none() | st.integers(0, 9).map(entry), max_size=40), max_size=6)


@contextmanager
def opened() -> Iterator[Store]:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            yield store
        finally:
            store.close()


def edited(store: Store, tree: Tree, edits: Mapping[str, Entry | None]) -> Tree:
    batch = store.chunks.writing()
    made = tree.edited(edits, batch)
    batch.finish()
    return made


def applied(known: dict[str, Entry], edits: Mapping[str, Entry | None]) -> dict[str, Entry]:
    return {name: value for name, value in {**known, **edits}.items() if value is not None}


@pytest.fixture(scope="module")
def small() -> Iterator[Store]:
    """With pages of a few records, so that little makes many levels."""
    kept = trees.CUT_BITS, trees.MOST_RECORDS
    trees.CUT_BITS, trees.MOST_RECORDS = 2, 6
    with opened() as store:
        yield store
    trees.CUT_BITS, trees.MOST_RECORDS = kept


@settings(max_examples=150, deadline=None)
@given(edits=EDITS, prefix=st.sampled_from(["", "a", "a/", "b/c/", "zz"]))
def test_a_tree_says_what_a_dictionary_says(small: Store, edits: list[dict[str, Entry | None]], prefix: str) -> None:
    tree, known = Tree(small.chunks), dict[str, Entry]()
    for each in edits:
        tree, known = edited(small, tree, each), applied(known, each)
        assert dict(tree.scan()) == known and [name for name, _ in tree.scan()] == sorted(known)
    among = {name: value for name, value in known.items() if name.startswith(prefix)}
    assert dict(tree.scan(prefix=prefix)) == among
    assert tree.totals(prefix) == (len(among), sum(value.blob.size_bytes for value in among.values()))
    assert all(tree.find(name) == known.get(name) for each in edits for name in each)
    for start in list(known)[:3]:
        assert [name for name, _ in tree.scan(start=start)] == sorted(name for name in known if name >= start)


@settings(max_examples=150, deadline=None)
@given(edits=EDITS)
def test_equal_names_give_equal_pages_whatever_the_order_of_edits(
    small: Store, edits: list[dict[str, Entry | None]]
) -> None:
    known: dict[str, Entry] = {}
    tree = Tree(small.chunks)
    for each in edits:
        tree, known = edited(small, tree, each), applied(known, each)
    assert edited(small, Tree(small.chunks), known).root == tree.root


@settings(max_examples=150, deadline=None)
@given(one=EDITS, other=EDITS)
def test_changes_are_those_of_the_dictionaries(
    small: Store, one: list[dict[str, Entry | None]], other: list[dict[str, Entry | None]]
) -> None:
    pair = []
    for edits in (one, other):
        tree, known = Tree(small.chunks), dict[str, Entry]()
        for each in edits:
            tree, known = edited(small, tree, each), applied(known, each)
        pair.append((tree, known))
    (old, was), (new, now) = pair
    wanted = [
        Change(name, was.get(name), now.get(name)) for name in sorted({*was, *now}) if was.get(name) != now.get(name)
    ]
    assert list(new.changes(old)) == wanted


@settings(max_examples=100, deadline=None)
@given(edits=EDITS, prefix=st.sampled_from(["", "a/", "b/c/"]))
def test_a_folder_shows_files_and_folders_once(small: Store, edits: list[dict[str, Entry | None]], prefix: str) -> None:
    tree, known = Tree(small.chunks), dict[str, Entry]()
    for each in edits:
        tree, known = edited(small, tree, each), applied(known, each)
    inside = [name[len(prefix) :] for name in known if name.startswith(prefix)]
    wanted = sorted({prefix + (name if "/" not in name else name.partition("/")[0] + "/") for name in inside})
    found = [name for name, _ in tree.folder(prefix)]
    assert found == wanted
    for at, name in enumerate(found):
        assert [below for below, _ in islice(tree.folder(prefix, after=name), 2)] == wanted[at + 1 : at + 3]


def test_one_edit_of_many_writes_and_reads_a_few_pages(store: Store) -> None:
    names = {f"set/{number:06}.png": entry(number) for number in range(20_000)}
    tree = edited(store, Tree(store.chunks), names)
    batch = store.chunks.writing()
    again = tree.edited({"set/010000.png": entry(3)}, batch)
    batch.finish()
    assert batch.new_bytes < 3 * trees.FULL_BYTES
    assert list(again.changes(tree)) == [Change("set/010000.png", entry(10_000), entry(3))]
    assert again.totals("set/") == (20_000, sum(range(20_000)) - 10_000 + 3)


@settings(max_examples=200, deadline=None)
@given(edits=st.lists(st.dictionaries(st.sampled_from(["a", "a/b", "a/c", "a/b/d", "a-", "e"]), st.booleans())))
def test_nothing_is_both_a_file_and_a_folder(small: Store, edits: list[dict[str, bool]]) -> None:
    tree, known = Tree(small.chunks), dict[str, Entry]()
    for each in edits:
        made = {name: entry(1) if is_there else None for name, is_there in each.items()}
        after = applied(known, made)
        if any(other.startswith(f"{name}/") for name in after for other in after):
            with pytest.raises(ConflictError, match=r"is a (file|folder), so"):
                edited(small, tree, made)
        else:
            tree, known = edited(small, tree, made), after
    assert dict(tree.scan()) == known


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a\0b",
        "a\nb",
        "a\\b",
        "x" * 256,
        "x/" * 512 + "x",
        "e\u0301",
        "\ud800",
    ],
)
def test_names_that_cannot_be_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidError, match="cannot be a name"):
        Tree(store.chunks).edited({name: entry(1)}, store.chunks.writing())


@pytest.mark.parametrize("name", ["a", "a b/c%d/é", "x" * 255, "x/" * 511 + "xx", ".hidden/..two", "日本/データ.csv"])
def test_names_that_can_be_are_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\5\0\0\0", b"\1\1\0\0\0" + bytes(20), Page(0, []).to_bytes() + b"x"])
def test_pages_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="page of a tree"):
        read_page(body)
