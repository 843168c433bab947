"""Where files cannot be written, that is said by name; devices, pipes and links are written through, never replaced."""

import json
import os
import stat
import subprocess
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import ConflictError, InvalidError, LeptonError, StorageFullError
from lepton.sdk.arrived import draft_of
from tests.server.house import House, open_house
from tests.server.test_files import put

BODY = b"content\n" * 2000


@pytest.fixture
def filled(house: House) -> House:
    for name in ("set/a", "set/b/c", "set/d"):
        put(house.http, name, BODY)
    return house


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def run(house: House, *words: object) -> Result:
    environment = {"LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}
    return CliRunner(env=environment).invoke(cli, ["vault", *map(str, words)])


def refused(house: House, *words: object) -> LeptonError:
    fault = run(house, *words).exception
    assert isinstance(fault, LeptonError), fault
    return fault


A, SET = "lepton://default/set/a", "lepton://default/set"


def test_a_file_where_a_folder_must_be_is_named(filled: House, place: Path) -> None:
    (place / "file").write_bytes(b"mine")
    (place / "there").mkdir()
    file = place / "file"
    for words in (
        ("cp", "-r", SET, file),
        ("cp", A, file / "x"),
        ("cp", "-r", SET, file / "x"),
        ("cp", "--pack", "gzip", A, file / "x"),
    ):
        fault = refused(filled, *words)
        assert isinstance(fault, ConflictError) and str(file) in fault.message and "folder" in fault.fix, words
    assert isinstance(refused(filled, "cp", "--pack", "gzip", A, place / "there"), InvalidError)
    assert isinstance(refused(filled, "cp", "--pack", "gzip", SET, place / "new"), LeptonError)
    assert file.read_bytes() == b"mine" and sorted(os.listdir(place)) == ["file", "there"]


def test_what_can_be_copied_of_a_folder_is_and_the_rest_is_named(filled: House, place: Path) -> None:
    (place / "b").write_bytes(b"mine")
    (place / "d").mkdir()
    (place / "d" / "x").write_bytes(b"mine")
    fault = refused(filled, "cp", "-r", SET, place)
    assert isinstance(fault, ConflictError) and fault.details["files"] == 1
    assert set(fault.details["refused"]) == {"set/b/c", "set/d"} and "1 file arrived" in fault.message
    assert (place / "a").read_bytes() == BODY and (place / "b").read_bytes() == b"mine"
    assert sorted(os.listdir(place)) == ["a", "b", "d"]


def test_a_full_device_is_said_and_stays_a_device(filled: House, place: Path) -> None:
    for words in (("cp", A, "/dev/full"), ("cp", "--pack", "gzip", A, "/dev/full")):
        fault = refused(filled, *words)
        assert isinstance(fault, StorageFullError) and "/dev/full" in fault.message
    assert run(filled, "cp", A, "/dev/null").exit_code == 0
    assert all(stat.S_ISCHR(os.stat(path).st_mode) for path in ("/dev/full", "/dev/null"))
    assert isinstance(refused(filled, "cp", "-r", SET, "/dev/null"), ConflictError)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_no_half_file_stays_on_a_full_or_read_only_disk(filled: House, place: Path) -> None:
    put(filled.http, "set/large", os.urandom(3 << 20))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no mounts here")
    try:
        for words in (("cp", "-r", SET, place), ("cp", f"{SET}/large", place / "x")):
            fault = refused(filled, *words)
            assert isinstance(fault, StorageFullError) and str(place) in fault.message
            assert not [name for name in os.listdir(place) if name.endswith(".part")]
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        for words in (("cp", "-r", SET, place), ("cp", A, place / "y"), ("cp", A, place / "new" / "y")):
            fault = refused(filled, *words)
            assert isinstance(fault, ConflictError) and "Read-only" in fault.message and str(place) in fault.message
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_link_to_a_file_stays_and_the_file_is_written(filled: House, place: Path) -> None:
    (place / "file").write_bytes(b"old")
    (place / "link").symlink_to("file")
    (place / "out").mkdir()
    (place / "out" / "a").symlink_to("../file")
    for words in (("cp", A, place / "link"), ("cp", "-r", SET, place / "out")):
        (place / "file").write_bytes(b"old")
        assert run(filled, *words).exit_code == 0
        assert (place / "file").read_bytes() == BODY and (place / "link").is_symlink()
    assert (place / "out" / "a").is_symlink()
    (place / "nowhere").symlink_to("missing")
    assert "link to nothing" in refused(filled, "cp", A, place / "nowhere").message


def test_a_pipe_is_written_through(filled: House, place: Path) -> None:
    os.mkfifo(place / "pipe")
    got = list[bytes]()
    reader = Thread(target=lambda: got.append((place / "pipe").read_bytes()))
    reader.start()
    assert run(filled, "cp", A, place / "pipe").exit_code == 0
    reader.join()
    assert got == [BODY] and stat.S_ISFIFO((place / "pipe").stat().st_mode)
    os.mkfifo(place / "a")
    assert "no regular file" in refused(filled, "cp", "-r", SET, place).message


def test_all_names_that_cannot_be_kept_are_told_at_once(filled: House, place: Path) -> None:
    for name in (b"good", b"bad\xff", b"bad\\", b"bad\n", "bad\u0301e\u0301".encode()):
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(b"x")
    (place / "link").symlink_to("good")
    os.mkfifo(place / "pipe")
    told = run(filled, "cp", "-r", place, "lepton://default/new", "--json")
    assert told.exit_code == 2 and len(json.loads(told.stderr)["details"]["refused"]) == 6
    assert "6 paths" in told.stderr and "new" not in run(filled, "ls", "lepton://default/").output


def test_a_folder_without_files_is_not_said_to_be_there(filled: House, place: Path) -> None:
    (place / "empty" / "within").mkdir(parents=True)
    done = run(filled, "cp", "-r", place / "empty", "lepton://default/empty")
    assert done.exit_code == 0 and "has no files" in done.output
    assert isinstance(refused(filled, "cp", "-r", place / "none", "lepton://default/x"), InvalidError)


def test_what_a_copy_left_goes_on_and_is_called_what_it_is(filled: House, place: Path) -> None:
    draft_of(place / "a").write_bytes(BODY[:100])
    assert run(filled, "cp", A, place / "a").exit_code == 0
    assert os.listdir(place) == ["a"] and (place / "a").read_bytes() == BODY


def test_nothing_is_said_where_the_file_goes_and_a_folder_is_copied_into(filled: House, place: Path) -> None:
    assert run(filled, "cp", A, "/dev/stdout").stdout_bytes == BODY
    assert run(filled, "cp", "-r", A, place).exit_code == 0
    assert run(filled, "cp", "-r", A, f"{place}/new/").exit_code == 0
    assert (place / "a").read_bytes() == BODY == (place / "new" / "a").read_bytes()


def test_keys_that_cannot_be_written_are_not_made_and_nothing_is_erased_for_a_certificate_that_cannot(
    place: Path, tmp_path: Path
) -> None:
    (place / "file").write_bytes(b"")
    with open_house(tmp_path / "data") as house:
        put(house.http, "a", BODY)
    data = ("--data", tmp_path / "data")
    for words in (
        ("recovery-key", "--out", place / "file" / "kit"),
        ("recovery-key", "--out", place / "new" / "kit"),
        ("erase", "default", "--certificate", place / "file" / "paper"),
    ):
        fault = refused(house, *words, *data)
        assert isinstance(fault, ConflictError) and str(words[-1]) in fault.message
    assert "no recovery key" in refused(house, "backup", "--to", place / "safe", *data).message
    assert "default" in run(house, "keys", *data).output
    assert run(house, "erase", "default", "--certificate", place / "paper", *data).exit_code == 0
    assert json.loads((place / "paper").read_text())["signature"]


def test_what_comes_through_a_pipe_is_stored_as_it_comes(house: House, place: Path) -> None:
    pipe = place / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(BODY,), daemon=True)
    writer.start()
    assert run(house, "cp", pipe, "lepton://default/named").exit_code == 0
    writer.join()
    (place / "body").write_bytes(BODY)
    script = f"lepton vault cp <(cat {place}/body) lepton://default/substituted && cat {place}/body"
    script += " | lepton vault cp /dev/stdin lepton://default/stdin"
    script += f" && lepton vault cp /dev/stdin lepton://default/redirected < {place}/body"
    environment = {**os.environ, "LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("named", "substituted", "stdin", "redirected"):
        assert house.http.get(f"/api/v1/vault/files/{name}").content == BODY
    told = run(house, "cp", "/dev/fd/0", "lepton://default/").exception
    assert isinstance(told, InvalidError) and "/dev/fd/0 needs a file's name" in told.message
    assert isinstance(run(house, "cp", "/dev/fd/4444", "lepton://default/x").exception, InvalidError)
