"""A warm zygote, and how its fork becomes a worker that is no different from one that Python started afresh."""

import ctypes
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable

from lepton.engine.leaving import leave_whole
from lepton.engine.sandbox.kernel import LIBC, PR_SET_NAME, prctl
from lepton.engine.shim.worker import Reborn, door_of
from lepton.engine.shim.zygote import serve_forks, take_control, threads

ENTRY = "lepton.engine.entry"
ROOM = "LEPTON_ROOM"
"""A variable of the zygote that is only long: there /proc/<pid>/environ of a worker has room for its own variables."""
BLAS_SETTERS = ("openblas_set_num_threads", "scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads")
READY = "ready"


def main(idle_s: float, preload: list[str]) -> None:
    """Be a warm zygote, on the socket that is standard input; in a worker, run its entry and exit."""
    control = take_control(b"lepton-warm")
    ended = leave_whole()
    run = importlib.import_module(ENTRY).main
    fault = import_all(preload)
    control.send((fault or READY).encode(), socket.MSG_NOSIGNAL)
    if fault:
        return
    kept = open_files() - {0, 1, 2, control.fileno()}
    try:
        serve_forks(control, idle_s=idle_s)
    except Reborn as reborn:
        variables = reborn.variables
    else:
        return
    settle(variables, kept)
    ended.append(run())
    sys.exit(ended[0])


def import_all(names: list[str]) -> str:
    """Import the modules; return which one started a thread, which no fork would have. One that fails is passed over:
    the worker that needs it says why, in its own log."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - an import runs any code
            continue
        if threads() != 1:
            return f"{name} starts a thread when it is imported"
    return ""


def settle(variables: dict[str, str], kept: set[int]) -> None:
    """Make this fork what `python -m lepton.engine.entry` would be with these variables.

    Args:
        kept: descriptors that the imported libraries hold.
    """
    signal.set_wakeup_fd(-1)
    close_others(kept.union(door_of(variables)))
    room = _address_of(ROOM)
    show_arguments([sys.executable, "-m", ENTRY])
    prctl(PR_SET_NAME, os.path.basename(sys.executable).encode())
    os.environ.clear()
    os.environ.update(variables)
    show_variables(room, variables)
    sys.argv = [str(sys.modules[ENTRY].__file__)]
    sys.orig_argv = [sys.executable, "-m", ENTRY]
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python sets them at its start
        signal.signal(number, signal.SIG_IGN)
    seed_anew()
    set_threads(int(variables.get("OMP_NUM_THREADS", "1")))


def close_others(kept: set[int]) -> None:
    """Close what zygote and shim had open, as an execution would."""
    for fd in open_files() - {0, 1, 2} - kept:
        os.close(fd)


def open_files() -> set[int]:
    """Descriptors that are open."""
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # it was of the listing itself
        return False
    return True


def seed_anew() -> None:
    """No two workers draw the same numbers; `random` has seen to it itself."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def set_threads(count: int) -> None:
    """What OMP_NUM_THREADS would have set, had it been there when the libraries were imported."""
    if count == 1:
        return
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    for setter in _blas_setters():
        setter(count)


def _blas_setters() -> list[Callable[[int], object]]:
    with open("/proc/self/maps", encoding="utf-8") as stream:
        paths = {line.split()[-1] for line in stream if "openblas" in line}
    libraries = [ctypes.CDLL(path) for path in paths]
    return [getattr(found, name) for found in libraries for name in BLAS_SETTERS if hasattr(found, name)]


def show_arguments(argv: list[str]) -> None:
    """Let /proc/<pid>/cmdline say this; cut off where there is no room."""
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    _write_over(start, end - start, b"\0".join(map(os.fsencode, argv)))


def show_variables(room: int, variables: dict[str, str]) -> None:
    """Let /proc/<pid>/environ say this, first what a lost worker is found by; cut off where it is too much."""
    if room:
        names = sorted(variables, key=lambda name: name != "LEPTON_FOLDER")
        text = b"\0".join(os.fsencode(f"{name}={variables[name]}") for name in names)
        _write_over(room - len(ROOM) - 1, len(ctypes.string_at(room)) + len(ROOM) + 1, text)


def _address_of(name: str) -> int:
    LIBC.getenv.restype = ctypes.c_void_p
    return LIBC.getenv(name.encode()) or 0


def _write_over(start: int, size: int, text: bytes) -> None:
    if start and size > 1:
        ctypes.memmove(start, text[: size - 1].ljust(size, b"\0"), size)
