"""Short-named folders that the workers of a gang share, e.g. for Unix sockets, whose paths may have 107 bytes.

They lie in a folder of this user alone in the temporary folder: `<tmp>/lepton-<uid>/<hash of the gang>/`.
"""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from lepton.core.errors import EngineError
from lepton.core.launch import Launch
from lepton.engine.files import read_json
from lepton.engine.shim import records

MAX_PATH, HASH_CHARS = 80, 16
MEMBERS = ".members"


def gang_folder(launch: Launch, *, scope: Path) -> Path:
    """Where the gang of `launch` meets; launches of one engine folder (`scope`) share it."""
    return _base() / _hash(scope, launch.job, str(launch.generation))


def meeting_folder(launch: Launch, *, scope: Path) -> Path | None:
    """Where launches of several jobs meet, by the name they give it; None: this one meets nobody."""
    return _base() / _hash(scope, "meets", launch.meets) if launch.meets else None


def _base() -> Path:
    base = Path(tempfile.gettempdir(), f"lepton-{os.getuid()}")
    return base if len(str(base)) + 1 + HASH_CHARS < MAX_PATH else Path("/tmp", base.name)


def _hash(scope: Path, *words: str) -> str:
    return sha256("\0".join((str(scope), *words)).encode()).hexdigest()[:HASH_CHARS]


def join_gang(folder: Path, key: str) -> None:
    """Make the folder if need be, and note that `key` uses it.

    Raises:
        EngineError: the folder above it belongs to somebody else.
    """
    base = folder.parent
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EngineError(f"{base} is not this user's private folder", fix=f"Remove {base}, or set TMPDIR.")
    (folder / MEMBERS).mkdir(parents=True, exist_ok=True)
    (folder / MEMBERS / key).touch()


def leave_gang(folder: Path, key: str) -> None:
    """Note that `key` is forgotten; the last one to leave deletes the folder."""
    (folder / MEMBERS / key).unlink(missing_ok=True)
    try:
        (folder / MEMBERS).rmdir()
    except OSError:  # others are in it, or it is gone
        return
    shutil.rmtree(folder, ignore_errors=True)


def clear_gangs(scope: Path) -> None:
    """Delete the folders of all gangs of one engine folder; none of them may run."""
    for plan in map(read_json, scope.glob(f"*/{records.PLAN}")):
        if plan is not None:
            for folder in filter(None, (plan["gang"], plan.get("meeting"))):
                shutil.rmtree(folder, ignore_errors=True)
