"""Buffers of some megabytes are not taken from the kernel, and cleared by it, each time anew."""

import platform
import subprocess
import sys

import pytest

USE = """
import resource
from lepton.vault.memory import keep_freed
{call}
for _ in range(30):
    buffers = [b"x" * (8 << 20) for _ in range(3)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", USE.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_was_freed_is_used_again() -> None:
    assert faults("keep_freed(); keep_freed()") < faults("") / 4
