"""Programs of their own: what they say comes back, and none outlives its server or holds it up."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from lepton.core.errors import EngineError
from lepton.server.apart import LONGEST_S, NICE, Apart

SHELL = "code"
"""A program of Python's own that does what it is told on standard input."""
CONFINED = "from lepton.server.apart import confine; confine(); import os, json, resource\n"
FOREVER = "import pathlib; pathlib.Path({path!r}).write_text(str(os.getpid()))\nwhile True: pass\n\n"


def wait_until(holds: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    until, pause = monotonic() + timeout_s, Event()
    while monotonic() < until and not holds():
        pause.wait(0.01)
    return holds()


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whether or not somebody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_it_answers_and_comes_after_its_server_within_bounds() -> None:
    ask = CONFINED + "print(json.dumps([os.nice(0), resource.getrlimit(resource.RLIMIT_CPU)]))\n"
    nice, limit = json.loads(Apart().run(SHELL, ask.encode()).replace(b">>> ", b""))
    assert nice >= NICE and limit == [LONGEST_S, LONGEST_S]


def test_what_fails_says_how() -> None:
    with pytest.raises(EngineError, match=r"nothing\.there failed: .*No module named"):
        Apart().run("nothing.there", b"")


def test_at_the_end_of_the_server_it_is_ended_and_no_other_begins(tmp_path: Path) -> None:
    apart, path = Apart(), tmp_path / "pid"
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(apart.run, SHELL, (CONFINED + FOREVER.format(path=str(path))).encode())
        assert wait_until(lambda: path.exists() and path.read_text() != "")
        apart.end()
        with pytest.raises(EngineError, match="code failed: "):
            running.result(10)
    assert is_gone(int(path.read_text()))
    with pytest.raises(EngineError, match="the server ends"):
        apart.run(SHELL, b"")


def test_it_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    given = CONFINED + FOREVER.format(path=str(path))
    program = f"from lepton.server.apart import Apart; Apart().run({SHELL!r}, {given.encode()!r})"
    server = subprocess.Popen([sys.executable, "-c", program])
    assert wait_until(lambda: path.exists() and path.read_text() != "")
    server.kill()
    server.wait()
    assert wait_until(lambda: is_gone(int(path.read_text())))
