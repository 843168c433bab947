"""What is kept of pages: the last used, up to a size; and a tree that was read once is not read again."""

from collections.abc import Iterator
from pathlib import Path

from lepton.vault.store.blobs import EMPTY
from lepton.vault.store.branches import MAIN
from lepton.vault.store.kept import FORMED, LEAST, Kept
from lepton.vault.store.pages import Entry
from tests.unit.vault.stores import ANN, MemoryDriver, Store

SIZE = 1000
EACH = FORMED * SIZE + LEAST


def test_the_last_used_are_kept_up_to_a_size_each_in_its_forms() -> None:
    kept, read = Kept(3 * EACH), list[int]()

    def look(place: int) -> bytes:
        return kept.get(place, bytes, lambda: (read.append(place), bytearray(SIZE))[1])  # type: ignore[func-returns-value]

    assert [look(place) == bytes(SIZE) for place in (1, 2, 3, 1, 4, 1)] == [True] * 6
    assert read == [1, 2, 3, 4]
    look(2)  # was used longest ago
    assert read == [1, 2, 3, 4, 2]
    assert kept.get(2, len, lambda: bytearray(SIZE)) == SIZE


def test_what_is_larger_than_all_is_given_and_not_kept() -> None:
    kept = Kept(EACH)
    assert kept.get(1, len, lambda: bytes(SIZE)) == SIZE
    assert kept.get(2, len, lambda: bytes(2 * SIZE)) == 2 * SIZE
    assert kept.get(2, len, lambda: b"read again") == len(b"read again")


class Counted(MemoryDriver):
    """Counts reads."""

    reads = 0

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.reads += 1
        return super().get(key, start=start, stop=stop)


def test_a_folder_that_was_listed_is_listed_again_without_its_storage(tmp_path: Path) -> None:
    driver = Counted()
    store = Store(tmp_path, driver)
    names = {f"set/{number:05}": Entry(EMPTY, number) for number in range(3000)}
    store.branches.commit(MAIN, names, store.chunks.writing(), ANN)
    listed = []
    for _ in range(2):
        listed.append(len(list(store.branches.tree(store.branches.head(MAIN)).folder("set/"))))
        listed.append(driver.reads)
    assert listed[0] == listed[2] == 3000
    assert listed[1] == listed[3] > 0
