"""Landlock: rights that a process and all it starts can only lose. For who has lost any, all outside is out of reach:
it can trace, and read the memory, variables and open files of, its own descendants only.

Linux 5.13 has version 1; version 2 can rename between folders, 6 can bound signals and abstract sockets.
"""

import os
import stat
import struct
from collections.abc import Iterable, Iterator

from lepton.engine.sandbox.kernel import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

LEAST = 2
"""Under version 1 no file could be moved between two folders."""
SCOPES_SINCE = 6
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_BLOCK, REFER, TRUNCATE, IOCTL_DEV = 1 << 11, 1 << 13, 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READING = EXECUTE | READ_FILE | READ_DIR
ABSTRACT_SOCKETS, SIGNALS = 1, 2

Opening = tuple[str, str]
"""Path, and `r`: it may be read and executed, or `w`: anything may be done with it. It counts for all below."""


def version() -> int:
    """Of what the kernel has; 0: nothing."""
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, 0, VERSION_FLAG)
    except OSError:
        return 0


def all_rights(abi: int) -> int:
    """Every right on files that this version knows."""
    return (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1


def restrict(abi: int, openings: Iterable[Opening] | None, *, lists: bool, scopes: int) -> None:
    """Give up, for ever, what is not opened. The process must have one thread and gain no privileges.

    Args:
        openings: what stays open; one that is not there is passed over. None: all files as before.
        lists: whether the names in every folder can still be listed.
        scopes: of `ABSTRACT_SOCKETS` and `SIGNALS`; bound to this process and its descendants where the version can.
    Raises:
        OSError: the kernel refuses.
    """
    scopes = scopes if abi >= SCOPES_SINCE else 0
    if openings is not None:
        handled = all_rights(abi) & ~(READ_DIR if lists else 0)
    else:  # a domain there must be, even one that loses next to nothing
        handled, openings = (0, ()) if scopes else (REFER | MAKE_BLOCK, [("/", "w")])
    attributes = struct.pack("=QQQ", handled, 0, scopes)[: 24 if abi >= SCOPES_SINCE else 8]
    rules = syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path, mode in openings:
            _allow(rules, path, handled if mode == "w" else handled & READING)
        syscall(LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= ON_FILES
        if rights:
            syscall(LANDLOCK_ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


def around(path: str, holes: Iterable[str], mode: str) -> Iterator[Opening]:
    """Open a path but for the holes in it, as the list of what lies beside the way to them.

    What comes into being beside the way later is not open.
    """
    own = [hole for hole in holes if is_below(hole, path)]
    if path in own:
        return
    if not own:
        yield path, mode
        return
    try:
        entries = [(entry.path, entry.is_symlink()) for entry in os.scandir(path)]
    except OSError:
        return
    for below, is_link in entries:
        if not is_link:
            yield from around(below, own, mode)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is the folder or lies in it."""
    return path == folder or folder == "/" or path.startswith(f"{folder}/")
