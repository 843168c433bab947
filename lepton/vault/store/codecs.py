"""Encode chunks: each by what its own bytes are like, and as they are where nothing is saved.

A sample says whether zstd finds anything; if not, whether it does once the bytes of equal place in numbers stand
together (floats: their exponents are alike, their low bits noise). Most of what does not shrink costs only the sample.
"""

from collections.abc import Mapping
from enum import IntEnum
from threading import local
from typing import Any

import lz4.block
import numpy as np
import zstandard
from numpy.typing import NDArray

from lepton.core.errors import IntegrityError
from lepton.vault.store.cutting import MOST_BYTES

Octets = bytes | bytearray | memoryview


class Codec(IntEnum):
    """How a box holds its chunk. The numbers are on disk."""

    RAW = 0
    ZSTD = 1
    SPLIT_2 = 2
    SPLIT_4 = 4
    SPLIT_8 = 8
    LZ4 = 16


class Tier(IntEnum):
    """How often a chunk is expected to be read. The numbers are on disk."""

    WARM = 0
    COLD = 1
    HOT = 2


WIDTHS: Mapping[Codec, int] = {Codec.SPLIT_2: 2, Codec.SPLIT_4: 4, Codec.SPLIT_8: 8}
LEVELS: Mapping[Tier, int] = {Tier.WARM: 1, Tier.COLD: 19, Tier.HOT: 1}
"""Of zstd. In chunks of 64 KiB level 3 gains 0 to 6 % on level 1 and takes up to twice its time: the long matches that
it looks for do not fit."""
LOOK_EVERY, LOOK_NOISE = 32, 8
"""Chunks after which samples are looked at whole, although the last codec suits; noise may be numbers."""
ALMOST = 1.2
SAMPLE_BYTES = 2048
"""Taken at three places."""
GAIN = 0.97
"""What an encoding must come to, of the whole, to be worth decoding."""
HINT = 0.95
"""What a sample must come to, to try the whole."""
ALIKE = 2.0
"""How much more alike the bytes at one place must be than all, to look at a chunk as numbers."""
PLACES = np.arange(8, dtype=np.int64) << 8
SHORTEST = 64
"""A shorter chunk stays as it is."""

_here = local()
"""Compressors are not for two threads at once."""


class Encoder:
    """Encodes the chunks of one writer, for one thread: hot ones decode fastest, cold ones are smallest.

    Chunks that follow each other are mostly alike, so what suited the last is tried first; samples are looked at when
    it does not, and every so often.
    """

    def __init__(self, tier: Tier = Tier.WARM) -> None:
        self._tier, self._turn = tier, 0
        self._last, self._least, self._most = Codec.RAW, 0.0, GAIN
        """What suited the last chunk, and what it must come to again, of the whole, to suit without a look."""

    def encode(self, chunk: Octets) -> tuple[Codec, Octets]:
        """The codec that suits a chunk, and the chunk in it."""
        self._turn += 1
        if self._last is not Codec.RAW and self._turn % LOOK_EVERY and len(chunk) >= SHORTEST:
            found = _encoded(chunk, self._last, self._tier)
            if self._least <= len(found[1]) / len(chunk) <= self._most:
                return found
        if self._last is Codec.RAW and self._turn % LOOK_NOISE and _is_noise(chunk):
            return Codec.RAW, chunk
        self._last = _suits(chunk)
        found = _encoded(chunk, self._last, self._tier)
        if len(found[1]) >= GAIN * len(chunk):
            self._last, found = Codec.RAW, (Codec.RAW, chunk)
        share = len(found[1]) / max(1, len(chunk))
        self._least, self._most = share / ALMOST, min(GAIN, share * ALMOST)
        return found


def _encoded(chunk: Octets, codec: Codec, tier: Tier) -> tuple[Codec, Octets]:
    if codec is Codec.RAW:
        return codec, chunk
    if codec is Codec.ZSTD and tier is Tier.HOT:
        return Codec.LZ4, lz4.block.compress(chunk, store_size=False)
    if codec is Codec.ZSTD:
        return codec, _compressor(LEVELS[tier]).compress(chunk)
    return codec, _split(chunk, WIDTHS[codec], LEVELS[tier])


def decode(codec: int, body: Octets, length: int) -> Octets:
    """The chunk of that length.

    Raises:
        IntegrityError: the codec is not known, or `body` decodes to anything else; never more than `length` is made.
    """
    if not 0 <= length <= MOST_BYTES:
        raise IntegrityError(f"A chunk of {length} bytes cannot be", fix="Restore it from a backup.")
    found = body if codec == Codec.RAW else _decompressed(codec, body, length)
    if len(found) != length:
        raise IntegrityError(f"A chunk has {len(found)} bytes, not {length}", fix="Restore it from a backup.")
    return found


def _decompressed(codec: int, body: Octets, length: int) -> Octets:
    try:
        if codec == Codec.LZ4:
            return bytes(lz4.block.decompress(body, uncompressed_size=length))
        width = 0 if codec == Codec.ZSTD else WIDTHS[Codec(codec)]
        stated = zstandard.get_frame_parameters(body).content_size
        if stated != length:
            raise IntegrityError(f"A chunk has {stated} bytes, not {length}", fix="Restore it from a backup.")
        found: bytes = _decompressor().decompress(body, max_output_size=length)
    except (zstandard.ZstdError, lz4.block.LZ4BlockError, KeyError, ValueError) as fault:
        raise IntegrityError(f"A chunk cannot be decoded: {fault}", fix="Restore it from a backup.") from fault
    return _joined(found, width) if width else found


def _is_noise(chunk: Octets) -> bool:
    """Whether zstd finds nothing; it says nothing of numbers."""
    sample = _sample(chunk)
    return len(sample) < SHORTEST or _share(sample) >= HINT


def _suits(chunk: Octets) -> Codec:
    """The codec that a sample speaks for."""
    sample = _sample(chunk)
    if len(sample) < SHORTEST:
        return Codec.RAW
    share, found = _share(sample), Codec.ZSTD
    if _looks_like_numbers(sample):
        shares = {codec: _split_share(sample, width) for codec, width in WIDTHS.items()}
        best = min(shares, key=shares.__getitem__)
        share, found = min((share, found), (shares[best], best))
    return found if share < HINT else Codec.RAW


def _looks_like_numbers(sample: bytes) -> bool:
    """Whether the bytes at one of eight places are far more alike than all are: chance that two of them are equal."""
    places = np.frombuffer(sample, np.uint8, len(sample) & ~7).reshape(-1, 8) + PLACES
    counts = np.bincount(places.ravel(), minlength=PLACES.size << 8).reshape(-1, 256)
    whole = counts.sum(axis=0)
    alike = (counts * counts).sum(axis=1).max() / len(places) ** 2
    return bool(alike > ALIKE * (whole * whole).sum() / places.size**2)


def _share(body: bytes) -> float:
    """What zstd makes of it, of the whole."""
    return len(_compressor(LEVELS[Tier.WARM]).compress(body)) / len(body)


def _split_share(sample: bytes, width: int) -> float:
    planes = _planes(sample, width)
    return sum(_share(plane.tobytes()) for plane in planes) / len(planes)


def _sample(chunk: Octets) -> bytes:
    """All of a short chunk, else its beginning, middle and end."""
    if len(chunk) <= 4 * SAMPLE_BYTES:
        return bytes(chunk)
    view, middle = memoryview(chunk), len(chunk) // 2 & ~7
    last = len(chunk) - SAMPLE_BYTES & ~7
    return b"".join(view[at : at + SAMPLE_BYTES] for at in (0, middle, last))


def _planes(body: Octets, width: int) -> NDArray[np.uint8]:
    """(width, elements): all first bytes of elements, then all second ones, and so on."""
    whole = len(body) // width
    table = np.frombuffer(body, np.uint8, whole * width).reshape(whole, width)
    found = np.empty((width, whole), np.uint8)
    for place in range(width):
        found[place] = table[:, place]
    return found


def _split(body: Octets, width: int, level: int) -> bytes:
    """A zstd frame of the planes, each in blocks of its own, as they are unlike; then what is left over."""
    planes = _planes(body, width)
    frame = _compressor(level).compressobj(size=len(body))
    parts = []
    for plane in planes:
        parts += [frame.compress(plane), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*parts, frame.compress(bytes(body[planes.size :])), frame.flush()])


def _joined(body: Octets, width: int) -> bytes:
    """The chunk from its planes and what is left over."""
    whole = len(body) // width
    planes = np.frombuffer(body, np.uint8, whole * width).reshape(width, whole)
    found = np.empty(len(body), np.uint8)
    table = found[: whole * width].reshape(whole, width)
    for place in range(width):
        table[:, place] = planes[place]
    found[whole * width :] = np.frombuffer(body, np.uint8)[whole * width :]
    return found.tobytes()


def _compressor(level: int) -> Any:
    if not hasattr(_here, "compressors"):
        _here.compressors = {}
    if level not in _here.compressors:
        _here.compressors[level] = zstandard.ZstdCompressor(level=level)
    return _here.compressors[level]


def _decompressor() -> Any:
    if not hasattr(_here, "decompressor"):
        _here.decompressor = zstandard.ZstdDecompressor()
    return _here.decompressor
