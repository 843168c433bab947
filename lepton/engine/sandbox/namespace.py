"""A view of the files of its own for this process: some folders are not there, others are all there is.

Who is root makes it as root; everybody else in a user namespace of his own, in which he is who he was before. What
mounts need to lie on is made in one small file system in memory, never on disk.
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
    is_folder: bool


class View(NamedTuple):
    """All that a closed worker sees beside what is its own."""

    seen: Mapping[str, str]
    """Path -> what is seen there. It can be read; what is seen elsewhere than where it lies can be changed too."""
    links: Mapping[str, str]
    """Path -> where it leads."""


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


def hide(private: Iterable[str], own: Iterable[Opening], at: str) -> None:
    """Let private folders be empty and private files be nothing.

    Args:
        own: appears nevertheless, there and anywhere else.
        at: a private folder, which is covered on the way.
    Raises:
        OSError: something cannot be.
    """
    shown = _clone_own(own)
    _mount_empty(at)
    veils = _veils(private, at)
    _place_all([*shown, *veils])
    _close_all(veils)


def replace_root(view: View, private: Iterable[str], own: Iterable[Opening], at: str) -> None:
    """Let these be all files there are.

    Args:
        private, own, at: as for `hide`.
    Raises:
        OSError: something cannot be.
    """
    trees = _clone_all(view.seen, read_only=[path for path, source in view.seen.items() if path == source])
    shown, root = _clone_own(own), f"{at}/root"
    _mount_empty(at)
    os.mkdir(root)
    _place_all(_clone_all({root: None}))
    for path, target in view.links.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    _place_all(trees, under=root)
    _mount_empty(f"{root}/dev/shm", "mode=1777")
    veils = _veils(private, at)
    _place_all([*shown, *veils], under=root)
    _close_all(veils, under=root)
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
        found.append(Tree(fd, path, stat.S_ISDIR(os.fstat(fd).st_mode)))
    return found


def _veils(private: Iterable[str], at: str) -> list[Tree]:
    """What lies over private paths: empty folders, and the null device."""
    sources: dict[str, str | None] = {}
    for number, path in enumerate(private):
        if os.path.isdir(path):
            sources[path] = f"{at}/{number}"
            os.mkdir(f"{at}/{number}")
        elif os.path.exists(path):
            sources[path] = NULL
    return _clone_all(sources)


def _close_all(veils: Iterable[Tree], *, under: str = "") -> None:
    """Nothing more can be put into empty folders."""
    for veil in veils:
        if veil.is_folder:
            _set_attributes(under + veil.path, add=READ_ONLY)


def _place_all(trees: Iterable[Tree], *, under: str = "") -> None:
    """Let them appear, the outer ones first."""
    for tree in sorted(trees, key=lambda tree: tree.path.count("/")):
        path = under + tree.path
        _make_room(path, is_folder=tree.is_folder)
        syscall(MOVE_MOUNT, tree.fd, b"", AT_FDCWD, os.fsencode(path), FROM_FD)
        os.close(tree.fd)


def _make_room(path: str, *, is_folder: bool) -> None:
    """Have something there to mount on."""
    if os.path.exists(path):
        return
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _mount_empty(path: str, options: str = "mode=755") -> None:
    checked(LIBC.mount(b"none", os.fsencode(path), b"tmpfs", NOSUID | NODEV, options.encode()))


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
