"""Cut content into chunks where the content itself says so: an edit changes the chunks around it and no others.

FastCDC (Xia et al. 2020), about 64 KiB a chunk. Where the cuts fall depends on a seed of the domain: with one seed for
all, the lengths alone would tell which known file is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from pyfastcdc import FastCDC

MEAN_BYTES = 64 << 10
LEAST_BYTES = 16 << 10
MOST_BYTES = 256 << 10
SEED_BYTES = 8
WINDOW_BYTES = 2 << 20
"""Cut at once: few enough to stay small, so many that what is looked at twice does not count."""


Fill = Callable[[memoryview], int]
"""Puts the next bytes of content into the beginning of what it is given; returns how many, 0 only at the end."""


class Cutter:
    """Cuts for one domain; any thread may use it."""

    def __init__(self, seed: bytes) -> None:
        number = int.from_bytes(seed, "little") >> 1 or 1  # the cutter takes 63 bits of it, and 0 for none
        self._cdc = FastCDC(MEAN_BYTES, min_size=LEAST_BYTES, max_size=MOST_BYTES, seed=number)

    def cut(self, content: Iterable[bytes] | Fill) -> Iterator[memoryview]:
        """The chunks of content, in order. In what pieces it comes makes no difference.

        A chunk is valid until the next is asked for.
        """
        return chain.from_iterable(self.cut_together(content))

    def cut_together(self, content: Iterable[bytes] | Fill) -> Iterator[Sequence[memoryview]]:
        """The same, as many at once as are in memory; they are valid until the next ones are asked for."""
        fill = content if callable(content) else _filled_from(content)
        buffer = _taken()
        try:
            with memoryview(buffer) as whole:
                yield from self._cut(whole, fill)
        finally:
            if len(_spare) < MOST_SPARE:
                _spare.append(buffer)

    def _cut(self, whole: memoryview, fill: Fill) -> Iterator[Sequence[memoryview]]:
        held, is_last = 0, False
        while not is_last:
            while held < len(whole) and not is_last:
                more = fill(whole[held:])
                held, is_last = held + more, more == 0
            done, found = 0, list[memoryview]()
            for chunk in self._cdc.cut_buf(whole[:held]):
                if not is_last and chunk.offset + MOST_BYTES > held:
                    break  # where it ends may depend on what is still to come
                done = chunk.offset + chunk.length
                found.append(whole[chunk.offset : done])
            yield found
            held -= done
            whole[:held] = whole[done : done + held]


MOST_SPARE = 4
_spare: list[bytearray] = []
"""Buffers to be used again: fresh memory costs more than what is done in it."""


def _taken() -> bytearray:
    try:
        buffer = _spare.pop()
    except IndexError:
        return bytearray(WINDOW_BYTES + MOST_BYTES)
    return buffer if len(buffer) == WINDOW_BYTES + MOST_BYTES else bytearray(WINDOW_BYTES + MOST_BYTES)


def _filled_from(pieces: Iterable[bytes]) -> Fill:
    rest = iter(pieces)
    left = memoryview(b"")

    def fill(room: memoryview) -> int:
        nonlocal left
        while not left:
            piece = next(rest, None)
            if piece is None:
                return 0
            left = memoryview(piece)
        size = min(len(left), len(room))
        room[:size] = left[:size]
        left = left[size:]
        return size

    return fill
