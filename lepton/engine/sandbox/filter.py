"""System calls that no worker needs and many a break-out does: they fail with EPERM. A seccomp program, made by hand.

What programs try first and can do without (`clone3`, calls of another kind of machine) fails with ENOSYS: they then
do it another way.
"""

import ctypes
import errno
import struct
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from lepton.engine.sandbox.kernel import MACHINE, syscall

REFUSED: Mapping[str, tuple[int, int]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    # large parts of the kernel that have let many out
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    # files without a path
    "open_by_handle_at": (304, 265),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
}
"""Name -> number on x86_64, on aarch64."""
NEW_NAMESPACES = 0x7E02_0000
"""Flags of `clone`."""
TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into a terminal."""


class Machine(NamedTuple):
    """What differs between kinds of processors."""

    column: int
    """In `REFUSED`."""
    mark: int
    """AUDIT_ARCH_..."""
    clone: int
    ioctl: int
    seccomp: int


MACHINES = {
    "x86_64": Machine(0, 0xC000_003E, clone=56, ioctl=16, seccomp=317),
    "aarch64": Machine(1, 0xC000_00B7, clone=220, ioctl=29, seccomp=277),
}
CLONE3 = 435
X32 = 0x4000_0000
"""From here on x86_64 takes calls of a second kind, with numbers of their own."""
LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, KIND, FIRST, SECOND = 0, 4, 16, 24
"""Where in what the kernel shows of a call these lie: the low halves of its first arguments."""
ALLOW, FAIL = 0x7FFF_0000, 0x0005_0000
SET_FILTER, ALLOW_SPECULATION = 1, 4


def can_filter() -> bool:
    """Whether there is a program for this kind of machine."""
    return MACHINE in MACHINES


def prepare() -> None:
    """Make what the forks of this process will need."""
    if can_filter():
        program(MACHINES[MACHINE])


def refuse() -> None:
    """Let these calls fail from now on, here and in all that this process starts. It must gain no privileges.

    Raises:
        OSError: the kernel has no such filters.
    """
    code = program(MACHINES[MACHINE])
    memory = ctypes.create_string_buffer(code)
    head = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    syscall(MACHINES[MACHINE].seccomp, SET_FILTER, ALLOW_SPECULATION, head)


@cache
def program(machine: Machine) -> bytes:
    """The filter: instructions of 8 bytes. A zygote has it made before it forks."""
    refuse, unknown = _fail(errno.EPERM), _fail(errno.ENOSYS)
    numbers = [pair[machine.column] for pair in REFUSED.values()]
    return b"".join(
        [
            _step(LOAD, KIND),
            *_unless(EQUAL, machine.mark, unknown),
            _step(LOAD, NUMBER),
            *_when(AT_LEAST, X32, unknown),
            *_when(EQUAL, CLONE3, unknown),
            *[part for number in numbers for part in _when(EQUAL, number, refuse)],
            *_within(machine.clone, [_step(LOAD, FIRST), *_when(ANY_OF, NEW_NAMESPACES, refuse)]),
            *_within(
                machine.ioctl,
                [_step(LOAD, SECOND), *[part for each in TERMINAL_INPUT for part in _when(EQUAL, each, refuse)]],
            ),
            _step(RETURN, ALLOW),
        ]
    )


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _fail(number: int) -> bytes:
    return _step(RETURN, FAIL | number)


def _when(test: int, value: int, then: bytes) -> list[bytes]:
    return [_step(test, value, 0, 1), then]


def _unless(test: int, value: int, then: bytes) -> list[bytes]:
    return [_step(test, value, 1, 0), then]


def _within(number: int, steps: list[bytes]) -> list[bytes]:
    """Steps for one call only; they end with leave for it."""
    return [_step(EQUAL, number, 0, len(steps) + 1), *steps, _step(RETURN, ALLOW)]
