"""A disk that is soon full: a tmpfs of a few MiB."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.backends.process import absent, scratch

SIZE_BYTES = 8 << 20


@contextmanager
def small_disk() -> Iterator[Path]:
    """A folder with room for 8 MiB."""
    with scratch("small") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=777", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            absent(f"No tmpfs can be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
