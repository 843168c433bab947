"""The local engine when something dies: server, zygote, shim, disk. Nothing may be lost, doubled or left over."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lepton.core.errors import StorageFullError
from lepton.core.launch import ExitReason, Launch
from lepton.engine.local import LocalEngine
from lepton.engine.local.bounds import Ground
from lepton.engine.local.forker import ask
from lepton.engine.local.gangs import gang_folder
from lepton.engine.local.plan import make_plan
from lepton.engine.shim import records
from lepton.engine.shim.processes import start_of

if TYPE_CHECKING:
    from conftest import Local

SERVER = """
import sys
from pathlib import Path
from lepton.core.launch import Launch
from lepton.engine.local import LocalEngine

engine = LocalEngine(folder=Path(sys.argv[1]))
for key, gate in zip(("a", "b"), sys.argv[2:]):
    script = f"echo before; {gate}; echo after; exit 7"
    engine.start(Launch(key=key, job="j", command=("sh", "-c", script)))
print(engine.zygote, flush=True)
sys.stdin.read()
"""
DEEP = "(setsid sh -c 'trap \"\" TERM; echo deep $$; sleep 1000 & wait; sleep 1000' &) ; sleep 1000"


def is_gone(pid: int) -> bool:
    return start_of(pid) == 0


def test_after_kill_9_of_the_server_the_next_one_goes_on_with_logs_and_exit_codes(
    local: "Local",
) -> None:
    command = [sys.executable, "-c", SERVER, str(local.folder), local.gate("a"), local.gate("b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        zygote = int(server.stdout.readline())
        server.kill()
    local.until(lambda: is_gone(zygote))
    local.release("b")  # ends while no engine is there
    local.until(lambda: (local.folder / "b" / records.EXIT).exists())
    local.reopen()
    assert local.engine.keys() == ["a", "b"] and local.engine.look("a").status == "running"
    pid = local.engine.look("a").pid
    local.engine.start(Launch(key="a", job="j", command=("true",)))
    assert local.engine.look("a").pid == pid
    local.release("a")
    for key in ("a", "b"):
        assert (local.ended(key).reason, local.ended(key).code) == (ExitReason.FAILED, 7)
        assert local.logged(key) == "before\nafter\n"


def test_an_adopted_worker_can_be_stopped(local: "Local") -> None:
    local.run("k", "sleep", "1000")
    local.reopen()
    local.engine.stop("k", grace_s=5)
    assert local.ended("k").reason == ExitReason.STOPPED


def test_after_kill_9_of_the_zygote_all_goes_on(local: "Local") -> None:
    local.run("old", "sh", "-c", f"{local.gate('old')}; exit 7")
    zygote = local.engine.zygote
    os.kill(zygote, signal.SIGKILL)
    local.run("new", "sh", "-c", "exit 8")
    assert local.engine.zygote != zygote and local.ended("new").code == 8
    local.release("old")
    assert local.ended("old").code == 7


def test_after_kill_9_of_a_shim_its_worker_is_lost_and_nothing_is_left(local: "Local") -> None:
    local.run("k", "sh", "-c", DEEP)
    deep = int(local.until_logged("k", "deep").split()[1])
    main = local.engine.look("k").pid
    os.kill(local.record("k", records.SHIM)["pid"], signal.SIGKILL)
    ended = local.ended("k")
    assert ended.reason == ExitReason.LOST and "no record" in ended.detail
    assert is_gone(deep) and is_gone(main)
    local.run("k", "true")
    assert local.ended("k") == ended


def test_without_control_groups_a_lost_tree_is_found_by_its_environment(local: "Local") -> None:
    local.run("k", "sh", "-c", DEEP)
    deep = int(local.until_logged("k", "deep").split()[1])
    worker = local.record("k", records.WORKER)
    records.write(str(local.folder / "k" / records.WORKER), {**worker, "cgroups": []})
    os.kill(local.record("k", records.SHIM)["pid"], signal.SIGKILL)
    assert local.ended("k").reason == ExitReason.LOST and is_gone(deep)
    for path in worker["cgroups"]:
        os.rmdir(path)


@pytest.mark.parametrize("torn", ["", '{"reason": "do', "[]"])
def test_a_torn_exit_record_is_an_ending_unknown(local: "Local", torn: str) -> None:
    local.run("k", "true")
    local.ended("k")
    (local.folder / "k" / records.EXIT).write_text(torn)
    assert local.ended("k").reason == ExitReason.LOST
    assert json.loads((local.folder / "k" / records.EXIT).read_text())["reason"] == "lost"


def test_a_shim_of_another_boot_is_dead_whatever_runs_under_its_pid_now(local: "Local") -> None:
    local.run("k", "true")
    local.ended("k")
    (local.folder / "k" / records.EXIT).unlink()
    mine = {**local.record("k", records.SHIM), "pid": os.getpid(), "boot": "another"}
    records.write(str(local.folder / "k" / records.SHIM), mine)
    assert local.ended("k").reason == ExitReason.LOST


def prepare(local: "Local", launch: Launch) -> None:
    """As far as a server comes that is killed before it has the shim forked."""
    folder, gang = local.folder / launch.key, gang_folder(launch, scope=local.folder)
    ground = Ground(folder=folder, hidden=folder, url_file=None, variables=os.environ)
    plan = make_plan(launch, folder, ground, gang=gang, meeting=None)
    local.engine._prepare(launch, folder, {**plan, "env": {}})


def test_a_start_that_a_crash_left_half_done_is_no_key_and_can_be_made_again(local: "Local") -> None:
    launch = Launch(key="k", job="j", command=("sh", "-c", "echo once"))
    prepare(local, launch)
    assert local.engine.look("k").status == "unknown"
    local.engine.start(launch)
    local.ended("k")
    prepare(local, Launch(key="half", job="j", command=("true",)))
    local.reopen()
    assert local.engine.keys() == ["k"] and local.logged("k") == "once\n"


def test_between_plan_and_start_no_file_has_the_variables_and_the_next_server_gives_them_again(local: "Local") -> None:
    launch = Launch(key="k", job="j", command=("sh", "-c", "echo ${#SECRET}"), env={"SECRET": "correct-horse"})
    prepare(local, launch)
    files = [path for path in local.folder.rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"correct-horse" in path.read_bytes()]
    local.reopen()
    local.engine.start(launch)
    assert local.ended("k").code == 0 and local.logged("k") == "13\n"


def test_a_server_that_is_killed_while_it_waits_for_a_shim_costs_the_worker_nothing(local: "Local") -> None:
    launch = Launch(key="k", job="j", command=("sh", "-c", "exit 7"))
    prepare(local, launch)
    reply = ask(local.engine._forker._control, local.folder / "k", {"PATH": os.defpath})
    assert reply is not None
    reply.close()
    local.until(lambda: local.engine.look("k").exit)
    assert (local.ended("k").reason, local.ended("k").code) == (ExitReason.FAILED, 7)


def test_two_engines_on_one_folder_start_a_key_once(local: "Local") -> None:
    other = LocalEngine(folder=local.folder)
    launch = Launch(key="k", job="j", command=("sh", "-c", "echo once"))
    prepare(local, launch)
    for engine in (other, local.engine):
        engine.start(launch)
    local.ended("k")
    other.close()
    assert local.logged("k") == "once\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filler"
    with path.open("ab", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return path
    return path


def test_on_a_full_disk_a_start_is_refused_and_leaves_nothing(small_disk: Path) -> None:
    engine = LocalEngine(folder=small_disk / "engine")
    launch = Launch(key="k", job="full-disk", command=("true",))
    filler = fill(small_disk)
    for room in range(0, 40_000, 4096):  # it may fail at any of its writes
        with filler.open("rb+") as stream:
            stream.truncate(filler.stat().st_size - 4096 if room else filler.stat().st_size)
        try:
            engine.start(launch)
        except StorageFullError as fault:
            assert str(small_disk / "engine") in fault.message
            assert os.listdir(small_disk / "engine") == [] and engine.look("k").status == "unknown"
            assert not gang_folder(launch, scope=small_disk / "engine").exists()
        else:
            break
    assert room > 0 and engine.look("k").status != "unknown"
    while engine.look("k").exit is None:
        engine.stop("k", grace_s=0)
    engine.forget("k")
    engine.close()
    assert not gang_folder(launch, scope=small_disk / "engine").exists()


def test_on_a_disk_that_fills_later_the_ending_is_still_recorded(local: "Local", small_disk: Path) -> None:
    engine = LocalEngine(folder=small_disk / "engine")
    script = f"{local.gate('full')}; echo lost in the full disk; exit 7"
    engine.start(Launch(key="k", job="j", command=("sh", "-c", script)))
    fill(small_disk)
    local.release("full")
    while (ended := engine.look("k").exit) is None:
        pass
    assert (ended.reason, ended.code) == (ExitReason.FAILED, 7)
    engine.forget("k")
    engine.close()
