"""A table comes back as it was written, with equal bytes for equal content; damage is told."""

from pathlib import Path

import numpy as np
import pytest

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError
from lepton.vault.folder import describe
from lepton.vault.tables import Table, read_table, write_table

TABLE = Table(
    columns={
        "image": np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4),
        "label": np.array([3, 1, 4, 1, 5], np.int32),
        "source": np.array(["a.png", "b.png", "", "d.png", "ü.png"]),
    },
    splits={"train": (0, 3), "test": (3, 5)},
)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE)
    table = read_table(tmp_path)
    assert table.splits == TABLE.splits
    for name, column in TABLE.columns.items():
        assert table[name].dtype == column.dtype
        np.testing.assert_array_equal(table[name], column)
    np.testing.assert_array_equal(table.split("test")["label"], [1, 5])
    assert isinstance(table["image"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        table["label"][0] = 7


def test_equal_tables_have_equal_bytes_whatever_the_memory_layout(tmp_path: Path) -> None:
    write_table(tmp_path / "a", TABLE)
    turned = {name: np.asfortranarray(column) for name, column in reversed(TABLE.columns.items())}
    write_table(tmp_path / "b", Table(columns=turned, splits=TABLE.splits))
    assert describe(tmp_path / "a") == describe(tmp_path / "b")


def test_a_table_without_rows_can_be_kept(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE.take(np.zeros(0, np.intp)))
    table = read_table(tmp_path)
    assert table.rows == 0
    assert table["image"].shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("path", "body"),
    [("table.json", b"{"), ("table.json", b"[]"), ("columns/label.npy", b""), ("columns/image.npy", b"\x93NUMPY")],
)
def test_damage_is_told(tmp_path: Path, path: str, body: bytes) -> None:
    write_table(tmp_path, TABLE)
    (tmp_path / path).write_bytes(body)
    with pytest.raises(IntegrityError):
        read_table(tmp_path)


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE)
    (tmp_path / "columns" / "label.npy").unlink()
    with pytest.raises(IntegrityError):
        read_table(tmp_path)
    with pytest.raises(NotFoundError):
        read_table(tmp_path / "columns")


def test_a_pickled_column_is_never_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidError):
        write_table(tmp_path, Table(columns={"label": np.array([{}], object)}))
    write_table(tmp_path, TABLE)
    np.save(tmp_path / "columns" / "label.npy", np.array([{}] * 5, object), allow_pickle=True)
    with pytest.raises(IntegrityError):
        read_table(tmp_path)


def test_what_is_not_a_table_is_refused() -> None:
    with pytest.raises(InvalidError):
        Table(columns={"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(InvalidError):
        Table(columns={"../a": np.zeros(2)})
    with pytest.raises(InvalidError):
        Table(columns={"a": np.zeros(2)}, splits={"train": (0, 3)})
    with pytest.raises(NotFoundError):
        TABLE.split("other")
