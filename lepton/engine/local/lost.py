"""What to do when a shim has died without a record: leave no process of its worker, then say so."""

import os
import select
import signal
import time
from pathlib import Path

from lepton.engine.local.forker import signal_process
from lepton.engine.shim import records
from lepton.engine.shim.cgroup import members, remove_groups
from lepton.engine.shim.processes import is_alive, marked

PATIENCE_S = 5.0
PAUSE_S = 0.005
DETAIL = "The process that held the worker is gone and left no record: it was killed, or the machine went down."


def record_lost(folder: Path) -> records.Record:
    """Kill what remains of the worker, and write and return its exit record with reason `lost`."""
    worker = records.read(str(folder / records.WORKER)) or {}
    groups = worker.get("cgroups", [])
    give_up_at = time.monotonic() + PATIENCE_S
    while (left := _left(folder, worker, groups)) and time.monotonic() < give_up_at:
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        select.select([], [], [], PAUSE_S)
    remove_groups(groups)
    record: records.Record = {"reason": "lost", "code": None, "signal": None, "detail": DETAIL, "peak_memory_bytes": 0}
    record |= {"started_at": worker.get("started_at"), "ended_at": time.time()}
    try:
        records.write_exit(str(folder), record)
    except OSError:  # on a full disk it is found again at the next look
        return record
    return record


def _left(folder: Path, worker: records.Record, groups: list[str]) -> set[int]:
    """Processes of the worker that are alive: it, members of its control groups, bearers of its environment."""
    main = {worker["pid"]} if worker and is_alive(worker) else set()
    mark = b"LEPTON_FOLDER=" + os.fsencode(folder / records.WORK)
    return {*main, *members(groups), *marked(mark)}
