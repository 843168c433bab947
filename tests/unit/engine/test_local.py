"""What the local engine does beyond the contract: environment, limits, whole trees, files."""

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lepton.core.errors import EngineError
from lepton.core.launch import Devices, ExitReason, Launch
from lepton.engine.local import LocalEngine
from lepton.engine.local.bounds import Ground
from lepton.engine.local.forker import Forker
from lepton.engine.local.gangs import gang_folder
from lepton.engine.local.plan import make_plan
from lepton.engine.shim import records
from lepton.engine.shim.processes import start_of

if TYPE_CHECKING:
    from conftest import Local

SHOW = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"
HOG = "import sys; held = [bytearray(b'x') * (1 << 20) for _ in range(400)]"


def shown(local: "Local", key: str, **more: Any) -> tuple[dict[str, str], str]:
    local.run(key, sys.executable, "-c", SHOW, **more)
    assert local.ended(key).reason == ExitReason.DONE
    env, cwd = json.loads(local.logged(key))
    return env, cwd


def test_a_worker_sees_its_place_in_the_gang_and_nothing_of_the_servers_own_environment(local: "Local") -> None:
    os.environ["SERVER_SECRET"] = "hidden"
    try:
        env, cwd = shown(local, "j.2.1", rank=1, size=3, generation=2, devices=Devices(cpu_milli=2500), gpus=(0, 3))
    finally:
        del os.environ["SERVER_SECRET"]
    wanted = {
        **{"LEPTON_JOB": "j", "LEPTON_GENERATION": "2", "LEPTON_RANK": "1", "LEPTON_SIZE": "3"},
        **{"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3", "GLOO_SOCKET_IFNAME": "lo"},
        **{"CUDA_VISIBLE_DEVICES": "0,3", "NVIDIA_VISIBLE_DEVICES": "0,3", "OMP_NUM_THREADS": "2"},
    }
    assert wanted.items() <= env.items()
    assert "SERVER_SECRET" not in env and env["PATH"] == os.environ["PATH"]
    assert cwd == env["LEPTON_FOLDER"] == str(local.folder / "j.2.1" / "work")


def test_without_gpus_none_is_visible_and_a_fraction_of_a_cpu_is_one_thread(local: "Local") -> None:
    env, _ = shown(local, "k", devices=Devices(cpu_milli=100))
    assert (env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"]) == ("", "1")


def test_what_the_launch_gives_is_never_overwritten(local: "Local", tmp_path: Path) -> None:
    given = {"RANK": "7", "OMP_NUM_THREADS": "5", "PATH": "/bin", "LEPTON_TOKEN": "t"}
    env, cwd = shown(local, "k", env=given, cwd=str(tmp_path))
    assert given.items() <= env.items() and cwd == str(tmp_path)


def test_the_url_file_is_passed_on(tmp_path: Path) -> None:
    launch = Launch(key="k", job="j", command=("x",))
    ground = Ground(hidden=tmp_path, url_file=tmp_path / "url", variables={})
    plan = make_plan(launch, tmp_path / "k", ground, gang=tmp_path, meeting=None)
    assert plan["env"]["LEPTON_URL_FILE"] == str(tmp_path / "url")


def test_a_gang_shares_a_short_folder_until_the_last_is_forgotten(local: "Local") -> None:
    folders = [Path(shown(local, f"j.0.{rank}", rank=rank, size=2)[0]["LEPTON_GANG_FOLDER"]) for rank in (0, 1)]
    assert folders[0] == folders[1] and folders[0].is_dir() and len(str(folders[0])) < 80
    assert stat.S_IMODE(folders[0].parent.stat().st_mode) == 0o700
    local.engine.forget("j.0.0")
    assert folders[0].is_dir()
    local.engine.forget("j.0.1")
    assert not folders[0].exists()


def test_the_token_can_be_read_by_its_owner_only(local: "Local") -> None:
    local.run("k", "true", env={"LEPTON_TOKEN": "secret"})
    local.ended("k")
    folder = local.folder / "k"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert {mode & 0o077 for mode in modes.values()} == {0}, modes


@pytest.mark.parametrize("key", ["", ".", "..", ".hidden", "a/b", "../up", "a b", "a\n", "ä", "k" * 201])
def test_a_key_that_is_no_file_name_is_refused(local: "Local", key: str) -> None:
    with pytest.raises(EngineError, match="cannot be a key"):
        local.run(key, "true")
    assert local.engine.look(key).status == "unknown" and local.engine.log_size(key) == 0


def program(folder: Path, name: str, content: bytes, mode: int = 0o755) -> str:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


ELF_OF_ANOTHER_MACHINE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00\x01\x00\x00\x00" + bytes(40)


def test_what_cannot_be_executed_is_an_ending_with_a_clear_detail(local: "Local", tmp_path: Path) -> None:
    plain = program(tmp_path, "plain", b"#!/bin/sh\n", 0o644)
    homeless = program(tmp_path, "homeless", b"#!/no/such/python -u\n")
    foreign = program(tmp_path, "foreign", ELF_OF_ANOTHER_MACHINE)
    headless = program(tmp_path, "headless", b"echo no first line\n")
    wishes: dict[str, tuple[tuple[str, ...], str, str]] = {
        "missing": (("no-such-program",), "", "Program no-such-program: not found in PATH, "),
        "nowhere": (("/no/such/program",), "", "Program /no/such/program: No such file or directory"),
        "plain": ((plain,), "", f"Permission denied: the file is not executable; chmod +x {plain}"),
        "folder": ((str(tmp_path),), "", "Permission denied: it is a folder"),
        "homeless": ((homeless,), "", "it is there, but its interpreter is not: /no/such/python -u"),
        "foreign": ((foreign,), "", "Exec format error: it is no program for this machine"),
        "headless": ((headless,), "", "no script that begins with #!"),
        "cwd": (("true",), "/no/such/folder", "Working directory /no/such/folder: No such file or directory"),
        "cwd-file": (("true",), plain, f"Working directory {plain}: Not a directory"),
        "nul": (("true", "a\0b"), "", "null byte"),
    }
    for key, (command, cwd, _) in wishes.items():
        local.run(key, *command, cwd=cwd)
    for key, (_, _, said) in wishes.items():
        ended = local.ended(key)
        assert ended.reason == ExitReason.NOT_STARTED and said in ended.detail, (key, ended)


def test_a_signal_that_nobody_here_sent_is_told(local: "Local") -> None:
    local.run("k", "sh", "-c", "kill -SEGV $$")
    assert (local.ended("k").reason, local.ended("k").signal) == (ExitReason.SIGNAL, 11)


def test_stdin_is_empty_and_both_outputs_are_logged_in_order(local: "Local") -> None:
    local.run("k", "sh", "-c", "cat; echo one; echo two >&2; echo three")
    local.ended("k")
    assert local.logged("k") == "one\ntwo\nthree\n"


def test_the_worker_leads_a_session_of_its_own_with_clean_signals(local: "Local") -> None:
    script = "import os, signal; print(os.getsid(0) == os.getpid(), os.getsid(0) != os.getsid(os.getppid()))\n"
    script += "print(open('/proc/self/status').read())"
    local.run("k", sys.executable, "-S", "-c", script)
    local.ended("k")
    log = local.logged("k")
    assert log.startswith("True True\n") and "SigBlk:\t0000000000000000" in log
    local.run("fds", "ls", "-l", "/proc/self/fd")
    local.ended("fds")
    assert [line.split()[8] for line in local.logged("fds").splitlines()[1:]] == ["0", "1", "2", "3"]  # 3: ls itself


TREE = """
(trap '' TERM; setsid sh -c 'trap "" TERM; echo deep $$; sleep 1000 & wait; sleep 1000' &)
echo main $$
"""


def pids_in(log: str) -> dict[str, int]:
    return {name: int(pid) for name, pid in (line.split() for line in log.splitlines())}


def test_stop_kills_a_grandchild_that_left_the_session_and_ignores_sigterm(local: "Local") -> None:
    local.run("k", "sh", "-c", TREE + "sleep 1000")
    local.until_logged("k", "deep")
    pids = pids_in(local.until_logged("k", "main"))
    local.engine.stop("k", grace_s=0.1)
    assert local.ended("k").reason == ExitReason.STOPPED
    assert not [pid for pid in pids.values() if Path("/proc", str(pid)).exists()]


def test_what_a_worker_leaves_behind_is_killed_when_it_ends(local: "Local") -> None:
    local.run("k", "sh", "-c", TREE + f"{local.gate('k')}; exit 5")
    pids = pids_in(local.until_logged("k", "deep"))
    local.release("k")
    assert (local.ended("k").reason, local.ended("k").code) == (ExitReason.FAILED, 5)
    assert not Path("/proc", str(pids["deep"])).exists()


def test_what_the_worker_leaves_when_it_is_stopped_has_the_rest_of_the_grace(local: "Local") -> None:
    saver = "trap 'echo saved; exit' TERM; echo ready; while :; do sleep 1000 & wait; done"
    local.run("k", "sh", "-c", 'sh -c "$SAVER" & wait; exit 4', env={"SAVER": saver})
    local.until_logged("k", "ready")
    local.engine.stop("k", grace_s=20)
    assert local.ended("k").reason == ExitReason.STOPPED
    assert local.logged("k") == "ready\nsaved\n"


@pytest.mark.parametrize("whom", [records.WORKER, records.SHIM])
def test_what_is_halted_hears_of_a_stop_and_ends_in_order(local: "Local", whom: str) -> None:
    local.run("k", "sh", "-c", "trap 'echo saved; exit' TERM; echo ready; while :; do sleep 1000 & wait; done")
    local.until_logged("k", "ready")
    os.kill(local.record("k", whom)["pid"], signal.SIGSTOP)
    local.engine.stop("k", grace_s=20)
    assert local.ended("k").reason == ExitReason.STOPPED
    assert local.logged("k") == "ready\nsaved\n"


def test_a_halted_worker_runs_into_its_timeout(local: "Local") -> None:
    local.run("k", "sh", "-c", "trap '' TERM; kill -STOP $$", timeout_s=0.2, grace_s=0.1)
    assert local.ended("k").reason == ExitReason.TIMEOUT


def test_a_daemon_that_holds_the_output_open_does_not_hold_up_the_end(local: "Local") -> None:
    daemon = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    daemon += "print(f'daemon {os.getpid()}', flush=True)\ntime.sleep(1000)\n"
    command = f'{sys.executable} -S -c "$DAEMON"; {local.gate("k")}; echo main is done'
    local.run("k", "sh", "-c", command, env={"DAEMON": daemon})
    pid = int(local.until_logged("k", "daemon").split()[1])
    local.release("k")
    assert local.ended("k").reason == ExitReason.DONE
    assert "main is done" in local.logged("k") and start_of(pid) == 0


def test_bytes_that_are_no_text_and_no_line_are_kept_as_they_are(local: "Local") -> None:
    script = (
        "import os; data = bytes(range(256)) * 1000; [os.write(1, data[n:n + 1000]) for n in range(0, 256000, 1000)]"
    )
    local.run("k", sys.executable, "-S", "-c", script)
    local.ended("k")
    assert b"".join(local.engine.logs("k")) == bytes(range(256)) * 1000


def test_a_gigabyte_of_output_costs_neither_disk_nor_memory(local: "Local") -> None:
    limit = 1 << 20
    local.run("k", "sh", "-c", "head -c 1073741824 /dev/zero; echo end", log_limit_bytes=limit)
    local.ended("k")
    log = local.folder / "k" / "log"
    assert sum(path.stat().st_size for path in log.iterdir()) <= limit
    assert local.engine.log_size("k") == (1 << 30) + 4
    found = b"".join(local.engine.logs("k"))
    assert found.startswith(b"[lepton: 107") and found.endswith(b"\0end\n")
    assert local.ended("k").peak_memory_bytes < 32 << 20


def test_more_memory_than_allowed_is_an_ending_of_its_own(local: "Local") -> None:
    local.run("k", sys.executable, "-S", "-c", HOG, devices=Devices(memory_bytes=64 << 20))
    ended = local.ended("k")
    assert ended.reason == ExitReason.OUT_OF_MEMORY and "67108864" in ended.detail
    assert 32 << 20 < ended.peak_memory_bytes < 200 << 20


def test_without_a_control_group_the_shim_watches_the_memory_of_the_tree(local: "Local") -> None:
    command = ("sh", "-c", f'{sys.executable} -S -c "{HOG}; sys.stdin.read()" < hold & wait')
    launch = Launch(key="k", job="j", command=command, devices=Devices(memory_bytes=64 << 20))
    folder, gang = local.folder / "k", gang_folder(launch, scope=local.folder)
    ground = Ground(hidden=folder, url_file=None, variables=os.environ)
    plan = make_plan(launch, folder, ground, gang=gang, meeting=None)
    local.engine._prepare(launch, folder, {**plan, "env": {}, "cgroup": ""})
    os.mkfifo(folder / "work" / "hold")
    forker = Forker()
    holder = os.open(folder / "work" / "hold", os.O_RDWR)
    assert forker.fork_shim(folder, plan["env"]) == "ok"
    local.until(lambda: local.engine.look("k").exit)
    os.close(holder)
    forker.close()
    ended = local.ended("k")
    assert ended.reason == ExitReason.OUT_OF_MEMORY and ended.peak_memory_bytes > 64 << 20


def test_a_log_can_be_followed_across_rotation(local: "Local") -> None:
    script = "for n in range(3000): print(f'line {n:05d} of many')"
    local.run("k", sys.executable, "-S", "-c", script, log_limit_bytes=100_000)
    got = b""
    while local.engine.look("k").exit is None or len(got) < local.engine.log_size("k"):
        got += b"".join(local.engine.logs("k", offset=len(got)))
    assert got.decode() == "".join(f"line {n:05d} of many\n" for n in range(3000))
    assert len(os.listdir(local.folder / "k" / "log")) > 4


def test_the_machine_is_one_node(local: "Local") -> None:
    (node,) = local.engine.nodes()
    assert node.devices.cpu_milli <= 1000 * len(os.sched_getaffinity(0))
    assert node.labels["os"] == "linux" and {"arch", "hostname"} <= set(node.labels)


def test_a_closed_engine_starts_nothing(tmp_path: Path) -> None:
    engine = LocalEngine(folder=tmp_path / "engine")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.start(Launch(key="k", job="j", command=("true",)))
