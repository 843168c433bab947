"""Locks between processes on one machine, by files; who is refused is told who holds one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lepton.core.errors import ConfigError

MOST_SHOWN = 120


@contextmanager
def held(path: Path, *, is_shared: bool = False) -> Iterator[None]:
    """Hold a lock, alone or beside others that share it.

    Raises:
        ConfigError: somebody else holds it; the message says who.
    """
    with path.open("a+") as lock:
        take(lock, path, is_shared=is_shared)
        yield


def take(lock: IO[str], path: Path, *, is_shared: bool = False) -> None:
    """Lock an open file; raises as `held`."""
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as fault:
        who = holders(path)
        said = "; ".join(f"process {pid}, {command}" for pid, command in who) or "a process that cannot be seen here"
        raise ConfigError(
            f"{path.parent} is in use by {said}",
            fix="Wait until it has ended, and say this again.",
        ) from fault


def holders(path: Path) -> list[tuple[int, str]]:
    """(id, command) of the processes that hold a lock of this file, as far as the kernel shows them to us."""
    try:
        inode, lines = path.stat().st_ino, Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines if " FLOCK " in line and "->" not in line]  # an arrow: one that waits
    pids = sorted({int(each[4]) for each in words if each[5].rpartition(":")[2] == str(inode)})
    return [(pid, _command(pid)) for pid in pids if pid > 0 and _has_open(pid, path)]


def _has_open(pid: int, path: Path) -> bool:
    """Whether it may be this file: another file system may have one of the same number."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as found:
            for each in found:
                with suppress(OSError):
                    if path.samefile(each.path):
                        return True
        return False
    except PermissionError:
        return True
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "of which no more is known"
    return " ".join(filter(None, words))[:MOST_SHOWN]
