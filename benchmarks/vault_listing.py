"""The first page of a listing of 1,000,000 files: `python benchmarks/vault_listing.py`. Milliseconds, medians of 9.

Each page is read by a tree that has nothing in memory, over the real packs; the door adds its milliseconds.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from lepton.vault.store.blobs import Blob
from lepton.vault.store.pages import Entry
from lepton.vault.store.tree import Tree
from tests.unit.vault.stores import Store

FOLDERS, EACH, PAGE = 1000, 1000, 1000


def made(store: Store) -> Tree:
    """A tree of a thousand folders with a thousand files each."""
    tree = Tree(store.chunks)
    for folder in range(FOLDERS):
        batch = store.chunks.writing()
        edits = {
            f"set/{folder:04}/{number:04}.png": Entry(Blob(number, 0, number.to_bytes(32, "big"), bytes(32)), number)
            for number in range(EACH)
        }
        tree = tree.edited(edits, batch)
        batch.finish()
    return tree


def timed(store: Store, tree: Tree, page: Callable[[Tree], Iterator[Any]]) -> float:
    """Milliseconds until a page is there, with the totals that the door tells."""
    seconds = []
    for _ in range(9):
        fresh, began = Tree(store.chunks, tree.root), perf_counter()
        assert len(list(islice(page(fresh), PAGE))) == PAGE
        fresh.totals("set/")
        seconds.append(perf_counter() - began)
    return 1000 * median(seconds)


def main() -> None:
    """Print both."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        tree = made(store)
        files = timed(store, tree, lambda fresh: fresh.scan(prefix="set/"))
        folders = timed(store, tree, lambda fresh: fresh.folder("set/"))
        print(f"of {tree.totals()[0]:,} files: {PAGE} files {files:.1f} ms, {PAGE} folders {folders:.1f} ms")
        store.close()


if __name__ == "__main__":
    main()
