"""Check every byte of packs: that each box opens, and holds the chunk that it says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lepton.core.errors import IntegrityError, LeptonError, StorageRefusedError, StorageUnreachableError
from lepton.vault.backup.progress import Steps
from lepton.vault.driver import Driver
from lepton.vault.store.files import pack_path
from lepton.vault.store.keyring import DomainKeys
from lepton.vault.store.packs import Entry, PackReader
from lepton.vault.store.rescue import rescued

Packs = Mapping[bytes, Iterable[tuple[bytes, int]]]
"""Domain -> id and bytes of each pack."""
MARKS = "lepton-"
"""What the names of the few files begin with that say what a place is for."""


class Opens(Protocol):
    """What knows the keys of packs."""

    def domain(self, domain: bytes) -> DomainKeys:
        """As `KeyRing.domain`."""
        ...

    def pack(self, pack: bytes) -> bytes:
        """As `KeyRing.pack`."""
        ...


@dataclass(slots=True)
class Damage:
    """What was found."""

    packs: dict[str, str] = field(default_factory=dict)
    """Path of a damaged pack -> what is wrong."""
    chunks: set[bytes] = field(default_factory=set)
    """Ids of chunks that cannot be read from the newest pack with them, of packs whose directory can be."""
    lost: set[bytes] = field(default_factory=set)
    """Ids of packs whose directory cannot be read: what they held is not known."""
    boxes: dict[str, set[bytes]] = field(default_factory=dict)
    """Path of a damaged pack whose directory can be read -> ids of the chunks that cannot be read from there."""
    frames: set[str] = field(default_factory=set)
    """Paths of packs that are damaged beside their boxes, which can be read all the same."""
    bytes_read: int = 0


class Body:
    """A pack that was read whole."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes `start` .. `stop`."""
        return memoryview(self.body)[start:stop]


class Reading:
    """What packs of a storage are like. Each is read once, however many backups name it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._done = set[bytes]()
        self._found = Damage()
        """Of all packs that were read; `chunks` is not filled."""
        self._seen: dict[bytes, list[tuple[bytes, bool]]] = {}
        """Id of a chunk that is damaged somewhere -> packs with it from there on, and whether it is whole there."""

    def check(self, ring: Opens, packs: Packs, *, progress: Steps) -> Damage:
        """Read those packs that were not yet, one after the other; nothing stops at the first fault.

        Args:
            packs: those of a domain in the order in which they came; of several backups the oldest first.
            progress: told of the bytes of those that are read.

        Raises:
            StorageUnreachableError, StorageRefusedError: all of the storage is gone, or closed.
        """
        for domain, wanted in packs.items():
            id_key = ring.domain(domain).chunk_id
            for pack, size in wanted:
                if pack not in self._done:
                    self._read(ring, id_key, domain, (pack, size))
                    progress(size)
        return self._of(packs)

    def _read(self, ring: Opens, id_key: bytes, domain: bytes, wanted: tuple[bytes, int]) -> None:
        (pack, size), found = wanted, self._found
        path = pack_path(domain, pack)
        try:
            key = ring.pack(pack)
            self._done.add(pack)  # else another may know its key
            there = self._driver.head(path).size_bytes
            if there != size:
                raise IntegrityError(f"it has {there} bytes, not {size}")
            body = b"".join(self._driver.get(path))
        except LeptonError as fault:
            check_there(self._driver, fault)
            found.packs[path] = fault.message
            found.lost.add(pack)
            return
        found.lost.discard(pack)
        found.packs.pop(path, None)
        reader = PackReader(Body(body), domain=domain, pack=pack, key=key, id_key=id_key)
        for entry in self._entries(reader, body, path):
            try:
                reader.read(entry)
            except IntegrityError as fault:
                found.packs[path] = fault.message
                found.boxes.setdefault(path, set()).add(entry.id)
                self._seen.setdefault(entry.id, []).append((pack, False))
            else:
                if entry.id in self._seen:
                    self._seen[entry.id].append((pack, True))

    def _entries(self, reader: PackReader, body: bytes, path: str) -> Sequence[Entry]:
        """What a pack holds; where its directory is damaged those boxes that can be read all the same."""
        try:
            return reader.directory(len(body))
        except IntegrityError as fault:
            again = rescued(reader, body)
            if again is None:
                self._found.packs[path] = fault.message
                self._found.lost.add(reader.pack)
                return ()
            told = f"; {again.lost} of its boxes are lost" if again.lost else "; its boxes can be read all the same"
            self._found.packs[path] = fault.message + told
            self._found.frames.add(path)
            return again.entries

    def _of(self, packs: Packs) -> Damage:
        """What is damaged of some of them."""
        damage, named = Damage(), set[bytes]()
        for domain, wanted in packs.items():
            for pack, size in wanted:
                path = pack_path(domain, pack)
                named.add(pack)
                if path in self._found.packs:
                    damage.packs[path] = self._found.packs[path]
                if path in self._found.boxes:
                    damage.boxes[path] = self._found.boxes[path]
                if path in self._found.frames:
                    damage.frames.add(path)
                if pack in self._found.lost:
                    damage.lost.add(pack)
                else:
                    damage.bytes_read += size
        for id, places in self._seen.items():  # the newest pack counts
            if not next((is_whole for pack, is_whole in reversed(places) if pack in named), True):
                damage.chunks.add(id)
        return damage


def check_there(driver: Driver, fault: LeptonError) -> None:
    """After one read that failed: raise if all of the storage is gone, as then nothing that lies there is damaged."""
    if isinstance(fault, (StorageUnreachableError, StorageRefusedError)):
        next(iter(driver.list(MARKS)), None)


def check_packs(driver: Driver, ring: Opens, packs: Packs, *, progress: Steps) -> Damage:
    """Read all packs, those of a domain in the order in which they came; raises as `Reading.check`."""
    return Reading(driver).check(ring, packs, progress=progress)


def drop_damaged(driver: Driver, ring: Opens, packs: Packs, *, progress: Steps) -> None:
    """Remove what lies in the place of packs and is not they, as of other times: what is there then is whole."""
    for path in check_packs(driver, ring, packs, progress=progress).packs:
        driver.delete(path)
