"""The platform's vault: each workspace's content in its own domain; what older versions kept in the clear is sealed."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

from lepton.core.clock import Clock
from lepton.core.errors import IntegrityError, NotFoundError, StaleError
from lepton.security.key import derive
from lepton.server.allowance import Allowance
from lepton.server.storage import Storage
from lepton.store import domains, holdings
from lepton.store.database import Database
from lepton.store.vault import SqlState
from lepton.vault.objects import Held, Objects, Stored, untold
from lepton.vault.store.batch import Batch
from lepton.vault.store.keyring import KeyRing
from lepton.vault.vault import Domain, Vault

log = logging.getLogger("lepton")
AT_ONCE = 100
"""Objects that are looked up together."""


def vault_root(root: bytes) -> bytes:
    """What tenants' keys are sealed under, from the platform's root key."""
    return derive(root, "vault")


def vault_of(root: bytes, storage: Storage, database: Database, *, indexes: Path, clock: Clock) -> Vault:
    """The platform's vault over its storage."""
    state = SqlState(database, storage=storage.id)
    return Vault(storage.driver, state, KeyRing(state, vault_root(root)), indexes=indexes, clock=clock)


class Sealing:
    """Stores objects for workspaces. Any thread may use it."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database, self._objects = database, objects
        self._known: dict[str, Domain] = {}
        self._lock = Lock()
        self._is_done = False
        self._after = ("", "")

    def domain(self, workspace: str) -> Domain:
        """The domain of a workspace; made at its first use."""
        with self._lock:
            if workspace not in self._known:
                known = self._database.read(lambda tx: domains.find(tx, workspace))
                tenant, id = known or self._database.write(lambda tx: domains.make(tx, workspace))
                self._objects.vault.make(id, tenant=tenant)
                self._known[workspace] = self._objects.vault.domain(id)
            return self._known[workspace]

    def put(
        self,
        workspace: str,
        pieces: Iterable[bytes],
        digest: str,
        *,
        limit: int,
        doubts: bool = False,
        begins: Callable[[Batch], None] = untold,
    ) -> Stored:
        """Store an object, durable, for a workspace that is yet to be told to hold it; as `Objects.put`."""
        domain = self.domain(workspace)
        stored = self._objects.put(domain, pieces, digest, limit=limit, doubts=doubts, begins=begins)
        if stored.healed:
            log.warning("object %s of %s was damaged, and is whole again", digest, workspace)
        return stored

    def adopt(self, workspace: str, others: Sequence[Held], allowance: Allowance) -> None:
        """Let a workspace hold what others hold: its content is sealed once more, in this workspace's domain.

        Raises:
            IntegrityError: it is damaged where it lies.
            StorageQuotaError: the workspace has no room for all of it.
        """
        sizes = [self._objects.size(held) for held in others]
        with allowance.bringing(workspace, self.domain(workspace).chunks, sum(sizes)) as coming:
            for held, size in zip(others, sizes, strict=True):
                pieces = self._objects.open(held)
                stored = self.put(workspace, pieces, held.digest, limit=size, begins=coming.begin)
                self._database.write(partial(holdings.keep, workspace=workspace, stored=stored))

    def turn(self) -> None:
        """Seal what older versions kept in the clear, some objects at a time; what cannot be read stays as it is."""
        while not self._is_done:
            found = self._database.read(lambda tx: holdings.plain(tx, after=self._after, limit=AT_ONCE))
            for digest, workspace in found:
                self._seal(digest, workspace)
                self._after = digest, workspace
            self._is_done = not found
            if self._is_done:
                self._sweep()

    def _sweep(self) -> None:
        """Remove files in the clear that no workspace's object is read from: of a death, or of nobody."""
        plain = self._objects.plain
        for digest in list(plain.list()):
            if not self._database.read(partial(holdings.is_plain, digest=digest)):
                plain.delete(digest)

    def _seal(self, digest: str, workspace: str) -> None:
        plain = self._objects.plain
        try:
            stored = self.put(workspace, plain.open(digest), digest, limit=plain.size(digest))
            self._database.write(lambda tx: holdings.keep(tx, workspace, stored))
        except (NotFoundError, IntegrityError, StaleError) as fault:
            log.warning("object %s of %s stays as it is: %s", digest, workspace, fault)
            return
        if not self._database.read(lambda tx: holdings.is_plain(tx, digest)):
            plain.delete(digest)
