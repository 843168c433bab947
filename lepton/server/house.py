"""A platform's data directory, opened beside its server or without one, for the commands of its owner."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from pwd import getpwuid
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lepton.core.clock import Clock
from lepton.core.errors import ConfigError
from lepton.core.event import Event
from lepton.core.resource import Json
from lepton.security.key import Root
from lepton.server.bound import check_database, note_database
from lepton.server.config import ServerConfig
from lepton.server.folder import has_root_key
from lepton.server.locks import held
from lepton.server.root import settled_root
from lepton.server.sealing import Sealing, vault_of
from lepton.server.storage import Storage, given, open_storage, own_folder, platform_id
from lepton.store import events, facts
from lepton.store.database import Database, Tx
from lepton.store.open import open_database
from lepton.vault.driver import Driver
from lepton.vault.objects import Objects
from lepton.vault.plain import PlainObjects
from lepton.vault.vault import Vault

SERVER_INDEX, OWN_INDEX = "vault-index", "backup-index"
"""Folders of the data directory: where the server, and where a command beside it, has what lies in which pack."""


def owner() -> str:
    """Who runs a command on a data directory, as events name them: the operating system's user."""
    try:
        return f"owner:{getpwuid(os.getuid()).pw_name}"
    except KeyError:  # in a container a user may have no name
        return f"owner:{os.getuid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A platform's data directory, opened beside its server."""

    folder: Path
    """The data directory."""
    keys: Root
    database: Database
    storage: Storage
    """Where its packs lie."""
    vault: Vault
    clock: Clock
    actor: str = field(default_factory=owner)
    """Who acts here, for events."""

    @property
    def root(self) -> bytes:
        """The root key."""
        return self.keys.key

    @property
    def driver(self) -> Driver:
        """Of the storage of its packs."""
        return self.storage.driver

    @property
    def plain(self) -> PlainObjects:
        """What older versions kept in the clear."""
        return PlainObjects(own_folder(self.folder))

    def sealing(self) -> Sealing:
        """What stores objects and files in it."""
        return Sealing(self.database, Objects(self.vault, self.plain))

    @property
    def signer(self) -> bytes:
        """The Ed25519 key that its backups are signed with."""
        return self.keys.own("backup signer")

    @property
    def verifier(self) -> bytes:
        """Its public half."""
        return self.opens_with[1]

    @property
    def opens_with(self) -> tuple[bytes, bytes]:
        """What it opens its own backups with, and what it verifies them with."""
        return opening_keys(self.keys)

    def last_backup(self) -> int:
        """The number of the last backup that was made, wherever it is."""
        return self.database.read(lambda tx: int(facts.get(tx, "backup") or 0))

    def platform(self) -> str:
        """The platform's id."""
        return platform_id(self.database)

    def note(self, tx: Tx, verb: str, why: str, *, workspace: str = "", data: Mapping[str, Json] | None = None) -> None:
        """Store the event of an act on the platform, or on the content of one workspace."""
        kind = "workspace" if workspace else "platform"
        events.append(
            tx,
            Event(
                subject=workspace or kind,
                kind=kind,
                workspace=workspace,
                verb=verb,
                why=why,
                actor=self.actor,
                at=self.clock.now(),
                data=data or {},
            ),
        )

    def tell(self, verb: str, why: str, *, workspace: str = "") -> None:
        """As `note`, of what is changed elsewhere than in the database."""
        self.database.write(lambda tx: self.note(tx, verb, why, workspace=workspace))


def opening_keys(root: Root) -> tuple[bytes, bytes]:
    """What a platform with this root key opens its own backups with, and what it verifies them with."""
    signer = Ed25519PrivateKey.from_private_bytes(root.own("backup signer"))
    return root.own("backup"), signer.public_key().public_bytes_raw()


class Use(Enum):
    """What a command does with a data directory; of what each may run beside, see `_locked`."""

    READS = "reads"
    """It changes nothing: beside all but what wants to be alone."""
    WRITES = "writes"
    """It stores content, one such at a time, as one index is for one process."""
    ALONE = "alone"
    """It takes from under others what they stand on."""


@contextmanager
def open_house(config: ServerConfig, clock: Clock, *, is_new: bool = False, use: Use = Use.WRITES) -> Iterator[House]:
    """Open a data directory that is there.

    Args:
        is_new: see `open_storage`.

    Raises:
        ConfigError: it is no data directory, or others use it in a way that does not go together; or as `open_storage`.
    """
    folder = config.data
    if not has_root_key(config) and (folder / "lock").is_file():
        raise ConfigError(
            f"The root key of {folder} is not there", fix="Give it: DIR/key, LEPTON_ROOT_KEY or key_command."
        )
    if not has_root_key(config):
        raise ConfigError(f"{folder} is no data directory of Lepton", fix="Give it with --data DIR.")
    check_database(config)
    with _locked(folder, use), ExitStack() as stack:
        database = stack.enter_context(closing(open_database(config.database, folder=folder, clock=clock)))
        keys = settled_root(database, config)
        note_database(config)
        storage = open_storage(database, given(config), root=keys.key, is_new=is_new)
        stack.callback(storage.driver.close)
        indexes = folder / OWN_INDEX
        if use is Use.READS:
            indexes = Path(stack.enter_context(TemporaryDirectory(prefix="lepton-index-")))
        vault = stack.enter_context(closing(vault_of(keys.key, storage, database, indexes=indexes, clock=clock)))
        yield House(folder=folder, keys=keys, database=database, storage=storage, vault=vault, clock=clock)


def writing(folder: Path) -> AbstractContextManager[None]:
    """Store content of a data directory, as nobody else does meanwhile beside its server.

    Raises:
        ConfigError: somebody does.
    """
    return held(folder / "backup.lock")


@contextmanager
def _locked(folder: Path, use: Use) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(held(folder / "owner.lock", is_shared=use is not Use.ALONE))
        if use is not Use.READS:
            stack.enter_context(writing(folder))
        yield
