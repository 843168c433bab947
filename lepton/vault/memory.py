"""Memory that was used once is used again: glibc would give it back to the kernel, which clears it anew each time.

Content passes in buffers of some megabytes. Without this a sequential read has 200 faults for each megabyte, and two
fifths of its time go into clearing pages. After much content has come in all that is free is given back, once.
"""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""
KEPT_BYTES = 16 << 20
"""What is freed stays here up to so much, for each arena."""
ARENAS = 2


def keep_freed() -> None:
    """Let the process keep some of the memory that it frees. Elsewhere than on glibc nothing happens; twice is once."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((TRIM_THRESHOLD, KEPT_BYTES), (MMAP_THRESHOLD, KEPT_BYTES), (ARENA_MAX, ARENAS)):
            mallopt(option, value)


def give_back() -> None:
    """Give the kernel all that is free. Elsewhere than on glibc nothing happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
