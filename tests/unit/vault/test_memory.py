"""Buffers of some megabytes are not taken from the kernel, and cleared by it, each time anew."""

import platform
import subprocess
import sys

import pytest

USE = """
import resource
from lepton.vault.memory import keep_freed
{call}
for _ in range(60):
    buffers = [b"x" * (4 << 20) for _ in range(3)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", USE.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_was_freed_is_used_again() -> None:
    assert faults("keep_freed(); keep_freed()") < faults("") / 4


AFTER = """
from pathlib import Path
from lepton.vault.memory import keep_freed
from lepton.vault.store.pools import MUCH_BYTES, Pools
keep_freed()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
pools, before = Pools(1, 1), resident()
boxes = [(bytes(60_000), bytes(1000)) for _ in range(1000)]
kept = [small for _, small in boxes]
del boxes
{passed}
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_after_much_content_what_lies_free_between_what_is_kept_is_given_back() -> None:
    def held(passed: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", AFTER.format(passed=passed)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert held("pools.passed(MUCH_BYTES - 1)") > 40e6
    assert held("pools.own(1); pools.passed(MUCH_BYTES - 1, was_written=True)") > 40e6
    assert held("pools.passed(MUCH_BYTES)") < 20e6
    assert held("pools.passed(MUCH_BYTES // 4, was_written=True)") < 20e6
