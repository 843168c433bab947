"""Processes as /proc shows them. A process is known by boot, pid and start time: pids alone are given out again."""

import os
from typing import Any

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
DEAD = "ZX"


def identity(pid: int) -> dict[str, Any]:
    """What to record of a process that is alive, so that `is_alive` knows it later."""
    return {"pid": pid, "start": start_of(pid), "boot": boot()}


def boot() -> str:
    """Which start of the machine this is."""
    with open(BOOT_ID, encoding="ascii") as stream:
        return stream.read().strip()


def start_of(pid: int) -> int:
    """When the process started, in ticks since boot; 0 if it is gone or dead (a zombie is dead)."""
    fields = _stat(pid)
    return 0 if fields is None or fields[0] in DEAD else int(fields[19])


def is_alive(known: dict[str, Any] | None) -> bool:
    """Whether the very process of `identity` still runs."""
    return known is not None and known["start"] == start_of(known["pid"]) != 0 and known["boot"] == boot()


def descendants(root: int) -> list[int]:
    """Every living process below `root`, the near ones first."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in DEAD:
            children.setdefault(int(fields[1]), []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    return found


def marked(mark: bytes) -> list[int]:
    """Every living process whose environment has the variable `mark`, NAME=value."""
    return [pid for pid in all_pids() if mark in _environment(pid) and start_of(pid)]


def all_pids() -> list[int]:
    """Every process there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def resident_bytes(pids: list[int]) -> int:
    """Memory of these processes; pages that several share are counted several times."""
    return sum(_resident(pid) for pid in pids)


def proportional_bytes(pids: list[int]) -> int:
    """Memory of these processes with shared pages divided among their users: exact and slow."""
    return sum(_proportional(pid) for pid in pids)


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on: fields 3 to 52 of /proc/pid/stat."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return None


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return stream.read().split(b"\0")
    except OSError:
        return []


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
            return next(int(line.split()[1]) << 10 for line in stream if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        return _resident(pid)
