"""Folders go in and come out the same: bytes, modes, times; and can be stopped in the middle."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError
from lepton.core.filename import DRAFT
from lepton.vault.store.blobs import EMPTY
from lepton.vault.store.branches import MAIN
from lepton.vault.store.cutting import Cutter
from lepton.vault.store.folders import files_below, mode_of, store_files, write_files
from lepton.vault.store.pages import Entry
from tests.unit.vault.stores import ANN, Store

BODIES = {"a.txt": b"text", "deep/er/b.bin": random.Random(1).randbytes(300_000), "empty": b"", "same.txt": b"text"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, body in BODIES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (1_700_000_000, 1_700_000_000.123456))
    (tmp_path / "in" / "a.txt").chmod(0o755)
    (tmp_path / "in" / "hollow").mkdir()
    return tmp_path / "in"


def commit(store: Store, folder: Path) -> int:
    """Commit a folder; how many bytes were new."""
    head = dict(store.branches.names()).get(MAIN, b"")
    batch, tree = store.chunks.writing(), store.branches.tree(head)
    cutter = Cutter(store.chunks.keys.cutter_seed)
    edits = dict(store_files(batch, cutter, files_below(folder), known=tree.find))
    gone = {name: None for name, _ in tree.scan() if name not in edits}
    store.branches.commit(MAIN, {**edits, **gone}, batch, ANN)
    return batch.new_bytes


def entries(store: Store) -> Iterator[tuple[str, Entry]]:
    return store.branches.tree(store.branches.head(MAIN)).scan()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_out_as_it_went_in(store: Store, folder: Path, tmp_path: Path) -> None:
    commit(store, folder)
    assert write_files(store.chunks, entries(store), tmp_path / "out") == 4
    assert contents(tmp_path / "out") == BODIES
    found = (tmp_path / "out" / "a.txt").stat()
    assert found.st_mode & 0o777 == 0o755 and abs(found.st_mtime - 1_700_000_000.123456) < 1e-5


def test_files_that_are_there_and_right_are_left_alone(store: Store, folder: Path, tmp_path: Path) -> None:
    commit(store, folder)
    out = tmp_path / "out"
    write_files(store.chunks, entries(store), out)
    before = (out / "a.txt").stat().st_ino
    (out / "same.txt").write_bytes(b"TEXT")  # of the same length
    (out / "deep/er/b.bin").unlink()
    (out / DRAFT).write_bytes(b"half")
    assert write_files(store.chunks, entries(store), out) == 2
    assert contents(out) == BODIES and (out / "a.txt").stat().st_ino == before


def test_a_second_time_stores_nothing_and_an_edit_little(store: Store, folder: Path) -> None:
    commit(store, folder)
    head = store.branches.head(MAIN)
    assert commit(store, folder) == 0 and store.branches.head(MAIN) == head
    (folder / "a.txt").write_bytes(b"TEXT")  # of the same length
    (folder / "deep/er/b.bin").unlink()
    assert 0 < commit(store, folder) < 5000
    assert [name for name, _ in entries(store)] == ["a.txt", "empty", "same.txt"]


def test_what_is_no_file_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidError, match="neither a file nor a folder"):
        commit(store, tmp_path / "x")
    with pytest.raises(NotFoundError):
        commit(store, tmp_path / "none")


def test_nothing_is_written_outside(store: Store, folder: Path, tmp_path: Path) -> None:
    commit(store, folder)
    with pytest.raises(IntegrityError, match="cannot be"):
        write_files(store.chunks, [("../out/x", Entry(EMPTY))], tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    (out / "deep").symlink_to(tmp_path)
    with pytest.raises(InvalidError, match="leads out"):
        write_files(store.chunks, entries(store), out)
    (out / "deep").unlink()
    (out / "deep").write_bytes(b"in the way")
    with pytest.raises(InvalidError, match="in the way"):
        write_files(store.chunks, entries(store), out)
    (tmp_path / "more" / "a.txt").mkdir(parents=True)
    with pytest.raises(InvalidError, match="a file of that name"):
        write_files(store.chunks, entries(store), tmp_path / "more")


@pytest.mark.parametrize("facts", [b"", b"{}", b"[]", b"no", b'{"mode":"x"}', b"\xff"])
def test_facts_that_say_nothing_give_plain_permissions(facts: bytes) -> None:
    assert mode_of(Entry(EMPTY, 0, facts)) == 0o644
