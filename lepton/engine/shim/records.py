"""What a shim leaves in its launch's folder, and how a process is known after a restart.

launch.json   the Launch, as the engine was given it, but for its variables: they may hold secrets, and lie in no file
plan.json     what the shim needs of it: arguments, limits
shim.json     which process holds the key; made once for ever, so that a key runs once
worker.json   which process is the worker, and its control groups
stop.json     {grace_s}: somebody asked to stop it
exit.json     how it ended; the last thing that is written
veil/         what lies over that which its worker shall not see
log/ work/    its output and its scratch folder; in the latter fault.txt, if it left a reason why it failed
"""

import errno
import json
import os
from typing import Any

LAUNCH, PLAN, SHIM, WORKER = "launch.json", "plan.json", "shim.json", "worker.json"
STOP, EXIT, LOG, WORK = "stop.json", "exit.json", "log", "work"
EXIT_DRAFT = ".exit.draft"
FAULT, TMP = "fault.txt", "tmp"
VEIL = "veil"
EXIT_BYTES, FAULT_BYTES = 8192, 4096
"""Reserved on disk at the start, so that an ending and its reason are recorded even when the disk is full by then."""

Record = dict[str, Any]


def read(path: str) -> Record | None:
    """The record in a file; None if there is none, or it is torn or empty."""
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(path: str, record: Record) -> None:
    """Write a record whole or not at all, over an older one."""
    draft = _draft(path, record)
    try:
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise


def write_once(path: str, record: Record) -> bool:
    """Write a record if none is there; False if one is. Exactly one of many callers gets True."""
    draft = _draft(path, record)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


def reserve_exit(folder: str) -> None:
    """Set disk space aside for the exit record, and for the reason that the worker may leave."""
    for name, size in ((EXIT_DRAFT, EXIT_BYTES), (os.path.join(WORK, FAULT), FAULT_BYTES)):
        fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)


def write_exit(folder: str, record: Record) -> None:
    """Write the exit record into the reserved space and make it appear in one durable step."""
    draft = os.path.join(folder, EXIT_DRAFT)
    body = json.dumps(record).encode()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, body, 0)
        os.ftruncate(fd, len(body))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, os.path.join(folder, EXIT))
    _sync_folder(folder)


def is_full(fault: OSError) -> bool:
    """Whether the fault says that there is no room left."""
    return fault.errno in (errno.ENOSPC, errno.EDQUOT)


def _draft(path: str, record: Record) -> str:
    draft = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, json.dumps(record).encode())
    except OSError:
        os.unlink(draft)
        raise
    finally:
        os.close(fd)
    return draft


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
