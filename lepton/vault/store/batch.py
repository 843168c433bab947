"""What one writer puts into the chunks of a domain: it counts once all of it is durable, or is taken back."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lepton.core.errors import LeptonError
from lepton.vault.store.codecs import Encoder, Octets
from lepton.vault.store.filling import Filling
from lepton.vault.store.index import Found
from lepton.vault.store.packs import chunk_id

if TYPE_CHECKING:
    from lepton.vault.store.chunks import Chunks

log = logging.getLogger("lepton")


class Batch:
    """What one writer puts; for one thread. Nothing of it counts before `finish`.

    With `with`, what it put is given up where the block fails.
    """

    def __init__(self, chunks: "Chunks", *, doubts: bool = False) -> None:
        self.chunks, self._doubts = chunks, doubts
        self.filled: set[Filling] = set()
        """Packs that hold what it has put, or found there before they were stored."""
        self.own: Filling | None = None
        """The open pack that it fills."""
        self._uses: set[bytes] = set()
        self._encoder = Encoder(chunks.tier)
        self.taken_bytes = 0
        """Of all chunks that it was given."""
        self.new_bytes = 0
        """Of chunks that were not there before."""
        self.healed = 0
        """Chunks that were there, could not be read, and are stored again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is not None:
            self.abandon()

    def put(self, chunk: Octets, *, again: bool = False) -> bytes:
        """Keep a chunk; return its id.

        Args:
            again: store it even where it is there: from then on it is read from its new place.
        """
        id = chunk_id(self.chunks.keys.chunk_id, chunk)
        known = self.chunks.known([id], self).get(id)
        self._keep(id, chunk, None if again and isinstance(known, Found) else known)
        return id

    def put_all(self, chunks: Sequence[Octets]) -> Sequence[bytes]:
        """As `put`, of many, which are looked for at once."""
        ids = [chunk_id(self.chunks.keys.chunk_id, chunk) for chunk in chunks]
        known = self.chunks.known(ids, self) if ids else {}
        for id, chunk in zip(ids, chunks, strict=True):
            known[id] = self._keep(id, chunk, known.get(id))
        return ids

    def _keep(self, id: bytes, chunk: Octets, known: Filling | Found | None) -> Filling | Found:
        if self._doubts and isinstance(known, Found) and not self.chunks.is_whole(known):
            known, self.healed = None, self.healed + 1
        if isinstance(known, Found):
            self._uses.add(known.pack)
        if known is not None:
            self.taken_bytes += len(chunk)
        else:
            known = self.chunks.add(id, len(chunk), *self._encoder.encode(chunk), batch=self)
            self.new_bytes += len(chunk)
        return known

    def relies_on(self, filling: Filling) -> None:
        """Wait for that pack too, and keep others from taking it back."""
        filling.batches.add(self)
        self.filled.add(filling)

    def abandon(self) -> None:
        """Give up: what only this batch put is forgotten, in memory and in the storage; prune finds what is left."""
        try:
            self.chunks.forget(self)
        except LeptonError as fault:
            log.warning("what was given up stays until it is pruned: %s", fault)

    def finish(self) -> frozenset[bytes]:
        """Return once all is durable: the packs that it lies in, to be named when a branch moves (`State.move`).

        Raises:
            UnavailableError, StorageFullError: a pack could not be stored; put everything again.
        """
        filled = self.chunks.flush(self)
        for filling in filled:
            filling.done.result()
        return frozenset(self._uses | {filling.id for filling in filled})
