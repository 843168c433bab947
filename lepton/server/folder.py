"""The data directory: who uses it, and the small private files in it."""

import fcntl
import os
from pathlib import Path
from typing import IO

from lepton.core.errors import ConfigError, StorageFullError
from lepton.security.key import KEY_BYTES

RESTORING = "restoring"
"""A file that is there until a restore into the directory has ended."""


def lock_folder(folder: Path) -> IO[str]:
    """Make the data directory and keep other servers out of it.

    Raises:
        ConfigError: it cannot be written, or another server uses it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as fault:
        raise ConfigError(
            f"The data directory {folder} cannot be written: {fault.strerror}", fix="Choose another with --data DIR."
        ) from fault
    if (folder / RESTORING).exists():
        lock.close()
        raise ConfigError(f"A restore into {folder} has not ended", fix="Begin the same restore again; it goes on.")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        lock.close()
        raise ConfigError(
            f"Another server already uses {folder}", fix="Stop it with `lepton down`, or choose another --data DIR."
        ) from fault
    return lock


def root_key(path: Path) -> bytes:
    """The platform's root key; made at the first start, mode 0600.

    Raises:
        ConfigError: the file is not a key.
    """
    if not path.exists():
        write_private(path, os.urandom(KEY_BYTES).hex() + "\n")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as fault:
        raise ConfigError(f"The key file {path} cannot be read: {fault}", fix="Restore it from a backup.") from fault
    if len(key) != KEY_BYTES:
        raise ConfigError(f"The key file {path} is torn", fix="Restore it from a backup.")
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all, even through a power cut.

    Raises:
        StorageFullError: there is no room or no right to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        _flush_folder(path.parent)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise StorageFullError(
            f"Cannot write {path}: {fault.strerror}", fix="Free some space in the data directory."
        ) from fault


def _flush_folder(folder: Path) -> None:
    """Make a rename in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
