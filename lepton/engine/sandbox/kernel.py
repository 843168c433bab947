"""The system calls that Python has no name for."""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
PR_SET_NO_NEW_PRIVS = 38
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
PIDFD_GETFD = 438
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Ask the kernel.

    Raises:
        OSError: it refuses.
    """
    widened = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return checked(int(LIBC.syscall(ctypes.c_long(number), *widened)))


def checked(answer: int) -> int:
    """What a function of the C library has answered.

    Raises:
        OSError: it failed.
    """
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def prctl(option: int, argument: int | bytes) -> None:
    """Set a property of this process; what cannot be set stays as it was."""
    LIBC.prctl(option, argument, 0, 0, 0)
