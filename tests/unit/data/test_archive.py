"""An archive is read whole or refused in plain words; what it says of itself is not believed."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton.core.errors import InvalidError, TooLargeError
from lepton.data.archive import Member, read_archive

FILES = {"images/1.png": b"one", "images/2.png": b"two" * 1000, "labels.csv": b"file,label\n"}


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], None]] = {
    "a.zip": write_zip,
    "a.tar": write_tar,
    "a.tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    "a.tar.bz2": lambda path, files: write_tar(path, files, "w:bz2"),
    "a.tar.xz": lambda path, files: write_tar(path, files, "w:xz"),
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    def written(files: dict[str, bytes]) -> Path:
        WRITERS[request.param](tmp_path / request.param, files)
        return tmp_path / request.param

    return written


def members(path: Path, max_files: int = 100, max_unpacked_bytes: int = 1 << 20) -> list[Member]:
    return list(read_archive(path, max_files=max_files, max_unpacked_bytes=max_unpacked_bytes))


Write = Callable[[dict[str, bytes]], Path]


def test_every_file_is_read(write: Write) -> None:
    assert {member.name: member.body for member in members(write(FILES))} == FILES


def test_a_bomb_is_refused(write: Write) -> None:
    path = write({"images/1.png": b"\0" * (4 << 20)})
    with pytest.raises(TooLargeError) as raised:
        members(path)
    assert path.name in raised.value.message


def test_too_many_files_are_refused(write: Write) -> None:
    with pytest.raises(TooLargeError):
        members(write(FILES), max_files=2)


@pytest.mark.parametrize("name", ["../../etc/passwd.png", "/etc/passwd.png", "a/../../b.png"])
def test_a_path_that_climbs_out_becomes_a_fault_and_writes_nothing(write: Write, name: str, tmp_path: Path) -> None:
    (member,) = members(write({name: b"x"}))
    assert "path inside" in member.fault
    assert not member.body
    assert len(list(tmp_path.iterdir())) == 1


def test_what_file_managers_leave_is_passed_over(write: Write) -> None:
    assert members(write({"__MACOSX/1.png": b"x", "images/.DS_Store": b"x", "._1.png": b"x"})) == []


def test_a_truncated_archive_is_refused_by_name(write: Write) -> None:
    path = write({f"{number}.png": bytes([number]) * 5000 for number in range(20)})
    path.write_bytes(path.read_bytes()[:-700] if path.suffix != ".tar" else path.read_bytes()[:50_000])
    with pytest.raises(InvalidError) as raised:
        members(path)
    assert path.name in raised.value.message
    assert raised.value.fix


@pytest.mark.parametrize("body", [b"", b"hello, I am no archive", gzip.compress(b"neither am I", mtime=0)])
def test_what_is_no_archive_is_refused_by_name(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "photo.zip").write_bytes(body)
    with pytest.raises(InvalidError) as raised:
        members(tmp_path / "photo.zip")
    assert "photo.zip" in raised.value.message


def test_one_damaged_file_of_a_zip_is_a_fault_of_that_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in ("1.png", "2.png"):
            archive.writestr(name, f"the body of {name}")
    path.write_bytes(path.read_bytes().replace(b"body of 1", b"BODY of 1"))
    first, second = members(path)
    assert "cannot be unpacked" in first.fault
    assert (second.body, second.fault) == (b"the body of 2.png", "")


def test_links_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            entry = tarfile.TarInfo("link.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert members(tmp_path / "a.tar") == []
