"""Warm zygotes: their workers are what cold ones are, and whatever happens to a zygote costs no worker anything."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lepton.core.launch import Devices, Exit, ExitReason, Launch
from lepton.engine.local.warm import MOST
from lepton.engine.shim import records
from lepton.engine.shim.processes import all_pids, start_of

if TYPE_CHECKING:
    from conftest import Local

PRELOADED = """
import os, pathlib
IMPORTED_BY = os.getpid()
with open(pathlib.Path(__file__).with_name("imports"), "a") as stream:
    stream.write(f"{os.getpid()}\\n")
"""
JOBS = """
import atexit, ctypes, json, os, random, re, resource, signal, subprocess, sys, threading, time

def show(context):
    import numpy, preloaded
    files = {fd: os.path.exists(f"/proc/self/fd/{fd}") and os.readlink(f"/proc/self/fd/{fd}")
             for fd in sorted(os.listdir("/proc/self/fd"))}
    said = open("/proc/self/environ").read().rstrip("\\0").split("\\0")
    print(json.dumps({
        "env": dict(os.environ), "shown": {pair.partition("=")[0]: pair.partition("=")[2] for pair in said},
        "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(),
        "cmdline": open("/proc/self/cmdline").read().rstrip("\\0").split("\\0"),
        "comm": open("/proc/self/comm").read(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getsid(0) != os.getsid(os.getppid())],
        "files": {fd: name.partition(":")[0] for fd, name in files.items() if name},
        "signals": {number.name: str(signal.getsignal(number)).partition(" at ")[0] for number in signal.Signals},
        "blocked": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "wakeup": signal.set_wakeup_fd(-1),
        "umask": os.umask(0), "nice": os.nice(0), "oom": open("/proc/self/oom_score_adj").read(),
        "limits": [resource.getrlimit(kind) for kind in range(16)],
        "cgroup": re.sub("lepton-[0-9a-f]+", "", open("/proc/self/cgroup").read()),
        "flags": repr(sys.flags), "out": [sys.stdout.encoding, sys.stdout.write_through, sys.stdout.isatty()],
        "threads": [thread.name for thread in threading.enumerate()], "main": __import__("__main__").__name__,
        "tasks": len(os.listdir("/proc/self/task")), "child": subprocess.run(["true"]).returncode,
        "is_warm": preloaded.IMPORTED_BY != os.getpid(), "recursion": sys.getrecursionlimit(),
        "cpu_s": round(time.process_time(), 1) < 5, "death_signal": death_signal(),
        "random": [random.random(), float(numpy.random.random())],
    }))

def death_signal():
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(found))
    return found.value

def end(context):
    how = context.params["how"]
    atexit.register(print, "at exit")
    thread = threading.Thread(target=lambda: (time.sleep(0.05), print("thread done")))
    thread.start()
    if how == "raise":
        raise ValueError("a bug of the user")
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how != "return":
        sys.exit(how)

def native(context):
    libc = ctypes.CDLL(None)
    libc.__cxa_atexit(libc.abort, None, None)
    print("to its end")

def hold(context):
    with open(context.params["gate"]) as gate:
        print("ready", flush=True)
        gate.readline()
    sys.exit(7)

def family(context):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, f"one {os.getpid()}\\n".encode())  # in one piece: the two write at one time
    time.sleep(1000)
"""
ENV = {"LEPTON_URL": "http://127.0.0.1:1", "LEPTON_TOKEN": "token-of-the-job", "LEPTON_ROLE": "worker"}


class Warm:
    """A local engine with warm zygotes, and modules for its jobs."""

    def __init__(self, local: "Local", modules: Path) -> None:
        self.local, self.modules = local, modules

    def add(self, name: str, text: str) -> tuple[str]:
        (self.modules / f"{name}.py").write_text(text)
        return (name,)

    def start(self, key: str, job: str, preload: tuple[str, ...] = ("preloaded",), **more: Any) -> None:
        given = {"env": ENV, **more}
        self.local.engine.start(Launch(key=key, job="j", entry=f"warm_jobs:{job}", preload=preload, **given))

    def ready(self, *preload: str) -> int:
        """Process id of the zygote, once there is one."""
        names = preload or ("preloaded",)
        self.local.engine.warm(names)
        assert self.local.engine.warm_zygotes.wait(names, 30)
        return self.local.engine.warm_zygotes.ready()[names]

    def run(self, key: str, job: str, **more: Any) -> Exit:
        self.start(key, job, **more)
        return self.local.ended(key)

    def shown(self, key: str, **more: Any) -> dict[str, Any]:
        assert self.run(key, "show", **more).reason == ExitReason.DONE, self.local.logged(key)
        found: dict[str, Any] = json.loads(self.local.logged(key))
        return found


@pytest.fixture
def warm(tmp_path: Path, local_with: "type[Local]") -> Iterator[Warm]:
    modules = tmp_path / "modules"
    modules.mkdir()
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{modules}:{before}"
    try:
        bench = Warm(local_with(tmp_path / "engine", warm_s=60), modules)
        bench.add("preloaded", PRELOADED)
        bench.add("warm_jobs", JOBS)
        yield bench
        bench.local.end_all()
    finally:
        os.environ["PYTHONPATH"] = before


def test_a_warm_worker_is_what_a_cold_one_is(warm: Warm, tmp_path: Path) -> None:
    with_all = {"devices": Devices(cpu_milli=2500), "gpus": (1,), "rank": 1, "size": 2, "cwd": str(tmp_path)}
    cold = warm.shown("k.0.1", **with_all)
    warm.ready()
    hot = warm.shown("k.1.1", **with_all, generation=1)
    assert (cold.pop("is_warm"), hot.pop("is_warm")) == (False, True)
    numbers = [*cold.pop("random"), *hot.pop("random")]
    assert len(set(numbers)) == 4
    assert hot.pop("shown") == hot["env"] and cold.pop("shown") == cold["env"]
    for found in (cold, hot):
        del found["env"]["LEPTON_GANG_FOLDER"], found["env"]["LEPTON_GENERATION"]  # of another start
    assert json.loads(json.dumps(hot).replace("k.1.1", "k.0.1")) == cold


def test_two_warm_workers_draw_other_numbers_and_nothing_is_imported_twice(warm: Warm) -> None:
    zygote = warm.ready()
    numbers = [tuple(warm.shown(key)["random"]) for key in ("a", "b")]
    assert len({number for pair in numbers for number in pair}) == 4
    assert (warm.modules / "imports").read_text().split() == [str(zygote)]


def test_libraries_get_the_threads_of_the_launch(warm: Warm) -> None:
    text = "import numpy\nfrom threading import active_count\n"
    text += "import torch\n"
    preload = warm.add("with_torch", text)
    job = "import torch\ndef threads(context):\n    torch.ones(400, 400) @ torch.ones(400, 400)\n"
    warm.add("torch_jobs", job + "    print(torch.get_num_threads(), torch.initial_seed())\n")
    warm.ready(*preload)
    for key, cpu in (("a", 1000), ("b", 3000)):
        devices = Devices(cpu_milli=cpu)
        launch = Launch(key=key, job="j", entry="torch_jobs:threads", preload=preload, env=ENV, devices=devices)
        warm.local.engine.start(launch)
        warm.local.ended(key)
    (one, seed), (three, other) = (warm.local.logged(key).split() for key in ("a", "b"))
    assert (one, three) == ("1", "3") and seed != other


@pytest.mark.parametrize(
    ("how", "reason", "code", "number"),
    [
        ("return", ExitReason.DONE, 0, None),
        (3, ExitReason.FAILED, 3, None),
        ("text", ExitReason.FAILED, 1, None),
        ("raise", ExitReason.FAILED, 1, None),
        ("interrupt", ExitReason.SIGNAL, None, signal.SIGINT),
        ("kill", ExitReason.SIGNAL, None, signal.SIGKILL),
    ],
)
def test_a_warm_worker_ends_as_a_cold_one(
    warm: Warm, how: str | int, reason: ExitReason, code: int | None, number: int | None
) -> None:
    warm.ready()
    ended = warm.run("k", "end", params={"how": how})
    assert (ended.reason, ended.code, ended.signal) == (reason, code, number)
    log = warm.local.logged("k")
    assert ("thread done\nat exit\n" in log) == (how != "kill")
    if how == "raise":
        assert ended.detail == "ValueError: a bug of the user" and "shim" not in log


@pytest.mark.parametrize("is_warm", [True, False])
def test_no_library_is_taken_apart_at_a_workers_end(warm: Warm, is_warm: bool) -> None:
    """Some fall then, if threads of their own still compute."""
    if is_warm:
        warm.ready()
    ended = warm.run("k", "native", preload=("preloaded",) if is_warm else ())
    assert (ended.reason, ended.code) == (ExitReason.DONE, 0)
    assert warm.local.logged("k") == "to its end\n"


def test_what_brings_its_own_variables_starts_cold(warm: Warm) -> None:
    warm.ready()
    assert not warm.shown("a", env={**ENV, "LC_NUMERIC": "C"})["is_warm"]
    assert not warm.shown("b", env={**ENV, "PYTHONPATH": os.environ["PYTHONPATH"] + ":/other"})["is_warm"]
    assert warm.shown("c")["is_warm"]


def test_what_cannot_be_entered_is_an_ending_that_says_why(warm: Warm) -> None:
    warm.ready()
    ended = warm.run("k", "show", cwd="/no/such/folder")
    assert ended.reason == ExitReason.NOT_STARTED and "/no/such/folder" in ended.detail


def test_after_kill_9_of_a_zygote_a_worker_starts_cold_and_the_next_one_warm(warm: Warm) -> None:
    first = warm.ready()
    gate = warm.local.gate("old").split()[-1]
    warm.start("old", "hold", params={"gate": gate})
    warm.local.until_logged("old", "ready")
    os.kill(first, signal.SIGKILL)
    assert "is_warm" in warm.shown("new")
    assert warm.ready() != first and warm.shown("newer")["is_warm"]
    warm.local.release("old")
    assert warm.local.ended("old").code == 7


def test_a_stopped_zygote_costs_a_worker_a_moment_and_is_replaced(warm: Warm) -> None:
    first = warm.ready()
    warm.local.engine.warm_zygotes.patience_s = 0.2
    os.kill(first, signal.SIGSTOP)
    assert not warm.shown("k")["is_warm"]
    assert warm.ready() != first and start_of(first) == 0
    assert warm.local.logged("k").count("\n") == 1


def test_a_module_that_starts_a_thread_is_nothing_to_fork_from(warm: Warm) -> None:
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    preload = warm.add("threaded", text)
    warm.local.engine.warm(preload)
    assert not warm.local.engine.warm_zygotes.wait(preload, 30)
    assert not warm.shown("k", preload=preload)["is_warm"]
    assert not warm.local.engine.warm_zygotes.wait(preload, 0)


def test_a_module_that_is_missing_or_broken_is_passed_over(warm: Warm) -> None:
    broken = warm.add("broken", "raise OSError('broken')")
    preload = (*broken, "no_such_module", "preloaded")
    warm.ready(*preload)
    assert warm.shown("k", preload=preload)["is_warm"]


def test_a_module_that_ends_its_process_is_tried_a_few_times_only(warm: Warm) -> None:
    preload = warm.add("deadly", "import os\nopen(__file__ + '.tries', 'a').write('x')\nos._exit(1)\n")
    for _ in range(5):
        warm.local.engine.warm(preload)
        assert not warm.local.engine.warm_zygotes.wait(preload, 30)
    assert (warm.modules / "deadly.py.tries").read_text() == "xxx"
    assert not warm.shown("k", preload=preload)["is_warm"]


def test_only_a_few_zygotes_live_at_once_and_the_one_used_longest_ago_makes_room(warm: Warm) -> None:
    names = [warm.add(f"set_{number}", "")[0] for number in range(MOST + 1)]
    pids = [warm.ready(name) for name in names[:MOST]]
    warm.shown("k", preload=(names[0],))
    warm.ready(names[MOST])
    warm.local.until(lambda: start_of(pids[1]) == 0)
    assert set(warm.local.engine.warm_zygotes.ready()) == {(names[0],), *((name,) for name in names[2:])}


def test_an_unused_zygote_ends(warm: Warm, tmp_path: Path, local_with: "type[Local]") -> None:
    other = local_with(tmp_path / "other", warm_s=0.2)
    other.engine.warm(("preloaded",))
    assert other.engine.warm_zygotes.wait(("preloaded",), 30)
    (pid,) = other.engine.warm_zygotes.ready().values()
    other.until(lambda: not other.engine.warm_zygotes.ready())
    assert pid not in all_pids()
    other.end_all()


def test_switched_off_there_is_none(tmp_path: Path, local_with: "type[Local]") -> None:
    local = local_with(tmp_path / "engine", warm_s=0)
    local.engine.warm(("json",))
    assert not local.engine.warm_zygotes.wait(("json",), 0)
    local.end_all()


SERVER = """
import sys
from pathlib import Path
from lepton.core.launch import Launch
from lepton.engine.local import LocalEngine

engine = LocalEngine(folder=Path(sys.argv[1]), warm_s=600)
engine.warm(("preloaded",))
assert engine.warm_zygotes.wait(("preloaded",), 30)
env = {"LEPTON_URL": "http://127.0.0.1:1", "LEPTON_TOKEN": "t"}
params = {"gate": sys.argv[2]}
engine.start(Launch(key="k", job="j", entry="warm_jobs:hold", preload=("preloaded",), params=params, env=env))
print(*engine.warm_zygotes.ready().values(), flush=True)
sys.stdin.read()
"""


def test_after_kill_9_of_the_server_its_zygotes_end_and_its_warm_workers_are_adopted(warm: Warm) -> None:
    local, gate = warm.local, warm.local.gate("k").split()[-1]
    command = [sys.executable, "-c", SERVER, str(local.folder), gate]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        zygote = int(server.stdout.readline())
        server.kill()
    local.until(lambda: start_of(zygote) == 0)
    local.reopen()
    assert local.engine.look("k").status == "running"
    local.until_logged("k", "ready")
    local.release("k")
    assert local.ended("k").code == 7


def test_a_lost_warm_worker_leaves_no_process_though_it_has_forked(warm: Warm) -> None:
    warm.ready()
    warm.start("k", "family")
    local = warm.local
    local.until(lambda: local.logged("k").count("\n") == 2)
    pids = [int(line.split()[1]) for line in local.logged("k").splitlines()]
    worker = local.record("k", records.WORKER)
    records.write(str(local.folder / "k" / records.WORKER), {**worker, "cgroups": []})  # to be found by its environment
    os.kill(local.record("k", records.SHIM)["pid"], signal.SIGKILL)
    assert local.ended("k").reason == ExitReason.LOST
    assert [start_of(pid) for pid in pids] == [0, 0]
    for path in worker["cgroups"]:
        os.rmdir(path)


@pytest.mark.parametrize("is_warm", [False, True])
def test_a_launchs_variables_never_touch_the_disk(warm: Warm, is_warm: bool) -> None:
    local, secret = warm.local, b"never-on-disk-" + os.urandom(6).hex().encode()
    if is_warm:
        zygote = warm.ready()
    warm.start("k", "hold", params={"gate": local.gate("k").split()[-1]}, env={**ENV, "LEPTON_TOKEN": secret.decode()})
    local.until_logged("k", "ready")
    pid = local.engine.look("k").pid
    assert files_with(secret, local.folder.parent) == []
    assert secret in Path("/proc", str(pid), "environ").read_bytes()
    if is_warm:
        assert secret not in memory_of(zygote)
    local.release("k")
    local.ended("k")
    assert files_with(secret, local.folder.parent) == []


def files_with(text: bytes, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def memory_of(pid: int) -> bytes:
    """All that a process could give away: its private, written pages."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            start, end = (int(edge, 16) for edge in place.split("-"))
            if rights.startswith("rw"):
                memory.seek(start)
                found.append(memory.read(end - start))
    assert b"preloaded" in b"".join(found)
    return b"".join(found)
