"""The vault as a file system of fsspec: what pandas, pyarrow and others do with it."""

from pathlib import Path
from typing import Any

import fsspec
import pandas
import pyarrow.dataset
import pyarrow.parquet
import pytest

from lepton.core.errors import StaleError
from lepton.sdk.fs import LeptonFileSystem
from tests.server.house import House

FRAME = pandas.DataFrame({"a": range(1000), "b": [f"row {number}" for number in range(1000)]})


@pytest.fixture
def options(house: House) -> dict[str, Any]:
    return {"address": house.url, "token": house.token}


@pytest.fixture
def fs(options: dict[str, Any]) -> LeptonFileSystem:
    opened = fsspec.filesystem("lepton", **options)
    assert isinstance(opened, LeptonFileSystem)
    return opened


def test_pandas_writes_and_reads_tables(options: dict[str, Any], fs: LeptonFileSystem) -> None:
    for suffix in ("parquet", "csv"):
        path = f"lepton://default/tables/t.{suffix}"
        getattr(FRAME, f"to_{suffix}")(path, index=False, storage_options=options)
        found = getattr(pandas, f"read_{suffix}")(path, storage_options=options)
        assert found.equals(FRAME)
    fs.vault("default")[0].branch("tags/v1")
    FRAME.head(2).to_csv("lepton://default/tables/t.csv", index=False, storage_options=options)
    assert len(pandas.read_csv("lepton://default/tables/t.csv", storage_options=options)) == 2
    assert len(pandas.read_csv("lepton://default@v1/tables/t.csv", storage_options=options)) == 1000


def test_pyarrow_writes_and_reads_data_sets_of_many_files(fs: LeptonFileSystem) -> None:
    table = pyarrow.Table.from_pandas(FRAME)
    pyarrow.dataset.write_dataset(
        table, "default/set", format="parquet", filesystem=fs, max_rows_per_file=300, max_rows_per_group=300
    )
    found = pyarrow.dataset.dataset("default/set", format="parquet", filesystem=fs)
    assert found.count_rows() == 1000 and len(found.files) == 4
    assert found.to_table(filter=pyarrow.dataset.field("a") == 999)["b"].to_pylist() == ["row 999"]
    with fs.open(found.files[0]) as file:
        assert pyarrow.parquet.ParquetFile(file).metadata.num_rows == 300


def test_it_lists_globs_walks_and_tells(fs: LeptonFileSystem) -> None:
    for name in ("a/x.csv", "a/b/y.csv", "z.txt"):
        fs.pipe_file(f"lepton://default/{name}", name.encode())
    assert fs.ls("default", detail=False) == ["default/a", "default/z.txt"]
    assert fs.glob("lepton://default/**/*.csv") == ["default/a/b/y.csv", "default/a/x.csv"]
    assert sorted(fs.find("default")) == ["default/a/b/y.csv", "default/a/x.csv", "default/z.txt"]
    assert fs.isdir("default/a") and fs.isfile("default/z.txt") and fs.isdir("default")
    assert not fs.exists("default/nothing") and not fs.exists("default/a/x.csv/y")
    assert fs.info("default/z.txt")["size"] == 5 and fs.modified("default/z.txt").tzinfo is not None
    assert fs.cat_file("default/z.txt", start=-3) == b"txt" and fs.cat_file("default/z.txt", end=-4) == b"z"
    assert fs.cat("default/a/*.csv") == {"default/a/x.csv": b"a/x.csv"}
    for missing in (fs.ls, fs.info, fs.cat_file, fs.rm):
        with pytest.raises(FileNotFoundError):
            missing("default/nothing")


def test_it_changes_files(fs: LeptonFileSystem, tmp_path: Path) -> None:
    with fs.open("lepton://default/big", "wb") as file:
        for number in range(6):
            file.write(bytes([number]) * (1 << 20))
    with fs.open("lepton://default/big") as file:
        file.seek((3 << 20) - 1)
        assert file.read(2) == b"\2\3"
    fs.copy("default/big", "default/copies/one")
    fs.mv("default/copies/one", "default/copies/two")
    assert fs.du("default/copies") == 6 << 20
    (tmp_path / "local").write_bytes(b"local")
    fs.put(str(tmp_path / "local"), "default/put")
    fs.get("default/put", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"local"
    fs.rm("default/copies", recursive=True)
    assert sorted(fs.find("default")) == ["default/big", "default/put"]
    with pytest.raises(StaleError):
        fs.pipe_file("default/put", b"again", mode="create")
