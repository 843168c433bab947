"""Objects: content of a workspace under its own SHA-256, sealed in the workspace's domain.

Which workspace holds which object lies in the database (`store/holdings.py`), with the blob that names its content.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lepton.core.artifact import check_digest
from lepton.core.errors import IntegrityError, TooLargeError
from lepton.vault.plain import PlainObjects
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read, read_blob, write
from lepton.vault.vault import Domain, Vault

MAX_OBJECT_BYTES = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Where an object lies."""

    digest: str
    domain: bytes
    """Empty: it is kept in the clear, as older versions did."""
    blob: bytes
    """73 bytes that name its content in the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was stored, durable, to be told to the database with the packs that it relies on."""

    held: Held
    uses: frozenset[bytes]
    healed: int = 0
    """Chunks that were damaged where they lay, and are stored again."""


def untold(batch: Batch) -> None:
    """Nobody is told of a batch."""


class Objects:
    """The objects of all workspaces."""

    def __init__(self, vault: Vault, plain: PlainObjects) -> None:
        self.vault, self.plain = vault, plain

    def put(
        self,
        domain: Domain,
        pieces: Iterable[bytes],
        digest: str,
        *,
        limit: int = MAX_OBJECT_BYTES,
        doubts: bool = False,
        begins: Callable[[Batch], None] = untold,
    ) -> Stored:
        """Store the bytes under `digest`. Nothing is kept unless all is well.

        Args:
            begins: is told of the batch that they are put into.
            doubts: the object is there already: what of it cannot be read is stored again.

        Raises:
            IntegrityError: they have another digest.
            TooLargeError: there are more than `limit` bytes.
            StorageFullError: no room.
        """
        check_digest(digest)
        with domain.chunks.writing(doubts=doubts) as batch:
            begins(batch)
            blob = write(batch, domain.cutter, limited(pieces, limit))
            _check(blob.sha256.hex(), digest)
            uses = batch.finish()
        return Stored(held=Held(digest=digest, domain=domain.id, blob=blob.to_bytes()), uses=uses, healed=batch.healed)

    def open(self, held: Held, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes in chunks, each checked before it is given.

        Raises:
            IntegrityError: the kept bytes are damaged.
            NotFoundError: it is gone.
        """
        if not held.domain:
            return self.plain.open(held.digest, start=start, stop=stop)
        domain = self.vault.domain(held.domain)
        return (bytes(piece) for piece in read(domain.chunks, read_blob(held.blob), start=start, stop=stop))

    def size(self, held: Held) -> int:
        """Bytes of the object.

        Raises:
            NotFoundError: it is kept in the clear, and gone.
        """
        return read_blob(held.blob).size_bytes if held.domain else self.plain.size(held.digest)


def _check(found: str, digest: str) -> None:
    if found != digest:
        raise IntegrityError(f"The bytes have the SHA-256 {found}, not {digest}", fix="Send the bytes again, whole.")


def limited(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The pieces, as long as they are not too many bytes.

    Raises:
        TooLargeError: they are more than `limit`.
    """
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise TooLargeError(f"This is larger than {limit} bytes", fix="Split it, or raise the limit.")
        yield piece
