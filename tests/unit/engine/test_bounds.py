"""How workers of the local engine are held: by which layers, at which level, cold and warm, and what still works."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lepton.core.errors import EngineError
from lepton.core.launch import ExitReason, Isolation, Launch
from lepton.engine.local.bounds import Ground, level_of, make_bounds, told
from lepton.engine.local.views import aliases, programs_of, unfold
from lepton.engine.sandbox import filter as calls
from lepton.engine.sandbox import landlock
from lepton.engine.sandbox.layers import find
from tests.unit.engine.conftest import Local

LAYERS = find()
needs_landlock = pytest.mark.skipif("landlock" in LAYERS["lacks"], reason="the kernel has no Landlock")
needs_namespaces = pytest.mark.skipif("namespaces" in LAYERS["lacks"], reason="this user may make no namespaces")
WHOLE = {"landlock": landlock.version(), "namespaces": True, "filter": True, "lacks": {}}
HOLDING = [
    pytest.param(WHOLE, marks=[needs_landlock, needs_namespaces], id="all"),
    pytest.param({**WHOLE, "namespaces": False}, marks=needs_landlock, id="landlock alone"),
    pytest.param({**WHOLE, "landlock": 2, "namespaces": False}, marks=needs_landlock, id="an old landlock alone"),
    pytest.param({**WHOLE, "landlock": 3}, marks=[needs_landlock, needs_namespaces], id="an old landlock"),
    pytest.param({**WHOLE, "landlock": 0}, marks=needs_namespaces, id="no landlock"),
]
LOOK = """
import json, os, sys, tempfile
from pathlib import Path

def attempt(work):
    try:
        return work() or True
    except OSError:
        return False

hidden, beside = Path(sys.argv[1]), Path(sys.argv[2])
os.mkdir("a"), os.mkdir("b"), Path("a", "x").write_text("x")
print(json.dumps({
    "token": attempt((hidden / "token").read_text),
    "write": attempt(lambda: (hidden / "new").write_text("x")),
    "folder": attempt(lambda: os.mkdir(hidden / "new")),
    "beside": attempt(beside.read_text),
    "change beside": attempt(lambda: beside.write_text("mine")),
    "move": attempt(lambda: os.rename("a/x", "b/x")) and attempt(lambda: os.link("b/x", "a/y")),
    "temporary": attempt(lambda: tempfile.TemporaryFile().close()),
    "launch": attempt(Path(os.environ["LEPTON_LAUNCH"]).read_text) and True,
    "gang": attempt(lambda: Path(os.environ["LEPTON_GANG_FOLDER"], "x").write_text("x")) and True,
    "system": attempt(Path("/etc/passwd").read_text) and True,
    "names": attempt(lambda: os.listdir("/usr")) and True,
    "held": os.environ["LEPTON_HELD"],
}))
"""
ALL_OWN = {"move": True, "temporary": True, "launch": True, "gang": True, "system": True, "names": True}


def look(local: Local, tmp_path: Path, layers: Mapping[str, Any], isolation: str) -> dict[str, Any]:
    """What a worker sees of its engine's folder, of a file beside it, and of its own."""
    local.engine.layers = dict(layers)
    (local.folder / "token").write_text("secret")
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "file").write_text("mine")
    command = (sys.executable, "-c", LOOK, str(local.folder), str(folder / "file"))
    local.run("k", *command, isolation=isolation)
    local.ended("k")
    (local.folder / "token").unlink()
    found: dict[str, Any] = json.loads(local.logged("k"))
    return found


@pytest.mark.parametrize("layers", HOLDING)
def test_whatever_layer_there_is_hides_the_platform_and_leaves_all_else(
    local: Local, tmp_path: Path, layers: dict[str, Any]
) -> None:
    denied = {"token": False, "write": False, "folder": False}
    seen = {"beside": "mine", "change beside": 4, "held": "own"}
    assert look(local, tmp_path, layers, "own") == {**denied, **seen, **ALL_OWN}


@pytest.mark.parametrize("layers", HOLDING[:4])
def test_a_closed_worker_sees_programs_and_its_own(local: Local, tmp_path: Path, layers: dict[str, Any]) -> None:
    denied = {"token": False, "write": False, "folder": False, "beside": False, "change beside": False}
    assert look(local, tmp_path, layers, "closed") == {**denied, "held": "closed", **ALL_OWN}


def test_without_any_layer_it_says_so_and_a_closed_worker_does_not_start(local: Local, tmp_path: Path) -> None:
    bare = {"landlock": 0, "namespaces": False, "filter": False, "lacks": {"landlock": "the kernel is old"}}
    found = look(local, tmp_path, bare, "own")
    (local.folder / "new").unlink()
    assert found["held"] == "none" and found["token"] == "secret"
    local.run("c", "true", isolation="closed")
    ended = local.ended("c")
    assert ended.reason is ExitReason.NOT_STARTED and "the kernel is old" in ended.detail and "own" in ended.detail


@needs_landlock
def test_an_operator_may_switch_it_off_or_hold_every_worker_closed(local: Local) -> None:
    for isolation, said in (("off", "off"), ("closed", "closed")):
        local.engine.close()
        local.isolation = isolation
        local.engine = local.open()
        local.run(isolation, "sh", "-c", "echo $LEPTON_HELD", env={"LEPTON_HELD": "made up"})
        local.ended(isolation)
        assert local.logged(isolation).strip() == said


def test_a_way_of_holding_that_there_is_not_is_refused(local: Local) -> None:
    with pytest.raises(EngineError, match="no isolation"):
        local.run("k", "true", isolation="loose")


@needs_landlock
def test_a_closed_worker_is_not_started_in_a_folder_that_it_cannot_see(local: Local, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    local.run("k", "true", isolation="closed", cwd=str(tmp_path / "beside"))
    ended = local.ended("k")
    assert ended.reason is ExitReason.NOT_STARTED and str(tmp_path / "beside") in ended.detail


@needs_landlock
def test_what_it_is_given_a_closed_worker_sees(local: Local, tmp_path: Path) -> None:
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    script = f"cat {tmp_path}/read/file; touch {tmp_path}/read/new; touch {tmp_path}/write/new"
    paths = {str(tmp_path / "read"): "r", str(tmp_path / "write"): "w"}
    local.run("k", "sh", "-c", script, isolation="closed", paths=paths)
    local.ended("k")
    assert local.logged("k").startswith("read")
    assert (tmp_path / "write" / "new").exists() and not (tmp_path / "read" / "new").exists()


@pytest.mark.parametrize("layers", HOLDING[:4])
def test_what_is_private_stays_hidden_in_what_it_is_given(local: Local, tmp_path: Path, layers: dict[str, Any]) -> None:
    local.engine.layers = dict(layers)
    (local.folder / "token").write_text("secret")
    (tmp_path / "beside").write_text("to be seen")
    script = (
        f"cat {tmp_path}/beside {local.folder}/token; cat $LEPTON_LAUNCH > launch; test -s launch && echo; echo launch"
    )
    local.run("k", "sh", "-c", script, isolation="closed", paths={str(tmp_path): "r"})
    local.ended("k")
    (local.folder / "token").unlink()
    assert local.logged("k").startswith("to be seen") and local.logged("k").endswith("launch\n")
    assert "secret" not in local.logged("k")


@pytest.mark.parametrize("layers", HOLDING[:4])
@pytest.mark.parametrize("isolation", ["own", "closed"])
def test_those_who_meet_see_what_their_host_has_put_there(local: Local, layers: dict[str, Any], isolation: str) -> None:
    local.engine.layers = dict(layers)
    for key, meets, is_host in (("host", "inn", True), ("guest", "inn", False), ("other", "bar", True)):
        script = "cd $LEPTON_MEETING_FOLDER && cat said; echo $0 > said 2> /dev/null && echo wrote"
        local.run(key, "sh", "-c", script, key, meets=meets, is_host=is_host, isolation=isolation)
        local.ended(key)
    said = {key: local.logged(key).splitlines() for key in ("host", "guest", "other")}
    assert (
        said["host"][-1] == said["other"][-1] == "wrote" and said["guest"][0] == "host" and "wrote" not in said["guest"]
    )
    assert "host" not in said["other"]


WORKS = """
import asyncio, concurrent.futures, multiprocessing, os, socket, sqlite3, ssl, subprocess, sys, threading

def double(x):
    return 2 * x

if __name__ == "__main__":
    for how in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(how).Pool(2) as pool:
            assert pool.map(double, range(5)) == [0, 2, 4, 6, 8], how
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(double, range(100))) == 9900
    assert subprocess.run(["sh", "-c", "echo $((1 + 1))"], capture_output=True).stdout == b"2\\n"
    assert asyncio.run(asyncio.to_thread(double, 4)) == 8
    sqlite3.connect("x.db").execute("create table t (a)")
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()):
        pass
    own = socket.socket(socket.AF_UNIX)
    own.bind("\\0lepton-own-" + str(os.getpid()))
    own.listen()
    socket.socket(socket.AF_UNIX).connect(own.getsockname())
    os.kill(os.getpid(), 0)
    with subprocess.Popen(["sleep", "60"]) as child:
        child.terminate()
    os.close(os.open(f"/proc/self/fd/{os.memfd_create('x')}", os.O_RDONLY))
    assert socket.gethostbyname("localhost").startswith("127.")
    assert ssl.create_default_context()
    print("all of it")
"""


@pytest.mark.parametrize("isolation", ["own", "closed"])
@needs_landlock
def test_processes_threads_and_sockets_of_its_own_work_as_ever(local: Local, tmp_path: Path, isolation: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "works.py").write_text(WORKS)
    paths = {str(tmp_path / "code"): "r"}
    local.run("k", sys.executable, str(tmp_path / "code" / "works.py"), isolation=isolation, paths=paths)
    local.ended("k")
    assert local.logged("k").strip().endswith("all of it"), local.logged("k")


def ground(tmp_path: Path, **more: Any) -> Ground:
    return Ground(hidden=tmp_path, url_file=None, variables={}, layers=WHOLE, **more)


def test_what_lies_in_a_hidden_folder_is_hidden_with_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "vault").mkdir(parents=True)
    (tmp_path / "packs").mkdir()
    found = ground(tmp_path / "data", beside=[tmp_path / "data" / "vault", tmp_path / "packs"]).private
    assert str(tmp_path / "packs") in found and not [path for path in found if path.endswith("vault")]


def test_the_closer_of_what_is_wished_and_what_is_the_least_counts(tmp_path: Path) -> None:
    def level(wished: str, least: str) -> str:
        return level_of(
            Launch(key="k", job="j", command=("x",), isolation=wished), ground(tmp_path, least=Isolation(least))
        )

    assert [level("own", "own"), level("closed", "own"), level("own", "closed")] == ["own", "closed", "closed"]
    assert [level("own", "off"), level("closed", "off")] == ["off", "off"]


def test_only_gangs_with_gpus_may_reach_abstract_sockets_of_others(tmp_path: Path) -> None:
    def bounds(**more: Any) -> Mapping[str, Any]:
        launch = Launch(key="k", job="j", command=("x",), **more)
        found = make_bounds(launch, tmp_path / "k", ground(tmp_path), gang=tmp_path / "gangs" / "g")
        assert found is not None and told(found) == "own"
        return found

    assert not bounds()["abstract"] and not bounds(gpus=(0,))["abstract"] and not bounds(size=2)["abstract"]
    assert bounds(size=2, gpus=(0,))["abstract"]


def test_what_lies_beside_the_way_to_a_hole_is_open(tmp_path: Path) -> None:
    for name in ("a/hole/x", "a/b", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = {path for path, _ in landlock.around(str(tmp_path), [str(tmp_path / "a" / "hole")], "w")}
    assert found == {str(tmp_path / "a" / "b"), str(tmp_path / "c")}
    assert list(landlock.around(str(tmp_path / "c"), [str(tmp_path / "a")], "r")) == [(str(tmp_path / "c"), "r")]


@pytest.mark.skipif("namespaces" in LAYERS["lacks"] or os.geteuid() != 0, reason="mounting needs root")
def test_a_folder_is_hidden_at_every_place_where_it_is_mounted(local: Local, tmp_path: Path) -> None:
    (tmp_path / "other place").mkdir()
    (local.folder / "token").write_text("secret")
    subprocess.run(["mount", "--bind", tmp_path, tmp_path / "other place"], check=True)
    try:
        local.run("k", "sh", "-c", f"cat '{tmp_path}/other place/engine/token' {local.folder}/token; echo looked")
        local.ended("k")
    finally:
        subprocess.run(["umount", tmp_path / "other place"], check=True)
        (local.folder / "token").unlink()
    assert local.logged("k").endswith("looked\n") and "secret" not in local.logged("k")


def test_paths_of_a_folder_are_found_among_the_mounts(tmp_path: Path) -> None:
    point = max((point for point in map(str, tmp_path.parents) if os.path.ismount(point)), key=len)
    (tmp_path / "a b").symlink_to(tmp_path)
    inside = os.path.relpath(tmp_path, point)
    other = str(tmp_path / "a b").replace(" ", "\\040")
    mounts = [
        f"1 0 8:1 / {point} rw - ext4 x rw",
        f"2 1 8:1 /{inside} {other} rw - ext4 x rw",
        "3 1 8:2 / /proc rw - x x",
    ]
    assert aliases(str(tmp_path), mounts) == [str(tmp_path), str(tmp_path / "a b")]


def test_of_what_python_imports_from_also_packages_behind_links_are_programs_but_no_home(tmp_path: Path) -> None:
    for name in ("real/package", "real/data", "links", "home"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "real/package/__init__.py").touch()
    for name in ("package", "data"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / name)
    folders = {"HOME": str(tmp_path / "home"), "PYTHONPATH": f"{tmp_path}/links:{tmp_path}/home:relative"}
    found = set(unfold(programs_of(folders, is_narrow=True)))
    assert {sys.prefix, f"{tmp_path}/links", f"{tmp_path}/links/package", f"{tmp_path}/real/package"} <= found
    assert not {f"{tmp_path}/real/data", f"{tmp_path}/home", "relative"} & found


def test_of_a_checkout_only_what_can_be_imported_is_a_program(tmp_path: Path) -> None:
    for name in (".git", "package", "data", "package.egg-info"):
        (tmp_path / name).mkdir()
    for name in ("package/__init__.py", "module.py", ".env", "data/secret"):
        (tmp_path / name).touch()
    folders = {"HOME": "/nowhere", "PYTHONPATH": str(tmp_path)}
    found = {path for path in programs_of(folders, is_narrow=True) if path.startswith(str(tmp_path))}
    assert found == {f"{tmp_path}/{name}" for name in ("package", "module.py", "package.egg-info")}
    assert str(tmp_path) in set(programs_of(folders, is_narrow=False))
    (tmp_path / ".git").rmdir()
    assert str(tmp_path) in set(programs_of(folders, is_narrow=True)), "it is no checkout"


def answer_of(code: bytes, *, kind: int, number: int, first: int = 0, second: int = 0) -> int:
    """What a filter answers to a call: a machine for the few instructions that it is made of."""
    seen = struct.pack("=IIQQQ", number, kind, 0, first, second)
    steps = list(struct.iter_unpack("=HBBI", code))
    held, at = 0, 0
    tests: dict[int, Callable[[int], bool]] = {
        0x15: lambda value: held == value,
        0x35: lambda value: held >= value,
        0x45: lambda value: bool(held & value),
    }
    while True:
        code_, yes, no, value = steps[at]
        if code_ == 0x06:
            return int(value)
        if code_ == 0x20:
            held, at = struct.unpack_from("=I", seen, value)[0], at + 1
        else:
            at += 1 + (yes if tests[code_](value) else no)


@pytest.mark.parametrize("name", calls.MACHINES)
def test_the_filter_lets_through_all_but_what_it_names(name: str) -> None:
    machine = calls.MACHINES[name]
    code = calls.program(machine)
    refused = {pair[machine.column] for pair in calls.REFUSED.values()}
    assert len(refused) == len(calls.REFUSED)
    special = {machine.clone, machine.ioctl, calls.CLONE3}

    def answer(number: int, **more: int) -> int:
        return answer_of(code, **{"kind": machine.mark, "number": number, **more})

    for number in range(600):
        wanted = calls.FAIL | errno.EPERM if number in refused else calls.ALLOW
        assert number in special or answer(number) == wanted
    assert answer(calls.CLONE3) == answer(calls.X32 + 1) == answer(1, kind=0x4000_0003) == calls.FAIL | errno.ENOSYS
    assert answer(machine.clone, first=0x0121_0F11) == calls.ALLOW, "threads and forks"
    for flag in (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30):
        assert answer(machine.clone, first=flag | 17) == calls.FAIL | errno.EPERM
    assert answer(machine.ioctl, second=0x5401) == calls.ALLOW
    assert answer(machine.ioctl, second=0x5412) == answer(machine.ioctl, second=0x541C) == calls.FAIL | errno.EPERM
