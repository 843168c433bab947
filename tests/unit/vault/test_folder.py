"""A folder is listed whole, and any change to it is found."""

from pathlib import Path

import pytest

from lepton.core.artifact import manifest_digest
from lepton.core.errors import IntegrityError, InvalidError, NotFoundError
from lepton.vault.folder import describe, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "sub" / "deep" / "b").write_bytes(b"")
    return tmp_path


def test_files_are_listed_sorted_with_hash_and_size(folder: Path) -> None:
    files = describe(folder)
    assert [(file.path, file.size_bytes) for file in files] == [("a.txt", 5), ("sub/deep/b", 0)]
    assert files[0].digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert manifest_digest(files) == manifest_digest(reversed(files))
    verify(folder, files)


@pytest.mark.parametrize("change", ["edit", "remove", "add"])
def test_any_change_is_found(folder: Path, change: str) -> None:
    files = describe(folder)
    if change == "remove":
        (folder / "a.txt").unlink()
    else:
        (folder / ("a.txt" if change == "edit" else "c")).write_text("hallo")
    with pytest.raises(IntegrityError):
        verify(folder, files)


def test_a_link_is_refused(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidError):
        describe(folder)


def test_a_missing_folder_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFoundError):
        describe(folder / "nothing")
