"""The data directory: who uses it, and the small private files in it."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from lepton.core.disk import unwritable
from lepton.core.errors import ConfigError
from lepton.security.key import KEY_BYTES
from lepton.server.config import ServerConfig
from lepton.server.locks import take

ROOT_KEY = "LEPTON_ROOT_KEY"
NEXT_KEY = "key.next"
"""The file of a new root key, until the database is sealed under it."""
KEY_WAIT_S = 60
RESTORING = "restoring"
"""A file that is there until a restore into the directory has ended."""


def lock_folder(folder: Path) -> IO[str]:
    """Make the data directory and keep other servers out of it.

    Raises:
        ConfigError: it cannot be written, or a server (or what wants none beside it) uses it.
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
        take(lock, folder / "lock")
    except ConfigError as fault:
        lock.close()
        raise ConfigError(
            fault.message, fix="Stop it (a server: `lepton down`), or choose another --data DIR."
        ) from fault
    return lock


def root_key(config: ServerConfig, environment: Mapping[str, str] = os.environ, *, may_make: bool = True) -> bytes:
    """The platform's root key: what a command prints, or a variable holds; else a file, made at the first start.

    Args:
        may_make: a file may be made where there is none.

    Raises:
        ConfigError: it is no key, or there is none; nothing of it is repeated.
    """
    if config.key_command:
        return printed_key(config.key_command)
    if environment.get(ROOT_KEY):
        return variable_key(ROOT_KEY, environment)
    path = config.data / "key"
    if not path.exists():
        if not may_make:
            raise ConfigError(
                f"The database has been used with a root key, and there is no key file {path}",
                fix="A second server on it: copy `key` from the first one's data directory, mode 0600, or give both"
                " the same key_command. If the key was lost: restore the file from a backup.",
            )
        write_private(path, os.urandom(KEY_BYTES).hex() + "\n")
    return read_key_file(path)


def printed_key(command: str) -> bytes:
    """The root key that a command prints; raises as `root_key`."""
    return _read_key(_printed(command), "What key_command printed", "Let it print 64 hexadecimal digits.")


def variable_key(name: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """The root key that a variable holds; raises as `root_key`."""
    return _read_key(environment.get(name, ""), name, "Give 64 hexadecimal digits.")


def read_key_file(path: Path) -> bytes:
    """The root key in a file; raises as `root_key`."""
    try:
        text = path.read_text()
    except (OSError, ValueError) as fault:
        raise ConfigError(f"The key file {path} cannot be read: {fault}", fix="Restore it from a backup.") from fault
    return _read_key(text, f"The key file {path}", "Restore it from a backup.")


def check_random(key: bytes) -> None:
    """Refuse a new root key that anybody guesses.

    Raises:
        ConfigError: it is one byte over and over.
    """
    if len(set(key)) == 1:
        raise ConfigError("The root key is one byte over and over", fix="Make one: openssl rand -hex 32")


def has_root_key(config: ServerConfig, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `root_key` would not make one for a folder that no server has used."""
    is_elsewhere = bool(config.key_command or environment.get(ROOT_KEY))
    return (config.data / "key").is_file() or (is_elsewhere and (config.data / "lock").is_file())


def _read_key(text: str, source: str, fix: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{source} is not a root key", fix=fix)
    return key


def _printed(command: str) -> str:
    """What a command prints; what it says on standard error is for whoever started the server."""
    try:
        words = shlex.split(command)
        done = subprocess.run(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=KEY_WAIT_S, check=True)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as fault:
        why = f"it ended with {fault.returncode}" if isinstance(fault, subprocess.CalledProcessError) else fault
        raise ConfigError(f"key_command did not give the root key: {why}", fix="Run it by hand.") from None
    return done.stdout.decode(errors="replace")


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all, even through a power cut.

    Raises:
        StorageFullError: there is no room.
        ConflictError: it cannot be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        flush_folder(path.parent)
    except OSError as fault:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(str(path), fault) from fault


def flush_folder(folder: Path) -> None:
    """Make a rename in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
