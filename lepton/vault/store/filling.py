"""Packs that are being filled, where chunks lie in them, and which of those one read can fetch."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING

from lepton.vault.store.codecs import Codec
from lepton.vault.store.packs import FULL_BYTES, Entry, PackReader, PackWriter

if TYPE_CHECKING:
    from lepton.vault.store.batch import Batch

RUN_BYTES = 4 << 20
"""Read at once where chunks lie side by side."""
WINDOW = 256
"""Chunks that are looked up ahead of reading."""


class Filling:
    """A pack between its first chunk and its place in the index."""

    def __init__(self, id: bytes, key: bytes, writer: PackWriter, reader: PackReader) -> None:
        self.id, self.key, self.reader = id, key, reader
        self.entries: Sequence[Entry] = writer.entries
        """What it holds; nothing any more once it has ended, and its batches wait for its end alone."""
        self.writer: PackWriter | None = writer
        """None once it has ended; what it held is given free then."""
        self.batches: set[Batch] = set()
        """Those that put into it, or found there what they put."""
        self.owner: Batch | None = None
        """Who fills it; None: it is what several have ended with."""
        self.is_large = False
        """Whether it is too large to be put into one with others'."""
        self.is_open = True
        """Whether more can be put into it."""
        self.done: Future[None] = Future()
        self.is_over = False
        """Whether an older pack holds any of its chunks too: they are read from this one, so it must stay."""
        self.is_leaving = False
        """Whether it is being taken back: what is put is not to be found in it."""

    def has_room_for(self, other: "Filling") -> bool:
        """Whether all that another holds can be put into it."""
        ours, theirs = self.writer, other.writer
        return ours is not None and theirs is not None and ours.size_bytes + theirs.size_bytes <= FULL_BYTES

    def take(self, other: "Filling") -> Iterator[Entry]:
        """Seal all that another holds once more, in this one; where each chunk lies now."""
        assert self.writer and other.writer
        for entry in other.entries:
            body = other.reader.unsealed(entry, other.writer.boxes(entry, entry))
            yield self.writer.add(entry.id, entry.length, Codec(entry.codec), body)


Spot = tuple[bytes | Filling, Entry]
"""A chunk's pack, and where it lies in it."""


def windows(ids: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """Ids that are looked up together."""
    rest = iter(ids)
    while window := list(islice(rest, WINDOW)):
        yield window


def side_by_side(spots: Sequence[Spot]) -> Iterator[Sequence[Spot]]:
    """Runs of chunks that one read can fetch."""
    run: list[Spot] = []
    for pack, entry in spots:
        if run:
            its, last = run[-1]
            is_next = its == pack and last.start + last.box == entry.start
            if not is_next or entry.start + entry.box - run[0][1].start > RUN_BYTES:
                yield run
                run = []
        run.append((pack, entry))
    if run:
        yield run
