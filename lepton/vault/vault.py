"""A vault: the domains of one storage, each opened when it is first asked for."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from lepton.core.clock import Clock
from lepton.core.errors import NameTakenError
from lepton.vault.driver import Driver
from lepton.vault.memory import keep_freed
from lepton.vault.store.branches import Branches
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.cutting import Cutter
from lepton.vault.store.index import Index, Shelf
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.pools import Pools
from lepton.vault.store.state import State

OPEN_INDEXES = 64
"""Domains whose index is open; what else a domain costs is a few objects in memory."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What can be erased by itself: its chunks, how its content is cut, its branches."""

    id: bytes
    chunks: Chunks
    cutter: Cutter
    branches: Branches


class Vault:
    """The domains of one storage. Any thread may use it.

    Args:
        indexes: the folder of this process's indexes; they are made again where they are lost.
    """

    def __init__(self, driver: Driver, state: State, ring: KeyRing, *, indexes: Path, clock: Clock) -> None:
        self.driver, self.state, self.ring = driver, state, ring
        self._indexes, self._clock = indexes, clock
        self._pools, self._shelf = Pools(), Shelf(OPEN_INDEXES)
        keep_freed()
        self._open: dict[bytes, Domain] = {}
        self._lock = Lock()

    def make(self, domain: bytes, *, tenant: bytes) -> None:
        """Make the keys of a tenant and of a domain of it, where there are none yet."""
        with suppress(NameTakenError):
            self.ring.add_tenant(tenant)
        with suppress(NameTakenError):
            self.ring.add_domain(domain, tenant=tenant)

    def domain(self, id: bytes) -> Domain:
        """A domain.

        Raises:
            NotFoundError: there is none, or it was erased.
        """
        with self._lock:
            if id not in self._open:
                index = Index(self._indexes / f"{id.hex()}.db", self._shelf)
                chunks = Chunks(self.driver, self.state, self.ring, index, domain=id, pools=self._pools)
                branches = Branches(chunks, self.state, self._clock)
                self._open[id] = Domain(id, chunks, Cutter(chunks.keys.cutter_seed), branches)
            return self._open[id]

    def end(self) -> None:
        """Let all who read or write stop at their next chunk (`UnavailableError`); what is put whole can end."""
        self._pools.end()

    def close(self) -> None:
        """End what is being written, and let go."""
        with self._lock:
            for domain in self._open.values():
                domain.chunks.close()
            self._open.clear()
            self._pools.close()
