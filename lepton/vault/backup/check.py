"""Check every byte of packs: that each box opens, and holds the chunk that it says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lepton.core.errors import IntegrityError, LeptonError
from lepton.vault.backup.progress import Steps
from lepton.vault.driver import Driver
from lepton.vault.store.files import pack_path
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.packs import PackReader


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
    bytes_read: int = 0


class Body:
    """A pack that was read whole."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes `start` .. `stop`."""
        return memoryview(self.body)[start:stop]


def check_packs(
    driver: Driver, ring: KeyRing, packs: Mapping[bytes, Iterable[tuple[bytes, int]]], *, progress: Steps
) -> Damage:
    """Read all packs, one after the other; nothing stops at the first fault.

    Args:
        packs: those of a domain in the order in which they came.
    """
    damage = Damage()
    for domain, wanted in packs.items():
        id_key = ring.domain(domain).chunk_id
        for pack, size in wanted:
            path = pack_path(domain, pack)
            try:
                found = driver.head(path).size_bytes
                if found != size:
                    raise IntegrityError(f"it has {found} bytes, not {size}")
                body = b"".join(driver.get(path))
                reader = PackReader(Body(body), domain=domain, pack=pack, key=ring.pack(pack), id_key=id_key)
                entries = reader.directory(size)
            except LeptonError as fault:
                damage.packs[path] = fault.message
                damage.lost.add(pack)
                continue
            for entry in entries:
                try:
                    reader.read(entry)
                    damage.chunks.discard(entry.id)  # it was stored again
                except IntegrityError as fault:
                    damage.packs[path] = fault.message
                    damage.boxes.setdefault(path, set()).add(entry.id)
                    damage.chunks.add(entry.id)
            damage.bytes_read += size
            progress(size)
    return damage
