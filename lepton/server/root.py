"""The platform's root key: where it comes from, whether the database is sealed under it, and what comes of it.

Keys that seal (of tenants, secrets, credentials) are derived from the root key and change with it. Keys by which others
know the platform (signatures, tokens that are out, the site's key) must not: at the first rotation those that the old
root key gave are kept in the database, sealed under the new one, and from then on taken from there.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from lepton.core.errors import ConfigError
from lepton.security.key import Root, derive, seal, unseal
from lepton.server.config import ServerConfig
from lepton.server.folder import NEXT_KEY, ROOT_KEY, check_random, flush_folder, read_key_file, root_key
from lepton.store import facts
from lepton.store.database import Database, Tx

MARK = "key"
"""Fact: says which root key the database is sealed under, and nothing of it."""
KEPT = "kept keys"
OURS = ("backup", "backup signer", "site", "site signer", "issuer", "jwts", "workers")
"""What others know the platform by."""


def mark_of(key: bytes) -> str:
    """What the database says of a root key."""
    return derive(key, "mark").hex()


def settled_root(database: Database, config: ServerConfig) -> Root:
    """The root key, which is the database's; of a new database whatever is given, or a fresh one in a file.

    A rotation that died between the database's commit and the file's new name is brought to its end.

    Raises:
        ConfigError: another root key is given, or none.
    """
    known = database.read(lambda tx: facts.get(tx, MARK))
    _finish(config, known)
    key = root_key(config, may_make=not known)
    mark = mark_of(key)
    if not known:
        check_random(key)  # one that is in use must open the platform still, so that it can be rotated
        known = database.write(lambda tx: facts.settle(tx, MARK, mark))
    if known != mark:
        raise ConfigError("The root key is not the one that this database was made with", fix=_fix(config, known))
    return Root(key, database.read(lambda tx: kept(tx, key)))


def check_file(config: ServerConfig) -> None:
    """Refuse a key's file that holds none, before there is a database.

    Raises:
        ConfigError: it does.
    """
    path = config.data / "key"
    if is_in_file(config) and path.exists():
        read_key_file(path)


def kept(tx: Tx, key: bytes) -> Mapping[str, bytes]:
    """The keys that were kept when the root key was rotated; none if it never was."""
    sealed = facts.get(tx, KEPT)
    if not sealed:
        return {}
    told = json.loads(unseal(derive(key, KEPT), bytes.fromhex(sealed), place=KEPT))
    return {name: bytes.fromhex(value) for name, value in told.items()}


def put_root(tx: Tx, root: Root, key: bytes) -> None:
    """Say that the database is sealed under another root key from now on, and keep what others know the platform by."""
    told = json.dumps({name: root.own(name).hex() for name in OURS})
    facts.put(tx, KEPT, seal(derive(key, KEPT), told.encode(), place=KEPT).hex())
    facts.put(tx, MARK, mark_of(key))


def check_root(tx: Tx, key: bytes) -> None:
    """Refuse to go on with a root key that was rotated meanwhile.

    Raises:
        ConfigError: it was.
    """
    if facts.get(tx, MARK) != mark_of(key):
        raise ConfigError("The root key was rotated meanwhile", fix="Begin again, with the new one.")


def is_in_file(config: ServerConfig) -> bool:
    """Whether the root key comes from the data directory."""
    return not config.key_command and not os.environ.get(ROOT_KEY)


def _finish(config: ServerConfig, known: str) -> None:
    """Give the new key's file its name, where the database is sealed under it already."""
    fresh, present = config.data / NEXT_KEY, config.data / "key"
    for left in config.data.glob(f".{NEXT_KEY}.*"):  # half written by one that was killed; nobody rotates meanwhile
        left.unlink(missing_ok=True)
    if known and is_in_file(config) and fresh.is_file():
        is_present = present.is_file() and mark_of(read_key_file(present)) == known
        if not is_present and mark_of(read_key_file(fresh)) == known:
            with suppress(FileNotFoundError):  # another process was faster
                fresh.replace(present)
            flush_folder(config.data)


def _fix(config: ServerConfig, known: str) -> str:
    for file in (config.data / "key", config.data / NEXT_KEY):
        if not is_in_file(config) and file.is_file() and mark_of(read_key_file(file)) == known:
            return f"{file} holds it: start without key_command and {ROOT_KEY}."
    return f"Give the one that it is sealed under: {config.data / 'key'}, {ROOT_KEY} or key_command; or from a backup."
