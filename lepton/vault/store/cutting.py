"""Cut content into chunks where the content itself says so: an edit changes the chunks around it and no others.

FastCDC (Xia et al. 2020), about 64 KiB a chunk. Where the cuts fall depends on a seed of the domain: with one seed for
all, the lengths alone would tell which known file is kept.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from pyfastcdc import FastCDC

MEAN_BYTES = 64 << 10
LEAST_BYTES = 16 << 10
MOST_BYTES = 256 << 10
SEED_BYTES = 8
WINDOW_BYTES = 8 << 20
"""Cut at once: few enough to stay small, so many that what is looked at twice does not count."""


class Cutter:
    """Cuts for one domain; any thread may use it."""

    def __init__(self, seed: bytes) -> None:
        number = int.from_bytes(seed, "little") >> 1 or 1  # the cutter takes 63 bits of it, and 0 for none
        self._cdc = FastCDC(MEAN_BYTES, min_size=LEAST_BYTES, max_size=MOST_BYTES, seed=number)

    def cut(self, pieces: Iterable[bytes]) -> Iterator[memoryview]:
        """The chunks of a stream, in order. How the stream comes in pieces makes no difference.

        A chunk is valid until the next is asked for.
        """
        rest = b""
        for window in _windows(pieces):
            held = memoryview(rest + window if rest else window)
            done = 0
            for chunk in self._cdc.cut_buf(held):
                if chunk.offset + MOST_BYTES > len(held):  # where it ends may depend on what is still to come
                    break
                yield held[chunk.offset : chunk.offset + chunk.length]
                done = chunk.offset + chunk.length
            rest = bytes(held[done:])
        for chunk in self._cdc.cut_buf(rest) if rest else ():
            yield chunk.data


def _windows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The stream in pieces of about one window; the last may be short."""
    held: list[bytes] = []
    size = 0
    for piece in chain.from_iterable(_split(piece) for piece in pieces):
        held.append(piece)
        size += len(piece)
        if size >= WINDOW_BYTES:
            yield held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _split(piece: bytes) -> Iterator[bytes]:
    if len(piece) <= WINDOW_BYTES:
        yield piece
        return
    for at in range(0, len(piece), WINDOW_BYTES):
        yield piece[at : at + WINDOW_BYTES]
