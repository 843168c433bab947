"""What a process may beyond its user: nothing that it could gain, and of root's powers only the harmless ones."""

import ctypes
import os
import struct

from lepton.engine.sandbox.kernel import MACHINE, PR_SET_NO_NEW_PRIVS, prctl, syscall

CALLS = {"x86_64": (125, 126), "aarch64": (90, 91)}
"""capget, capset."""
VERSION_3 = 0x2008_0522
ORDINARY = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 14, 23))
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, IPC_LOCK, SYS_NICE: what
programs that expect to be root ask for. None of them reaches beyond the files and processes that are there."""


def gain_none() -> None:
    """From now on no program that is executed has more rights than this process."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop(*, all_of_them: bool) -> None:
    """Give up root's powers, but the ordinary ones of who is root; a user's in a user namespace go too. As no
    privileges can be gained, a program that is executed has none of them either.

    Raises:
        OSError: the kernel refuses.
    """
    if MACHINE not in CALLS:
        return
    head, now = struct.pack("=Ii", VERSION_3, 0), ctypes.create_string_buffer(24)
    syscall(CALLS[MACHINE][0], head, ctypes.addressof(now))
    kept = 0 if all_of_them or os.geteuid() else struct.unpack_from("=6I", now)[1] & ORDINARY
    syscall(CALLS[MACHINE][1], head, struct.pack("=6I", kept, kept, 0, 0, 0, 0))
