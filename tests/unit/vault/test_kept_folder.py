"""A folder that keeps what is replaced or deleted: read as it was at any time, until what was hidden is forgotten."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time_ns

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.errors import ConflictError, InvalidError, NameTakenError, NotFoundError, StaleError
from lepton.vault.drivers.kept import KeptFolder

KEYS = ("a", "b/1", "b/2", "b-c", "d/e/f", "d/e/g")
STEP = st.tuples(st.sampled_from(["put", "put", "delete", "forget"]), st.sampled_from(KEYS), st.integers(1, 5))


class Time:
    """Nanoseconds that are set."""

    def __init__(self) -> None:
        self.ns = 1_000

    def __call__(self) -> int:
        return self.ns


def read(folder: KeptFolder, key: str, at_ns: int | None = None) -> bytes:
    handle, head = folder.open_at(key, at_ns)
    with os.fdopen(handle, "rb") as file:
        body = file.read()
    assert head.size_bytes == len(body)
    return body


def shown(folder: KeptFolder, at_ns: int | None = None) -> dict[str, bytes]:
    heads = list(folder.heads(at_ns=at_ns))
    assert [head.key for head in heads] == sorted(head.key for head in heads)
    return {head.key: read(folder, head.key, at_ns) for head in heads}


@settings(max_examples=60)
@given(st.lists(STEP, max_size=25))
def test_it_is_as_it_was_at_every_time_after_what_was_forgotten(steps: list[tuple[str, str, int]]) -> None:
    with TemporaryDirectory() as name:
        time = Time()
        folder, now = KeptFolder(Path(name), now_ns=time), dict[str, bytes]()
        past = dict[int, dict[str, bytes]]()
        forgotten = 0
        for number, (what, key, pause) in enumerate(steps):
            time.ns += 10 * pause
            if what == "put":
                folder.receive(key, [b"%d" % number])
                now[key] = b"%d" % number
            elif what == "delete":
                folder.delete(key)
                now.pop(key, None)
            elif what == "forget":
                forgotten = max(forgotten, time.ns - 40)
                folder.forget(forgotten)
            past[time.ns] = dict(now)
            assert shown(folder) == now
        for at, was in past.items():
            if at >= forgotten:
                assert shown(folder, at) == was
                assert shown(folder, at + 5) == was
        assert shown(folder, 5) == {}
        folder.forget(time.ns + 1)
        assert shown(folder) == now
        assert not (Path(name) / ".kept").exists() or not any(path.is_file() for path in Path(name, ".kept").rglob("*"))


def test_times_of_a_key_grow_also_where_the_clock_is_set_back(tmp_path: Path) -> None:
    time = Time()
    folder = KeptFolder(tmp_path, now_ns=time)
    etags = [folder.receive("k", [b"x"]).etag]
    time.ns = 10
    for _ in range(3):
        etags.append(folder.receive("k", [b"x"]).etag)
        folder.delete("k")
    assert len(set(etags)) == 4
    assert shown(folder, 999) == {} and shown(folder, 1_000) == {"k": b"x"}


def test_only_the_newest_is_a_plain_file_and_what_others_see(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path)
    folder.receive("a/b", [b"first"])
    folder.receive("a/b", [b"second"])
    folder.receive("gone", [b"x"])
    folder.delete("gone")
    assert (tmp_path / "a" / "b").read_bytes() == b"second"
    assert [head.key for head in folder.list()] == ["a/b"]
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"a"}


def test_conditions_are_kept(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path)
    first = folder.receive("k", [b"1"], is_new=True)
    with pytest.raises(NameTakenError):
        folder.receive("k", [b"2"], is_new=True)
    with pytest.raises(StaleError):
        folder.receive("k", [b"2"], etag="other")
    with pytest.raises(StaleError):
        folder.receive("none", [b"2"], etag=first.etag)
    second = folder.receive("k", [b"2"], etag=first.etag)
    assert read(folder, "k") == b"2" and folder.head("k") == second


def test_nobody_takes_the_name_of_what_was_hidden_for_something_of_another_kind(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path)
    folder.receive("lepton-backup", [b"x"])
    folder.receive("domains/ab/pack", [b"x"])
    for key in ("lepton-backup/x", "lepton-backup/x/y", "domains", "domains/ab", "domains/ab/pack/more"):
        with pytest.raises(ConflictError):
            folder.receive(key, [b"y"])
    for key in ("lepton-backup", "domains/ab/pack"):
        folder.delete(key)
    for key in ("lepton-backup/x", "domains", "domains/ab", "domains/ab/pack/more"):
        with pytest.raises(ConflictError):
            folder.receive(key, [b"y"])
    folder.receive("lepton-backup", [b"again"])
    folder.receive("domains/ab/pack", [b"again"])
    assert not list((tmp_path / ".new").iterdir())


@pytest.mark.parametrize("key", ["", "..", "a/../b", "/a", "a//b", ".kept/x", ".new/x", "a/.x", "x" * 256, "y/" * 1100])
def test_a_name_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    folder = KeptFolder(tmp_path)
    for act in (
        lambda: folder.receive(key, [b"x"]),
        lambda: folder.delete(key),
        lambda: folder.open_at(key, None),
        lambda: folder.open_at(key, 5),
    ):
        with pytest.raises(InvalidError):
            act()


def test_a_listing_goes_on_after_any_key(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path)
    keys = sorted(KEYS)
    for key in keys:
        folder.receive(key, [b"x"])
    for after in ("", *keys, "b", "b/", "b/15", "d/e", "zz", "A"):
        for at in (None, 1 << 62):
            assert [head.key for head in folder.heads(after=after, at_ns=at)] == [key for key in keys if key > after]
    assert [head.key for head in folder.heads("d/e/", after="d/e/f")] == ["d/e/g"]


def test_a_write_that_fails_hides_nothing(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path)
    folder.receive("k", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        folder.receive("k", broken())
    assert read(folder, "k") == b"old" and not (tmp_path / ".kept").exists() and not list((tmp_path / ".new").iterdir())
    with pytest.raises(NotFoundError):
        folder.open_at("other", None)


def test_who_is_killed_between_the_two_steps_has_changed_nothing(tmp_path: Path) -> None:
    """The second name is there, the new bytes are not: as a kill -9 leaves it."""
    time = Time()
    folder = KeptFolder(tmp_path, now_ns=time)
    folder.receive("k", [b"old"])
    time.ns = 2_000
    folder._keep("k", tmp_path / "k", 2_000)
    again = KeptFolder(tmp_path, now_ns=time)
    for at in (None, 1_000, 1_500, 2_000, 2_500):
        assert shown(again, at) == {"k": b"old"}
    time.ns = 3_000
    again.receive("k", [b"new"])
    assert shown(again, 2_999) == {"k": b"old"} and shown(again, 3_000) == shown(again) == {"k": b"new"}
    again.forget(2_500)
    assert shown(again, 2_999) == {"k": b"old"}


KILLED = """
import os, signal, sys
from pathlib import Path
from lepton.vault.drivers.kept import KeptFolder

CALLS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.utime"}
folder, act, left = KeptFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])

def before(event, arguments):
    global left
    if event in CALLS and str(arguments[0]).startswith(sys.argv[1]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(before)
if act == "delete":
    folder.delete("a/k")
else:
    folder.receive("a/k" if act == "replace" else "b/new", [b"new", b"er"])
"""


@pytest.mark.parametrize("act", ["create", "replace", "delete"])
def test_a_kill_before_any_call_of_the_system_leaves_whole_objects_or_none(tmp_path: Path, act: str) -> None:
    was, becomes = {"a/k": b"old"}, {"create": b"newer", "replace": b"newer", "delete": None}[act]
    done = {key: body for key, body in {**was, "b/new" if act == "create" else "a/k": becomes}.items() if body}
    for calls in range(40):
        root = tmp_path / str(calls)
        folder = KeptFolder(root)
        folder.receive("a/k", [b"old"])
        moment = time_ns()
        ended = subprocess.run([sys.executable, "-c", KILLED, root, act, str(calls)], check=False, capture_output=True)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        again = KeptFolder(root)
        again.clear_drafts()
        assert shown(again) in (was, done)
        assert shown(again, moment) == was
        again.receive("a/k", [b"after"])
        assert shown(again)["a/k"] == b"after" and shown(again, moment) == was
        if ended.returncode == 0:
            assert calls > 3
            return
    raise AssertionError("it never ended")


def test_the_disk_is_looked_at(tmp_path: Path) -> None:
    KeptFolder(tmp_path).check_disk()
    assert not list((tmp_path / ".new").iterdir())
