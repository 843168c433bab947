"""Start a server, wait until it answers, and end it and all it started; it also ends when the tests are killed."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from threading import Event
from time import monotonic

import pytest

from lepton.vault.drivers.credentials import Credentials

MEMORY, ROOMY_BYTES = Path("/dev/shm"), 4 << 30
START_S = 120.0
DEATH = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A storage that runs, and how to get in."""

    url: str
    credentials: Credentials = field(default_factory=Credentials)
    port: int = 0
    folder: Path = Path()
    """What it was started in; its files may lie there."""


def program(name: str, package: str) -> str:
    """Path of a program; without it the test is skipped, or fails where all storages are required."""
    found = shutil.which(
        name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    )
    return found or absent(f"{name} is not installed: {package}")


def library(name: str, extra: str) -> None:
    """The client's package must be there, too."""
    if find_spec(name) is None:
        absent(f"{name} is not installed: pip install 'lepton-platform[{extra}]'")


def absent(reason: str) -> str:
    """Skip, or fail where all storages are required."""
    if os.environ.get("LEPTON_TEST_STORAGES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def scratch(name: str, *, in_memory: bool = False) -> Iterator[Path]:
    """A folder directly below /tmp (some servers refuse long paths), gone at the end; in memory where that has room."""
    is_roomy = in_memory and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOMY_BYTES
    folder = Path(mkdtemp(prefix=f"lepton-test-{name}-", dir=MEMORY if is_roomy else "/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    command: list[str], folder: Path, is_ready: Callable[[], bool], *, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The server, answering. Its output goes to `folder/log`, and into the error if it does not come up."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        wait_until(is_ready, lambda: _trouble(process, folder))
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def wait_until(
    is_true: Callable[[], bool], trouble: Callable[[], str] = lambda: "", *, seconds: float = START_S
) -> None:
    """Ask again until it is true; absent at once on trouble, else after a while."""
    end, pause = monotonic() + seconds, Event()
    while not is_true():
        if (said := trouble()) or monotonic() > end:
            absent(f"The server did not come up: {said or 'no answer'}")
        pause.wait(0.1)


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _trouble(process: subprocess.Popen[bytes], folder: Path) -> str:
    if process.poll() is None:
        return ""
    return f"it ended with {process.returncode}: " + (folder / "log").read_text(errors="replace")[-2000:]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(DEATH, signal.SIGKILL)
