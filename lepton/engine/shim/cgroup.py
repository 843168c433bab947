"""Control groups for one worker, where this process may make them: version 1 or 2, found by trying.

Without any, `Cgroup.has_memory` is False and the shim watches the memory of its tree itself.
"""

import os
from collections.abc import Iterator

MOUNTS = "/proc/self/mounts"
OWN = "/proc/self/cgroup"


class Cgroup:
    """The groups made for one worker."""

    def __init__(self, paths: list[str], *, has_memory: bool) -> None:
        self.paths = paths
        self.has_memory = has_memory
        """Whether a group holds the memory limit."""

    def join(self) -> None:
        """Move this process in; it must have one thread. Its children will be born there."""
        for path in self.paths:  # version 1 moves a thread that moves itself without waiting some 10 ms for all CPUs
            if not _put(path, "tasks", "0"):
                _put(path, "cgroup.procs", "0")

    def confirm(self, pid: int) -> None:
        """See whether the worker is in; if not, the groups hold no limit for it."""
        self.has_memory = self.has_memory and pid in members(self.paths)

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for lack of memory."""
        found = [_field(path, name) for path in self.paths for name in ("memory.oom_control", "memory.events")]
        return max(found, default=0)

    def remove(self) -> None:
        """Delete the groups; they must be empty."""
        remove_groups(self.paths)


def make_cgroup(name: str, *, memory_bytes: int, cpu_milli: int) -> Cgroup:
    """Make a group that limits memory (0: does not) and gives CPU time in proportion."""
    paths, has_memory = [], False
    for parent, controllers, version in _parents():
        path = os.path.join(parent, name)
        if not memory_bytes and "cpu" not in controllers:
            continue
        try:
            os.mkdir(path)
        except OSError:
            continue
        paths.append(path)
        if "memory" in controllers and memory_bytes:
            has_memory = _limit_memory(path, memory_bytes, version)
        if "cpu" in controllers and version == 1:
            _put(path, "cpu.shares", str(max(2, cpu_milli * 1024 // 1000)))
        elif "cpu" in controllers:
            _put(path, "cpu.weight", str(min(10_000, max(1, cpu_milli // 10))))
    return Cgroup(paths, has_memory=has_memory)


def members(paths: list[str]) -> list[int]:
    """Processes that are in any of the groups."""
    return [int(pid) for path in paths for pid in _get(path, "cgroup.procs").split()]


def remove_groups(paths: list[str]) -> None:
    """Delete groups; one that is gone or in use is passed over."""
    for path in paths:
        try:
            os.rmdir(path)
        except OSError:
            continue


def _parents() -> Iterator[tuple[str, list[str], int]]:
    """Folder, controllers and version of each hierarchy in which a group could be made."""
    mounts: dict[str, set[str]] = {}
    with open(MOUNTS, encoding="utf-8") as stream:
        for _, folder, kind, words in (line.split()[:4] for line in stream):
            if kind in ("cgroup", "cgroup2"):
                mounts[folder] = set(words.split(",")) if kind == "cgroup" else set()
    with open(OWN, encoding="utf-8") as stream:
        own = [line.rstrip("\n").split(":", 2) for line in stream]
    for _, names, path in own:
        for folder, options in mounts.items():
            parent = folder + path.rstrip("/")
            if not names and not options:
                enabled = _get(parent, "cgroup.subtree_control").split()
                if "memory" in enabled or "cpu" in enabled:
                    yield parent, enabled, 2
            elif names and {"memory", "cpu"} & set(names.split(",")) & options:
                yield parent, names.split(","), 1


def _limit_memory(path: str, memory_bytes: int, version: int) -> bool:
    if version == 2:
        _put(path, "memory.swap.max", "0")
        return _put(path, "memory.max", str(memory_bytes)) and _put(path, "memory.oom.group", "1")
    is_set = _put(path, "memory.limit_in_bytes", str(memory_bytes))
    _put(path, "memory.memsw.limit_in_bytes", str(memory_bytes))
    return is_set


def _put(path: str, name: str, text: str) -> bool:
    try:
        with open(os.path.join(path, name), "r+b", buffering=0) as stream:
            stream.write(text.encode())
    except OSError:
        return False
    return True


def _get(path: str, name: str) -> str:
    try:
        with open(os.path.join(path, name), encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def _field(path: str, name: str) -> int:
    """The value after `oom_kill` in a file of `word number` lines."""
    rows = (line.split() for line in _get(path, name).splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == "oom_kill"), 0)
