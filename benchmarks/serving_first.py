"""On a machine that others use: the servers that are measured, and `wrk`, go before everybody else. Linux, as root.

Everything that this process has started is found by a variable of its environment, and what our engine has started by
the path of this Python. Each goes to the front of its scheduling group and that group before others: else a server
has a tenth of a core for a moment and a whole one in the next, and costs what a cold cache costs. Ours is also lifted
out of the share that its endpoint has asked for.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

MARK = "SERVING_BENCH="
HIGHEST = "-19"
SHARES = "200000"
EVERY_S = 0.2
LOOKS = 4
"""At a process that is not ours: it may become ours, when it has only just been forked."""


@contextmanager
def first() -> Iterator[None]:
    """Until the end of the block."""
    ended = Event()
    thread = Thread(target=_lift_all, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lift_all(ended: Event) -> None:
    strange: dict[str, int] = {}
    while not ended.wait(EVERY_S):
        for folder in Path("/proc").glob("[0-9]*"):
            if strange.get(folder.name, 0) > LOOKS:
                continue
            with suppress(OSError):
                if _is_ours(folder):
                    _lift(folder)
                else:
                    strange[folder.name] = strange.get(folder.name, 0) + 1


def _is_ours(folder: Path) -> bool:
    told = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
    return MARK.encode() in told or sys.prefix.encode() in told


def _lift(folder: Path) -> None:
    group = folder / "autogroup"
    if group.exists() and not group.read_text().endswith(f"nice {HIGHEST}\n"):
        group.write_text(HIGHEST)
    for line in (folder / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        shares = Path(f"/sys/fs/cgroup/cpu{path}/cpu.shares")
        if names == "cpu" and os.path.basename(path).startswith("lepton-") and shares.read_text().strip() != SHARES:
            shares.write_text(SHARES)
