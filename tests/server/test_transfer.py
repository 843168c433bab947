"""Copies between a local folder and a workspace: whole, only what differs, and going on where they were cut short."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import ConflictError, InvalidError, LeptonError, MergeConflictError, NotFoundError
from lepton.sdk import arrived, transfer
from lepton.sdk import vault as vault_module
from lepton.sdk.client import Client
from lepton.sdk.place import VaultPath, parse
from lepton.sdk.vault import Vault
from lepton.server.files import At, Files
from lepton.vault.store.pages import Entry
from tests.server.house import API, House, error_of


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with house.sdk() as opened:
        yield opened


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two files or 64 KiB: what takes gigabytes else."""
    monkeypatch.setattr(transfer, "BATCH_FILES", 2)
    monkeypatch.setattr(transfer, "BATCH_BYTES", 1 << 16)


def make(folder: Path, **sizes: int) -> Path:
    for name, size in sizes.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return folder


def held(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns // 1000, path.stat().st_mode)
        for path in found
    }


def test_a_folder_goes_in_and_comes_out_as_it_was(client: Client, tmp_path: Path, small: None) -> None:
    source = make(tmp_path / "in", a=3, b=0, c__d=70_000, c__e=200_000, f=5)
    (source / "a").chmod(0o750)
    seen = list[tuple[int, int]]()
    client.vault.upload(source, "set", message="m", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (270_008, 270_008)
    assert [line["message"] for line in client.vault.log()] == ["m"]
    assert [line["name"] for line in client.vault.branches()] == ["main"]
    assert client.vault.download("set", tmp_path / "out") == 5
    assert held(tmp_path / "out") == held(source)
    assert client.vault.download("set", tmp_path / "out") == 0


def test_only_what_differs_is_sent(client: Client, house: House, tmp_path: Path) -> None:
    source = make(tmp_path / "in", a=10, b=10, c=10)
    first = client.vault.upload(source, "set")
    assert client.vault.upload(source, "set") == first
    make(source, b=11)
    (source / "c").unlink()
    client.vault.upload(source, "set")
    assert [change["name"] for change in client.vault.diff()] == ["set/b"]
    assert client.vault.read("set/b") == (source / "b").read_bytes()


def test_an_upload_that_was_cut_short_shows_nothing_and_goes_on(
    client: Client, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "in", a=1, b=2, c=3, d=4, e=5)
    make(tmp_path / "before", x=1)
    client.vault.upload(tmp_path / "before", "")
    whole = transfer._archive

    def broken(files: object) -> Iterator[bytes]:
        names = [file.name for file in files]  # type: ignore[attr-defined]
        if names == ["c", "d"]:
            raise KeyError("killed")
        return whole(files)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer, "_archive", broken)
    with pytest.raises(KeyError):
        client.vault.upload(source, "set")
    assert [file.name for file in client.vault.files(recursive=True)] == ["x"]
    monkeypatch.setattr(transfer, "_archive", whole)
    sent = list[int]()
    client.vault.upload(source, "set", progress=lambda done, total: sent.append(done))
    names = [file.name for file in client.vault.files(recursive=True)]
    assert names == ["set/a", "set/b", "set/c", "set/d", "set/e", "x"]
    assert sent[:2] == [1, 3]  # counted, not sent
    assert [line["name"] for line in client.vault.branches()] == ["main"]


@pytest.mark.parametrize("meanwhile", ["a file went", "the branch moved"])
def test_what_was_begun_counts_only_while_it_is_right(
    client: Client, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    source = make(tmp_path / "in", a=1, b=2, c=3, d=4, e=5)
    client.vault.upload(source / "c", "set/c")
    with monkeypatch.context() as broken:
        whole = transfer._archive
        broken.setattr(transfer, "_archive", lambda files: 1 / 0 if files[0].name == "d" else whole(files))
        with pytest.raises(ZeroDivisionError):
            client.vault.upload(source, "set")
    if meanwhile == "a file went":
        (source / "a").unlink()
    else:
        client.vault.write("set/c", b"by another")
    client.vault.upload(source, "set")
    assert {file.name: file.sha256 for file in client.vault.files("set", recursive=True)} == {
        f"set/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()
    }
    assert [line["name"] for line in client.vault.branches()] == ["main"]


def test_a_download_goes_on_in_the_middle_of_a_file(client: Client, tmp_path: Path, small: None) -> None:
    source = make(tmp_path / "in", big=300_000)
    client.vault.upload(source, "")
    draft = arrived.draft_of(tmp_path / "out" / "big")
    draft.parent.mkdir()
    draft.write_bytes((source / "big").read_bytes()[:123_456])
    client.vault.download("", tmp_path / "out")
    assert held(tmp_path / "out") == held(source)
    (tmp_path / "out" / "big").unlink()
    draft.write_bytes(bytes(1000))  # of something else: noticed, and not kept
    with pytest.raises(LeptonError, match="arrived damaged"):
        client.vault.download("", tmp_path / "out")
    client.vault.download("", tmp_path / "out")
    assert held(tmp_path / "out") == held(source)


def test_drafts_of_a_download_are_like_no_other_file_and_no_longer(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in (
        "foo",
        ".foo.part",
        "\u20ac" * 85,
        ".lepton-foo.part",
    ):  # the third: 255 bytes
        (source / name).write_text(f"content of {name}")
    client.vault.upload(source, "set")
    assert client.vault.download("set", tmp_path / "out") == 4
    assert held(tmp_path / "out") == held(source)
    for name in ("foo", "\u20ac" * 85):  # and one by one
        client.vault.download(f"set/{name}", tmp_path / "one" / name)
        assert (tmp_path / "one" / name).read_text() == f"content of {name}"


def test_a_name_that_is_no_text_is_refused_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "in", a=1)
    Path(os.fsdecode(os.fsencode(source) + b"/sub\xff")).mkdir()
    with pytest.raises(InvalidError, match=r"sub\\xff: its name is not UTF-8"):
        client.vault.upload(source, "set")
    assert list(client.vault.files()) == []


@pytest.mark.parametrize("to", ["../etc/x", "../../security/secrets/victim", "a/../b", "a/./b"])
def test_no_name_leads_to_another_door_of_the_server(client: Client, tmp_path: Path, to: str) -> None:
    folder = make(tmp_path / "some", a=1, b=1)
    for path in (folder / "a", folder):
        with pytest.raises(InvalidError):
            client.vault.upload(path, to)
    with pytest.raises((InvalidError, NotFoundError)):
        client.vault.download(to, tmp_path / "out")


def test_what_cannot_be_copied_is_named(client: Client, tmp_path: Path) -> None:
    make(tmp_path / "in", a=1)
    (tmp_path / "in" / "link").symlink_to("a")
    with pytest.raises(InvalidError, match="link: it is a link"):
        client.vault.upload(tmp_path / "in", "set")
    with pytest.raises(InvalidError, match="no file and no folder"):
        client.vault.upload(tmp_path / "nothing", "set")
    client.vault.write("f", b"1")
    (tmp_path / "out" / "f").mkdir(parents=True)
    with pytest.raises(ConflictError, match="is a folder"):
        client.vault.download("", tmp_path / "out")


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", "", "a/..", "a\0"])
def test_no_name_from_a_server_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(LeptonError, match="The server names"):
        arrived.below(tmp_path, name)


def test_a_file_that_changes_while_it_is_sent_is_refused(client: Client, tmp_path: Path) -> None:
    file = transfer.local_files(make(tmp_path / "in", a=10) / "a")[0]
    file.path.write_bytes(b"short")
    with pytest.raises(InvalidError, match="became shorter"):
        list(transfer._pieces(file))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("lepton://lab/a/b", VaultPath("lab", "a/b")),
        ("lepton://lab/a/", VaultPath("lab", "a", is_folder=True)),
        ("lepton://lab", VaultPath("lab", "", is_folder=True)),
        ("lepton://lab@v1.2/a", VaultPath("lab", "a", "v1.2")),
    ],
)
def test_addresses_are_read(text: str, place: VaultPath) -> None:
    assert parse(text) == place


@pytest.mark.parametrize(
    "text", ["lab/a", "lepton://", "lepton:///a", "lepton://LAB/a", "lepton://lab@-/a", "s3://lab/a"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse(text)


class Shell:
    """The command line against one server."""

    def __init__(self, house: House) -> None:
        self._environment = {"LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}

    def __call__(self, *words: object, status: int = 0, feed: bytes | None = None) -> str:
        result: Result = CliRunner(env=self._environment).invoke(cli, ["vault", *map(str, words)], input=feed)
        code = getattr(result.exception, "code", 1) if result.exception else 0
        assert bool(code) == bool(status), (words, result.output, result.exception)
        return str(result.exception) if result.exception else result.output


def test_the_command_line_copies_lists_and_goes_back(house: House, tmp_path: Path) -> None:
    shell, at = Shell(house), "lepton://default"
    source = make(tmp_path / "in", a=10, sub__b=20)
    assert f"is in {at}/set, version " in shell("cp", "-r", source, f"{at}/set", "-m", "first")
    assert "is a folder" in shell("cp", source, f"{at}/set", status=1)
    shell("cp", source / "a", f"{at}/set/")
    shell("cp", "-", f"{at}/note", feed=b"hello")
    assert shell("cat", f"{at}/note") == "hello"
    assert [line.split()[-1] for line in shell("ls", f"{at}/set").splitlines()] == ["set/a", "set/sub/"]
    assert "set/sub/b" in shell("ls", "-R", at) and "note" in shell("ls", f"{at}/note")
    assert '"files": 3' in shell("du", at, "--json")
    shell("tag", at, "v1")
    shell("mv", f"{at}/note", f"{at}/set/")
    shell("rm", "-r", f"{at}/set/sub")
    assert shell("diff", at, "v1").splitlines() == ["- note  5 bytes", "+ set/note  5 bytes", "- set/sub/b  20 bytes"]
    shell("undelete", f"{at}/set/sub/b")
    assert shell("cat", f"{at}@v1/note") == "hello"
    shell("rollback", at, "v1")
    assert "set/note" not in shell("ls", "-R", at)
    shell("branch", at, "try")
    shell("cp", source / "a", f"{at}@try/new")
    shell("merge", at, "try")
    assert "first" in shell("log", f"{at}/set/sub") and "new" in shell("ls", at)
    shell("branch", at, "try", "--delete")
    shell("undelete", f"{at}@try")
    assert {"main", "try", "tags/v1"} <= set(shell("branches", at).split())
    shell("cp", "-r", f"{at}/set", f"{at}/twin")
    shell("cp", "-r", f"{at}/twin", tmp_path / "out")
    assert held(tmp_path / "out") == held(source)
    shell("ls", at, "--at", "yesterday", status=2)
    (tmp_path / "note.gz").write_bytes(gzip.compress(b"packed words"))
    shell("cp", "--unpack", "gzip", tmp_path / "note.gz", f"{at}/note")
    assert shell("cat", f"{at}/note") == "packed words"
    shell("cp", "--pack", "zstd", f"{at}/note", tmp_path / "note.zst")
    assert zstandard.decompress((tmp_path / "note.zst").read_bytes(), 100) == b"packed words"
    assert "One file is unpacked" in shell("cp", "--pack", "gzip", source / "a", f"{at}/note", status=1)
    assert "needs a name" in shell("cp", "--unpack", "gzip", tmp_path / "note.gz", f"{at}/", status=1)
    assert "cannot be read" in shell("cp", "--unpack", "gzip", tmp_path / "no.gz", f"{at}/x", status=1)
    assert "Neither" in shell("cp", "a", "b", status=1)


class Slow(Files):
    """Gives the second file when somebody has heard of the first."""

    heard: Event

    def content(self, at: At, name: str, entry: Entry, **part: Any) -> Iterator[bytes]:
        if name == "set/b":
            assert self.heard.wait(10)
        return super().content(at, name, entry, **part)


def test_a_copy_between_workspaces_says_how_far_it_has_come(
    client: Client, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "LOOK_S", 0.01)
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    for name in ("set/a", "set/b"):
        client.vault.write(name, os.urandom(100_000))
    slow = house.platform.files = Slow(house.platform.sealing, house.platform.allowance)
    slow.heard, seen = Event(), set[tuple[int, int]]()

    def told(done: int, total: int) -> None:
        seen.add((done, total))
        if done == 100_000:
            slow.heard.set()

    with house.sdk(workspace="lab") as lab:
        assert lab.vault.copy_from("default", "set", "set", progress=told)["files"] == 2
        assert lab.vault.read("set/b") == client.vault.read("set/b")
    assert (100_000, 200_000) in seen
    error_of(house.http.get(f"{API}/vault/copies/{'0' * 32}?workspace=lab"), 404, "not_found")


def test_a_merge_that_is_refused_says_as_data_what_clashes(client: Client, house: House) -> None:
    vault = client.vault
    vault.write("base", b"0")
    vault.branch("try")
    vault.write("a", b"1")
    vault.write("a/b", b"2", branch="try")
    with pytest.raises(MergeConflictError, match="Both branches changed a") as caught:
        vault.merge("try")
    (clash,) = caught.value.details["conflicts"]
    assert (clash["path"], clash["kind"]) == ("a", "theirs_is_folder")
    words = ["vault", "merge", "lepton://default", "try"]
    done = CliRunner(env={"LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}).invoke(cli, [*words, "--json"])
    assert (done.exit_code, json.loads(done.stderr)["details"]["conflicts"]) == (1, [clash])
    Shell(house)("merge", "lepton://default", "try", "--take", "theirs")
    assert [file.name for file in vault.files(recursive=True)] == ["a/b", "base"]


def test_the_sdk_says_what_is_there(client: Client, house: House) -> None:
    vault: Vault = client.vault
    version = vault.write("a/b", b"12345")
    assert vault.read("a/b", start=1, stop=3) == b"23" and vault.read("a/b", start=2, stop=2) == b""
    file = vault.find("a/b")
    assert (file.name, file.size_bytes, file.is_folder) == ("a/b", 5, False)
    with pytest.raises(LeptonError, match="is a folder"):
        vault.find("a")
    with pytest.raises(LeptonError, match="SHA-256"):
        vault.write("a/b", b"6", if_sha256="")
    assert vault.write("a/b", b"6", if_sha256=file.sha256) != version
    assert vault.write_stream("c", iter([b"x" * 10, b"y"])) and vault.read("c") == b"x" * 10 + b"y"
    (folder,) = [each for each in vault.files(totals=True) if each.is_folder]
    assert (folder.name, folder.files, folder.size_bytes) == ("a/", 1, 1)
