"""A whole vault for tests: packs in memory, state in SQLite."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lepton.core.clock import Clock, ManualClock
from lepton.core.errors import NameTakenError, NotFoundError, StaleError
from lepton.store.database import Database
from lepton.store.open import open_database
from lepton.store.vault import SqlState
from lepton.vault.driver import CHUNK_BYTES, AppendOnly, Capabilities, Head, check_range
from lepton.vault.store.branches import Author, Branches
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.index import Index
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.sealing import Kind

ROOT_KEY = bytes(range(32))
TENANT, DOMAIN = b"t" * 16, b"d" * 16
ANN = Author(by="ann", message="why")


class MemoryDriver:
    """A driver that keeps bytes in memory."""

    capabilities = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=False, exact_names=True)

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = 0

    def append_only(self) -> AppendOnly:
        return AppendOnly(holds=False, reason="it is memory")

    def drop_folder(self, folder: str) -> None:
        """There are none."""

    def close(self) -> None:
        """Nothing is held."""

    def put(self, key: str, chunks: Iterable[bytes]) -> Head:
        return self._write(key, b"".join(chunks))

    def get(self, key: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        check_range(start, stop)
        self.head(key)
        body = self.kept[key][start:stop]
        return (body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))

    def head(self, key: str) -> Head:
        if key not in self.kept:
            raise NotFoundError(f"no {key}")
        return Head(key=key, size_bytes=len(self.kept[key]), etag=str(hash(self.kept[key])))

    def list(self, prefix: str = "") -> Iterator[Head]:
        return (self.head(key) for key in sorted(self.kept) if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)

    def create_if_absent(self, key: str, body: bytes) -> Head:
        if key in self.kept:
            raise NameTakenError(f"{key} exists")
        return self._write(key, body)

    def replace_if_match(self, key: str, body: bytes, *, etag: str) -> Head:
        if key not in self.kept or self.head(key).etag != etag:
            raise StaleError(f"{key} has changed")
        return self._write(key, body)

    def _write(self, key: str, body: bytes) -> Head:
        self.writes += 1
        self.kept[key] = body
        return self.head(key)


class Store:
    """One domain of one vault, and all it stands on."""

    def __init__(self, folder: Path, driver: MemoryDriver | None = None, *, clock: Clock | None = None) -> None:
        self.folder, self.clock = folder, clock or ManualClock()
        self.driver = driver or MemoryDriver()
        self.database: Database = open_database("", folder=folder, clock=self.clock)
        self.state = SqlState(self.database)
        self.ring = KeyRing(self.state, ROOT_KEY)
        if not self.state.find(Kind.DOMAIN, DOMAIN):
            self.ring.add_tenant(TENANT)
            self.ring.add_domain(DOMAIN, tenant=TENANT)
        self.chunks = self.opened("index.db")
        self.branches = Branches(self.chunks, self.state, self.clock)

    def opened(self, index: str) -> Chunks:
        """The domain's chunks with another index, as another machine has it."""
        return Chunks(self.driver, self.state, self.ring, Index(self.folder / index), domain=DOMAIN)

    def close(self) -> None:
        self.chunks.close()
        self.database.close()
