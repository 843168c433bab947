"""Packs: many chunks sealed in one file, each to be read by itself. `docs/vault-format.md` says every byte."""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lepton.core.errors import IntegrityError, TooLargeError
from lepton.vault.store.codecs import Codec, Octets, Tier, decode
from lepton.vault.store.cutting import MOST_BYTES
from lepton.vault.store.sealing import ID_BYTES, TAG_BYTES

MAGIC, END_MAGIC = b"LEPTPACK", b"LEPTPEND"
VERSION, AES_256_GCM = 1, 1
HEADER = Struct("<8sHBB4x16s16s16s")
TRAILER = Struct("<QII8x8s")
ENTRY = Struct("<32sIIB7x")
"""One record of the directory: 48 bytes."""
ID = Struct("<16s16s32sIB")
"""What is authenticated with a box."""
DIRECTORY_NUMBER = 2**64 - 1
FULL_BYTES = 16 << 20
"""A pack that holds so many is closed."""


class Entry(NamedTuple):
    """Where a chunk lies in a pack."""

    number: int
    """Which box it is, counted from 0."""
    id: bytes
    """(32,) the chunk's id."""
    length: int
    """Bytes of the chunk."""
    start: int
    """Where its box begins."""
    box: int
    """Bytes of the box, with its tag."""
    codec: int


class Source(Protocol):
    """The bytes of one pack."""

    def read(self, start: int, stop: int) -> Octets:
        """Bytes `start` .. `stop`; fewer where the pack ends."""
        ...


def chunk_id(key: bytes, chunk: Octets) -> bytes:
    """(32,) the id of a chunk under a domain's id key."""
    return blake3(chunk, key=key).digest()


class PackWriter:
    """A pack that is being filled, in memory. For one thread.

    Args:
        above: at most 16 bytes for the layers above, kept in the header.
    """

    def __init__(self, *, domain: bytes, pack: bytes, key: bytes, tier: Tier = Tier.WARM, above: bytes = b"") -> None:
        self._domain, self._pack, self._box = domain, pack, AESGCM(key)
        self._header = HEADER.pack(MAGIC, VERSION, AES_256_GCM, tier, domain, pack, above.ljust(ID_BYTES, b"\0"))
        self._parts = [self._header]
        """As they will follow each other; never joined, as fresh memory costs more than what is done in it."""
        self._end = HEADER.size
        self.entries: list[Entry] = []

    @property
    def size_bytes(self) -> int:
        """Of what it holds."""
        return self._end

    @property
    def is_full(self) -> bool:
        """Whether it holds enough to be closed."""
        return self._end >= FULL_BYTES

    def add(self, id: bytes, length: int, codec: Codec, body: Octets) -> Entry:
        """Seal a chunk of that length which was encoded already.

        Raises:
            TooLargeError: the pack is full, or the chunk is longer than any may be.
        """
        if self.is_full or length > MOST_BYTES:
            raise TooLargeError("The chunk does not fit into the pack", fix="Cut content with `Cutter`; begin a pack.")
        number = len(self.entries)
        sealed = self._box.encrypt(nonce_of(number), body, ID.pack(self._domain, self._pack, id, length, codec))
        entry = Entry(number, id, length, self._end, len(sealed), codec)
        self.entries.append(entry)
        self._parts.append(sealed)
        self._end += len(sealed)
        return entry

    def boxes(self, first: Entry, last: Entry) -> bytes:
        """The boxes from one to another, so that they can be read before the pack is closed."""
        return b"".join(self._parts[first.number + 1 : last.number + 2])

    def close(self) -> tuple[int, Sequence[bytes]]:
        """(bytes, parts) of the whole pack; nothing can be added afterwards."""
        directory = directory_of(self.entries)
        trailer = TRAILER.pack(self._end, len(directory) + TAG_BYTES, len(self.entries), END_MAGIC)
        sealed = self._box.encrypt(nonce_of(DIRECTORY_NUMBER), directory, self._header + trailer)
        return self._end + len(sealed) + len(trailer), [*self._parts, sealed, trailer]


class PackReader:
    """The chunks of one pack. Any thread may use it."""

    def __init__(self, source: Source, *, domain: bytes, pack: bytes, key: bytes, id_key: bytes) -> None:
        self.source, self.domain, self.pack, self.key, self.id_key = source, domain, pack, key, id_key
        self._box = AESGCM(key)

    def read(self, entry: Entry) -> Octets:
        """A chunk, with its id computed again.

        Raises:
            IntegrityError: it is damaged, cut off, or not the one that the entry names.
        """
        return self.open(entry, self.source.read(entry.start, entry.start + entry.box))

    def open(self, entry: Entry, box: Octets) -> Octets:
        """The chunk of a box that was read already; as `read`."""
        chunk = decode(entry.codec, self.unsealed(entry, box), entry.length)
        if chunk_id(self.id_key, chunk) != entry.id:
            raise self._damaged(f"box {entry.number}")
        return chunk

    def unsealed(self, entry: Entry, box: Octets) -> bytes:
        """What is in a box: the chunk, encoded; as `read`."""
        bound = ID.pack(self.domain, self.pack, entry.id, entry.length, entry.codec)
        try:
            return self._box.decrypt(nonce_of(entry.number), box, bound)
        except (InvalidTag, ValueError) as fault:
            raise self._damaged(f"box {entry.number}") from fault

    def directory(self, size_bytes: int) -> Sequence[Entry]:
        """What the pack holds, from the pack alone.

        Args:
            size_bytes: of the whole pack.

        Raises:
            IntegrityError: it is no pack, not this one, cut off or damaged.
        """
        header = bytes(self.source.read(0, HEADER.size))
        trailer = bytes(self.source.read(max(0, size_bytes - TRAILER.size), size_bytes))
        if len(header) < HEADER.size or len(trailer) < TRAILER.size:
            raise self._damaged("its beginning")
        start, length, count, magic = TRAILER.unpack(trailer)
        if magic != END_MAGIC or start + length + TRAILER.size != size_bytes:
            raise self._damaged("its end")
        sealed = self.source.read(start, start + length)
        try:
            plain = self._box.decrypt(nonce_of(DIRECTORY_NUMBER), sealed, header + trailer)
        except (InvalidTag, ValueError) as fault:
            raise self._damaged("its directory") from fault
        if not self._is_its(header) or len(plain) != count * ENTRY.size:
            raise self._damaged("its header")
        return _entries(plain)

    def _is_its(self, header: bytes) -> bool:
        magic, version, cipher, _, domain, pack, _ = HEADER.unpack(header)
        is_known = (magic, version, cipher) == (MAGIC, VERSION, AES_256_GCM)
        return bool(is_known and (domain, pack) == (self.domain, self.pack))

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"Pack {self.pack.hex()} is damaged: {what}", fix="lepton vault repair takes it from another copy."
        )


def directory_of(entries: Sequence[Entry]) -> bytes:
    """The records of a directory."""
    return b"".join(ENTRY.pack(each.id, each.length, each.box, each.codec) for each in entries)


def _entries(directory: bytes) -> Sequence[Entry]:
    start, found = HEADER.size, []
    for number, (id, length, box, codec) in enumerate(ENTRY.iter_unpack(directory)):
        found.append(Entry(number, id, length, start, box, codec))
        start += box
    return found


def nonce_of(number: int) -> bytes:
    """Of the box of that number, or of the directory."""
    return bytes(4) + number.to_bytes(8, "little")
