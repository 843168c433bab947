"""A view of the files of its own for this process: some folders are not there, others are all there is.

Who is root makes it as root; everybody else in a user namespace of his own, in which he is who he was before. Nothing
is made here but mounts of what is there: what a mount needs to lie on, the engine has laid out before.
"""

import os
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lepton.engine.sandbox.kernel import LIBC, MOUNT_SETATTR, MOVE_MOUNT, OPEN_TREE, checked, syscall
from lepton.engine.sandbox.landlock import Opening

AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
CLONE_TREE, CLOSE_ON_EXEC, FROM_FD = 1, 0o2000000, 4
NEW_MOUNTS, NEW_IPC, NEW_USERS = 0x0002_0000, 0x0800_0000, 0x1000_0000
NOSUID, NODEV, MOVE = 2, 4, 0x2000
READ_ONLY, NO_DEVICES = 1, 4
SLAVE = 1 << 19
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "dri", "kfd", "infiniband", "dxg")
"""What of /dev every worker may have, beside those whose names begin as follows."""
DEVICE_STARTS = ("nvidia", "accel")
TERMINALS = {"/dev/pts": "/dev/pts", "/dev/ptmx": "/dev/pts/ptmx"}
"""Where -> from where: a bind of /dev/ptmx itself finds no terminals."""
RAW = ("mem", "kmem", "port", "mapper", "disk", "loop-control", "fuse", "btrfs-control")
FIXED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq")
"""Settings of the whole machine, which root could write."""
NULL = "/dev/null"


class Tree(NamedTuple):
    """A part of the files, held by a descriptor, that is to appear at a path."""

    fd: int
    path: str


def enter(*, ipc: bool = False) -> None:
    """Be in mount points of its own, from which nothing gets out to others'.

    Raises:
        OSError: this user may not.
    """
    user, group = os.geteuid(), os.getegid()
    checked(LIBC.unshare(NEW_MOUNTS | (NEW_IPC if ipc else 0) | (NEW_USERS if user else 0)))
    if user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _set_attributes("/", propagation=SLAVE, recursive=True)


def fix_machine() -> None:
    """Let nobody set here what holds for the whole machine, control groups among it; root has no disks any more.

    Raises:
        OSError: something cannot be.
    """
    _set_attributes("/sys", add=READ_ONLY, recursive=True)
    if os.geteuid():
        return
    devices = _clone_all(dict.fromkeys(common_devices()) | TERMINALS)
    fixed = _clone_all(dict.fromkeys(FIXED), read_only=FIXED)
    _set_attributes("/", add=NO_DEVICES, recursive=True)
    _place_all([*devices, *fixed])


def hide(veils: Mapping[str, str], own: Iterable[Opening]) -> None:
    """Let other folders, or the null device, lie over what is private.

    Args:
        veils: private path -> what lies over it.
        own: appears nevertheless, there and anywhere else.
    Raises:
        OSError: something cannot be.
    """
    _place_all([*_clone_own(own), *_clone_all(veils, read_only=veils)])


def replace_root(root: str, seen: Mapping[str, str], veils: Mapping[str, str], own: Iterable[Opening]) -> None:
    """Let what lies in `root`, and what is laid on it, be all files there are.

    Args:
        seen: path -> what is seen there. It can be read; what is seen elsewhere than where it lies, changed too.
        veils, own: as for `hide`.
    Raises:
        OSError: something cannot be.
    """
    base = _clone_all({root: None})
    trees = _clone_all(seen, read_only=[path for path, source in seen.items() if path == source])
    shown, hidden = _clone_own(own), _clone_all(veils, read_only=veils)
    _place_all(base)
    _place_all(trees, under=root)
    _mount_empty(f"{root}/dev/shm")
    _place_all([*shown, *hidden], under=root)
    _set_attributes(root, add=READ_ONLY)
    os.chdir(root)
    checked(LIBC.mount(b".", b"/", None, MOVE, None))
    os.chroot(".")
    os.chdir("/")


def common_devices() -> list[str]:
    """What of /dev every worker may have."""
    return [f"/dev/{name}" for name in os.listdir("/dev") if name in DEVICES or name.startswith(DEVICE_STARTS)]


def disks() -> list[str]:
    """Devices that hold the files of all; only root could read them."""
    if os.geteuid():
        return []
    entries = [entry for entry in os.scandir("/dev") if not entry.is_symlink()]
    return [each.path for each in entries if stat.S_ISBLK(each.stat().st_mode) or each.name in RAW]


def settings() -> list[str]:
    """Where the machine is set; only root could write there."""
    return [] if os.geteuid() else ["/proc", "/sys"]


def _clone_own(own: Iterable[Opening]) -> list[Tree]:
    modes = dict(own)
    return _clone_all(dict.fromkeys(modes), read_only=[path for path, mode in modes.items() if mode == "r"])


def _clone_all(sources: Mapping[str, str | None], read_only: Iterable[str] = ()) -> list[Tree]:
    """Hold what is to appear at each path, from there or elsewhere; what is not there is passed over."""
    found, fixed = [], frozenset(read_only)
    for path, source in sources.items():
        try:
            fd = syscall(OPEN_TREE, AT_FDCWD, os.fsencode(source or path), CLONE_TREE | CLOSE_ON_EXEC | AT_RECURSIVE)
        except FileNotFoundError:
            continue
        if path in fixed:
            _set_attributes("", add=READ_ONLY, recursive=True, fd=fd)
        found.append(Tree(fd, path))
    return found


def _place_all(trees: Iterable[Tree], *, under: str = "") -> None:
    """Let them appear, the outer ones first."""
    for tree in sorted(trees, key=lambda tree: tree.path.count("/")):
        syscall(MOVE_MOUNT, tree.fd, b"", AT_FDCWD, os.fsencode(under + tree.path), FROM_FD)
        os.close(tree.fd)


def _mount_empty(path: str) -> None:
    checked(LIBC.mount(b"none", os.fsencode(path), b"tmpfs", NOSUID | NODEV, b"mode=1777"))


def _set_attributes(
    path: str, *, add: int = 0, propagation: int = 0, recursive: bool = False, fd: int = AT_FDCWD
) -> None:
    flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    attributes = struct.pack("=QQQQ", add, 0, propagation, 0)
    syscall(MOUNT_SETATTR, fd, os.fsencode(path), flags, attributes, len(attributes))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
