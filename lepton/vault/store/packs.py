"""Packs: many chunks sealed in one file, each to be read by itself. `docs/vault-format.md` says every byte."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Protocol

import numpy as np
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from lepton.core.errors import IntegrityError, TooLargeError
from lepton.vault.store.codecs import Codec, Octets, Tier, decode, encode
from lepton.vault.store.cutting import MOST_BYTES
from lepton.vault.store.sealing import ID_BYTES, TAG_BYTES

MAGIC, END_MAGIC = b"LEPTPACK", b"LEPTPEND"
VERSION, AES_256_GCM = 1, 1
HEADER = Struct("<8sHBB4x16s16s16s")
TRAILER = Struct("<QII8x8s")
ENTRY = np.dtype([("id", "V32"), ("length", "<u4"), ("box", "<u4"), ("codec", "u1"), ("rest", "V7")])
"""One record of the directory: 48 bytes."""
ID = Struct("<16s16s32sIB")
"""What is authenticated with a box."""
DIRECTORY_NUMBER = 2**64 - 1
FULL_BYTES = 32 << 20
"""A pack that holds so many is closed."""
FIRST_BYTES = 1 << 20
"""Room at the beginning; it is doubled as needed."""


@dataclass(frozen=True, slots=True)
class Entry:
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
    """A pack that is being filled, in memory. For one thread."""

    def __init__(self, *, domain: bytes, pack: bytes, key: bytes, tier: Tier = Tier.WARM, above: bytes = b"") -> None:
        """
        Args:
            above: at most 16 bytes for the layers above, kept in the header.
        """
        self._domain, self._pack, self._tier, self._box = domain, pack, tier, AESGCM(key)
        self._body = bytearray(FIRST_BYTES)
        HEADER.pack_into(self._body, 0, MAGIC, VERSION, AES_256_GCM, tier, domain, pack, above.ljust(ID_BYTES, b"\0"))
        self._end = HEADER.size
        self.entries: list[Entry] = []

    @property
    def is_full(self) -> bool:
        """Whether it holds enough to be closed."""
        return self._end >= FULL_BYTES

    def add(self, id: bytes, chunk: Octets) -> Entry:
        """Encode and seal a chunk; raises as `add_encoded`."""
        codec, body = encode(chunk, self._tier)
        return self.add_encoded(id, len(chunk), codec, body)

    def add_encoded(self, id: bytes, length: int, codec: Codec, body: Octets) -> Entry:
        """Seal a chunk of that length which was encoded already.

        Raises:
            TooLargeError: the pack is full, or the chunk is longer than any may be.
        """
        if self.is_full or length > MOST_BYTES:
            raise TooLargeError("The chunk does not fit into the pack", fix="Cut content with `Cutter`; begin a pack.")
        number, box = len(self.entries), len(body) + TAG_BYTES
        bound = ID.pack(self._domain, self._pack, id, length, codec)
        self._make_room(box)
        with memoryview(self._body) as whole, whole[self._end : self._end + box] as room:
            self._box.encrypt_into(_nonce(number), body, bound, room)
        entry = Entry(number, id, length, self._end, box, codec)
        self.entries.append(entry)
        self._end += box
        return entry

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of the pack as far as it is filled, so that it can be read before it is closed."""
        with memoryview(self._body) as whole:
            return bytes(whole[start:stop])

    def _make_room(self, size: int) -> None:
        if self._end + size > len(self._body):
            self._body += bytes(max(size, len(self._body)))

    def close(self) -> memoryview:
        """The whole pack; nothing can be added afterwards."""
        directory = np.zeros(len(self.entries), ENTRY)
        for row, entry in zip(directory, self.entries, strict=True):
            row["id"], row["length"], row["box"], row["codec"] = entry.id, entry.length, entry.box, entry.codec
        trailer = TRAILER.pack(self._end, directory.nbytes + TAG_BYTES, len(self.entries), END_MAGIC)
        bound = bytes(self._body[: HEADER.size]) + trailer
        sealed = self._box.encrypt(_nonce(DIRECTORY_NUMBER), directory.tobytes(), bound)
        whole = self._end + len(sealed) + TRAILER.size
        self._make_room(len(sealed) + TRAILER.size)
        self._body[self._end : whole] = sealed + trailer
        return memoryview(self._body)[:whole]


class PackReader:
    """The chunks of one pack. Any thread may use it."""

    def __init__(self, source: Source, *, domain: bytes, pack: bytes, key: bytes, id_key: bytes) -> None:
        self._source, self._domain, self._pack = source, domain, pack
        self._box, self._id_key = AESGCM(key), id_key

    def read(self, entry: Entry) -> Octets:
        """A chunk, with its id computed again.

        Raises:
            IntegrityError: it is damaged, cut off, or not the one that the entry names.
        """
        return self.open(entry, self._source.read(entry.start, entry.start + entry.box))

    def open(self, entry: Entry, box: Octets) -> Octets:
        """The chunk of a box that was read already; as `read`."""
        bound = ID.pack(self._domain, self._pack, entry.id, entry.length, entry.codec)
        try:
            body = self._box.decrypt(_nonce(entry.number), box, bound)
        except (InvalidTag, ValueError) as fault:
            raise self._damaged(f"box {entry.number}") from fault
        chunk = decode(entry.codec, body, entry.length)
        if chunk_id(self._id_key, chunk) != entry.id:
            raise self._damaged(f"box {entry.number}")
        return chunk

    def directory(self, size_bytes: int) -> Sequence[Entry]:
        """What the pack holds, from the pack alone.

        Args:
            size_bytes: of the whole pack.

        Raises:
            IntegrityError: it is no pack, not this one, cut off or damaged.
        """
        header = bytes(self._source.read(0, HEADER.size))
        trailer = bytes(self._source.read(max(0, size_bytes - TRAILER.size), size_bytes))
        if len(header) < HEADER.size or len(trailer) < TRAILER.size:
            raise self._damaged("its beginning")
        start, length, count, magic = TRAILER.unpack(trailer)
        if magic != END_MAGIC or start + length + TRAILER.size != size_bytes:
            raise self._damaged("its end")
        sealed = self._source.read(start, start + length)
        try:
            plain = self._box.decrypt(_nonce(DIRECTORY_NUMBER), sealed, header + trailer)
        except (InvalidTag, ValueError) as fault:
            raise self._damaged("its directory") from fault
        if not self._is_its(header) or len(plain) != count * ENTRY.itemsize:
            raise self._damaged("its header")
        return _entries(np.frombuffer(plain, ENTRY))

    def _is_its(self, header: bytes) -> bool:
        magic, version, cipher, _, domain, pack, _ = HEADER.unpack(header)
        is_known = (magic, version, cipher) == (MAGIC, VERSION, AES_256_GCM)
        return bool(is_known and (domain, pack) == (self._domain, self._pack))

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(f"Pack {self._pack.hex()} is damaged: {what}", fix="Repair it: lepton vault verify")


def _entries(rows: NDArray[np.void]) -> Sequence[Entry]:
    boxes = rows["box"].astype(np.int64)
    starts = HEADER.size + np.cumsum(boxes) - boxes
    columns = (rows["id"], rows["length"], starts, boxes, rows["codec"])
    return [Entry(at, *row) for at, row in enumerate(zip(*(column.tolist() for column in columns), strict=True))]


def _nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")
