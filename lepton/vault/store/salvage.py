"""Store again what can be read of the chunks that lie in damaged packs.

From then on they are read from their new place, and prune takes the damaged packs, as they hold nothing that is read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from lepton.core.errors import IntegrityError, LeptonError, NotFoundError
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.codecs import Octets
from lepton.vault.store.packs import Entry, PackReader
from lepton.vault.store.rescue import known


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Where else to look for what damaged packs held."""

    packs: Sequence[tuple[bytes, int]]
    """Id and bytes of the packs that may have those chunks whole that cannot be read there."""
    reader: Callable[[bytes], PackReader]
    """Of a pack."""
    noted: Callable[[bytes], Sequence[Entry]]
    """What is known of a pack beside its own directory, which may be damaged."""


def salvage(chunks: Chunks, damaged: Sequence[bytes], around: Around) -> int:
    """Move the chunks of damaged packs; return how many that were."""
    chunks.follow()
    moved, lost = 0, set[bytes]()
    with chunks.writing() as batch:
        for pack in damaged:
            for id in chunks.index.held_by(pack):
                try:
                    chunk = chunks.get(id)
                except (IntegrityError, NotFoundError):
                    lost.add(id)
                else:
                    batch.put(chunk, again=True)
                    moved += 1
        rest = (_elsewhere(lost, around), *(_noted(chunks, pack, around) for pack in damaged))
        for chunk in chain.from_iterable(rest):
            batch.put(chunk, again=True)
            moved += 1
        batch.finish()
    return moved


def _noted(chunks: Chunks, pack: bytes, around: Around) -> Iterator[Octets]:
    """Chunks that lie in a pack without a directory, and in no other."""
    for entry in around.noted(pack):
        if not chunks.index.find([entry.id]):
            try:
                yield around.reader(pack).read(entry)
            except (IntegrityError, NotFoundError):
                continue


def _elsewhere(wanted: set[bytes], around: Around) -> Iterator[Octets]:
    """The chunks that any of the packs has whole."""
    for pack, size in around.packs if wanted else ():
        try:
            found = around.reader(pack)
            entries, _ = known(found, size)
        except LeptonError:
            continue
        for entry in (each for each in entries if each.id in wanted):
            try:
                chunk = found.read(entry)
            except IntegrityError:
                continue
            wanted.discard(entry.id)
            yield chunk
