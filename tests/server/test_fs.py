"""The vault as a file system of fsspec: what pandas, pyarrow and others do with it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pyarrow.dataset
import pyarrow.parquet
import pytest

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


def test_it_lists_globs_walks_and_tells(house: House, fs: LeptonFileSystem) -> None:
    for name in ("a/x.csv", "a/b/y.csv", "z.txt"):
        fs.pipe_file(f"lepton://default/{name}", name.encode())
    assert fs.ls("default", detail=False) == ["default/a", "default/z.txt"]
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    assert fs.ls("", detail=False) == fs.ls("lepton://", detail=False) == ["default", "lab"] and fs.isdir("")
    assert {info["type"] for info in fs.ls("")} == {"directory"} and fs.glob("lepton://d*/z*") == ["default/z.txt"]
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


def test_appending_keeps_what_is_there(options: dict[str, Any], fs: LeptonFileSystem) -> None:
    path = "lepton://default/log.csv"
    for text in ("a,b\n", "1,2\n"):
        with fsspec.open(path, "a", **options) as file:
            file.write(text)
    FRAME.head(2).to_csv(path, mode="a", header=False, index=False, storage_options=options)
    assert fs.cat_file(path) == b"a,b\n1,2\n0,row 0\n1,row 1\n"
    versions = len(fs.vault(path)[0].log())
    with fs.open(path, "ab") as file:
        assert file.tell() == 24
    with fs.open(path, "ab") as file:
        for number in range(3):
            file.write(bytes([number]) * (4 << 20))
    assert fs.cat_file(path, start=20) == b"w 1\n" + b"".join(bytes([number]) * (4 << 20) for number in range(3))
    assert len(fs.vault(path)[0].log()) == versions + 1
    with fs.open("default/empty", "ab"):
        pass
    assert fs.cat_file("default/empty") == b""
    fs.pipe_file("default/folder/x", b"")
    with pytest.raises(IsADirectoryError):
        fs.open("default/folder", "ab")


def test_of_many_who_append_at_once_nothing_is_lost(options: dict[str, Any], fs: LeptonFileSystem) -> None:
    path, others = "default/log", [fs.open("default/log", "ab") for _ in range(8)]
    for number, file in enumerate(others):
        file.write(f"{number}\n".encode())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: file.close(), others))
    assert sorted(fs.cat_file(path).split()) == [str(number).encode() for number in range(8)]


def test_what_is_there_is_not_created_again(fs: LeptonFileSystem, tmp_path: Path) -> None:
    late = fs.open("default/one", "xb")
    late.write(b"late")
    with fs.open("default/one", "xb") as file:
        file.write(b"first")
    (tmp_path / "local").write_bytes(b"local")
    for again in (
        lambda: fs.open("default/one", "xb"),
        late.close,
        lambda: fs.pipe_file("default/one", b"again", mode="create"),
        lambda: fs.put_file(str(tmp_path / "local"), "default/one", mode="create"),
    ):
        with pytest.raises(FileExistsError):
            again()
    assert fs.cat_file("default/one") == b"first"
    fs.put_file(str(tmp_path / "local"), "default/two", mode="create")
    assert fs.cat_file("default/two") == b"local"
