"""Read a pack whose header, directory or end is damaged.

The directory is encrypted as a stream, so that what is flipped in it spoils the bits there and no others: its records
are read without their seal, and none is believed until the box that it names opens by it. A record that is wrong itself
is made again from its box: where that lies follows from the records around it, and its id from its content. So all
comes back that is whole; and where that is all, or the rest is known to be damaged too, the pack as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from lepton.core.errors import IntegrityError
from lepton.vault.store.codecs import Codec, Tier, decode
from lepton.vault.store.packs import (
    AES_256_GCM,
    DIRECTORY_NUMBER,
    END_MAGIC,
    ENTRY,
    HEADER,
    MAGIC,
    TRAILER,
    VERSION,
    Entry,
    PackReader,
    chunk_id,
    directory_of,
    nonce_of,
)  # fmt: skip
from lepton.vault.store.sealing import TAG_BYTES

FIRST_BLOCK = (2).to_bytes(4, "big")
"""AES-GCM encrypts from this block on; the one before is the tag's."""
Record = tuple[bytes, int, int, int]
"""Of a directory: id, length of the chunk, bytes of the box, codec."""


class Rescued(NamedTuple):
    """What was found in a damaged pack."""

    entries: Sequence[Entry]
    """Of the boxes that open."""
    lost: int
    """How many do not, or cannot be found."""
    body: bytes
    """The pack with header, directory and end as they were; empty where some boxes cannot be found."""


def known(reader: PackReader, size_bytes: int) -> tuple[Sequence[Entry], bool]:
    """What a pack holds that can be read, and whether that is all: from its directory, else from all of the pack.

    Raises:
        IntegrityError: nothing of it can be.
    """
    try:
        return reader.directory(size_bytes), True
    except IntegrityError:
        found = rescued(reader, bytes(reader.source.read(0, size_bytes)))
        if found is None:
            raise
        return found.entries, not found.lost


def rescued(reader: PackReader, body: bytes) -> Rescued | None:
    """What can be read of a pack of that size whose directory cannot; None: nothing."""
    best = None
    for start in _starts(body):
        found = _Wreck(reader, body, start).rescued()
        if found and found.entries and (best is None or found.lost < best.lost):
            best = found
        if best and not best.lost:
            break
    return best


def _starts(body: bytes) -> Iterator[int]:
    """Where the directory may begin: the end says it three times over."""
    end = len(body) - TRAILER.size
    if end < HEADER.size + TAG_BYTES:
        return
    start, length, count, _ = TRAILER.unpack_from(body, end)
    for each in dict.fromkeys((start, end - length, end - TAG_BYTES - count * ENTRY.size)):
        if HEADER.size <= each < end and (end - each - TAG_BYTES) % ENTRY.size == 0:
            yield each


class _Wreck:
    """A damaged pack, taken to have its directory at a place."""

    def __init__(self, reader: PackReader, body: bytes, start: int) -> None:
        self._reader, self._body, self._start = reader, body, start
        end = len(body) - TRAILER.size
        self._sealed = body[start:end]
        self._count = (len(self._sealed) - TAG_BYTES) // ENTRY.size
        self._trailer = TRAILER.pack(start, len(self._sealed), self._count, END_MAGIC)
        self._box = AESGCM(reader.key)

    def rescued(self) -> Rescued | None:
        header, plain = self._opened()
        stated = list(ENTRY.iter_unpack(plain))
        ahead = [*accumulate((box for _, _, box, _ in stated), initial=HEADER.size)]
        behind = [self._start - ahead[-1] + each for each in ahead]
        found = dict[int, Entry]()
        for number, (id, length, box, codec) in enumerate(stated):
            # as the records before it say, or those behind it, or where it alone is wrong, both
            places = ((ahead[number], box), (behind[number], box), (ahead[number], behind[number + 1] - ahead[number]))
            tries = [Entry(number, id, length, *place, codec) for place in dict.fromkeys(places)]
            tries = [each for each in tries if self._is_inside(each)]
            right = next(filter(self._opens, tries), None) or next(filter(None, map(self._made_again, tries)), None)
            if right is not None:
                found[number] = right
        return Rescued(list(found.values()), self._count - len(found), self._rebuilt(header, stated, found))

    def _opened(self) -> tuple[bytes, bytes]:
        """The header as it was, as far as that is known, and the directory; not proved where its seal does not hold."""
        tiers, aboves = (self._body[11], *Tier), (self._body[48 : HEADER.size], bytes(16))
        headers = [
            HEADER.pack(MAGIC, VERSION, AES_256_GCM, tier, self._reader.domain, self._reader.pack, above)
            for tier in dict.fromkeys(tiers)
            for above in dict.fromkeys(aboves)
        ]
        nonce = nonce_of(DIRECTORY_NUMBER)
        for header in headers:
            with suppress(InvalidTag):
                return header, self._box.decrypt(nonce, self._sealed, header + self._trailer)
        stream = Cipher(AES(self._reader.key), CTR(nonce + FIRST_BLOCK)).decryptor()
        return headers[0], stream.update(self._sealed[:-TAG_BYTES])

    def _made_again(self, entry: Entry) -> Entry | None:
        """The entry of a box, from what is in the box; None: the box is damaged too."""
        box = self._body[entry.start : entry.start + entry.box]
        stream = Cipher(AES(self._reader.key), CTR(nonce_of(entry.number) + FIRST_BLOCK)).decryptor()
        coded = stream.update(box[:-TAG_BYTES])
        for codec in dict.fromkeys((entry.codec, *Codec)):
            for length in dict.fromkeys((entry.length, len(coded), _stated_length(coded))):
                with suppress(IntegrityError):
                    chunk = decode(codec, coded, length)
                    again = entry._replace(id=chunk_id(self._reader.id_key, chunk), length=length, codec=codec)
                    self._reader.open(again, box)
                    return again
        return None

    def _is_inside(self, entry: Entry) -> bool:
        return entry.start >= HEADER.size and entry.box >= TAG_BYTES and entry.start + entry.box <= self._start

    def _opens(self, entry: Entry) -> bool:
        try:
            self._reader.open(entry, self._body[entry.start : entry.start + entry.box])
        except IntegrityError:
            return False
        return True

    def _rebuilt(self, header: bytes, stated: Sequence[Record], found: Mapping[int, Entry]) -> bytes:
        """The pack with a directory that is right but for boxes that are lost; empty where those cannot be found."""
        start, entries = HEADER.size, list[Entry]()
        for number, (id, length, box, codec) in enumerate(stated):
            entries.append(found.get(number) or Entry(number, id, length, start, box, codec))
            start += entries[-1].box
        if start != self._start or any(a.start + a.box != b.start for a, b in pairwise(entries)):
            return b""
        sealed = self._box.encrypt(nonce_of(DIRECTORY_NUMBER), directory_of(entries), header + self._trailer)
        return b"".join([header, self._body[HEADER.size : self._start], sealed, self._trailer])


def _stated_length(coded: bytes) -> int:
    """What a zstd frame says that it holds."""
    with suppress(zstandard.ZstdError):
        return int(zstandard.get_frame_parameters(coded).content_size)
    return 0
