"""Code of photons from real repositories on this machine."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lepton.serve.photon import checkout, config, models

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(place: Path, *words: str) -> str:
    command = ["git", "-C", str(place), "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, env={**os.environ, **WHO}, check=True, capture_output=True, text=True).stdout.strip()


def commit(place: Path, text: str) -> None:
    (place / "d").mkdir(exist_ok=True)
    (place / "d" / "a.txt").write_text(text)
    git(place, "add", ".")
    git(place, "commit", "-qm", text)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository: tag `one`, then `feature/odd`, then what is newest."""
    monkeypatch.setattr(config, "CACHE_DIR", tmp_path / "cache")
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    commit(place, "one")
    git(place, "tag", "one")
    git(place, "checkout", "-qb", "feature/odd")
    commit(place, "odd")
    git(place, "checkout", "-q", "main")
    commit(place, "two")
    return place


def read(url: str, path: str = "d/a.txt") -> str:
    return (Path(checkout.fetch_code_from_vcs(url)) / path).read_text()


def test_tags_branches_and_short_commits_are_revisions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTON_CODE", str(place))
    assert read("file://${PHOTON_CODE}") == "two"
    assert read("git+file://${PHOTON_CODE}@one#subdirectory=d", "a.txt") == "one"
    assert read(f"file://{place}@feature/odd") == "odd"
    assert read(f"file://{place}@refs/tags/one") == "one"
    assert read(f"file://{place}@{git(place, 'rev-parse', '--short', 'one')}") == "one"


def test_a_repository_whose_path_has_an_at_is_found(place: Path) -> None:
    other = place.rename(place.with_name("a@b"))
    assert read(f"file://{other}") == "two"
    assert read(f"file://{other}@one") == "one"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ext::sh -c id", "Git|git"),
        ("file:///no/such/place", "does not appear"),
        ("--upload-pack=x", "git"),
        ("ftp://here/x", "no URL of a Git repository"),
        ("/no/such/place", "names no host; .* file:///PATH"),
        ("file://{}@--upload-pack=touch x", "names no revision"),
        ("file://{}@", "names no revision"),
        ("file://{}@+one", "names no revision"),
        ("file://{}@nothing", "has no revision 'nothing'"),
        ("file://{}#subdirectory=nothing", "has no folder 'nothing'"),
    ],
)
def test_what_names_nothing_is_refused_in_words(place: Path, url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checkout.fetch_code_from_vcs(url.format(place))


def test_two_revisions_stand_side_by_side_and_many_may_start_at_once(place: Path) -> None:
    urls = [f"file://{place}@one", f"file://{place}@feature/odd"] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, urls)) == ["one", "odd"] * 4
    first = Path(checkout.fetch_code_from_vcs(urls[0]))
    checkout.fetch_code_from_vcs(urls[1])
    assert (first / "d" / "a.txt").read_text() == "one"


def test_a_checkout_that_was_not_finished_is_made_anew(place: Path) -> None:
    tree = Path(checkout.fetch_code_from_vcs(f"file://{place}"))
    next(tree.parent.glob("*.whole")).unlink()
    (tree / "d" / "a.txt").unlink()
    assert read(f"file://{place}") == "two"


def test_submodules_come_too(place: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "--quiet", "add", f"file://{place}", "inner")
    git(outer, "commit", "-qm", "outer")
    assert read(f"file://{outer}", "inner/d/a.txt") == "two"
    target = tmp_path / "target"
    assert checkout.fetch_code_from_vcs(f"file://{outer}", str(target)) == str(target)
    assert (target / "inner" / "d" / "a.txt").read_text() == "two"


def test_what_git_says_is_told_without_passwords(place: Path) -> None:
    with pytest.raises(ValueError) as told:
        checkout.fetch_code_from_vcs("http://me:secret@127.0.0.1:1/x")
    assert "127.0.0.1" in str(told.value) and "secret" not in str(told.value)


def test_a_path_out_of_the_repository_names_nothing(place: Path) -> None:
    with pytest.raises(ValueError, match="neither a file"):
        models.create("x", f"py:file://{place}:../d/a.py:Kind")
