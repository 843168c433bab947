"""How much each workspace may keep in the vault: an administrator's limit on the bytes of its packs.

What counts is what is stored: chunks once, compressed, those of older versions too until they are pruned. What comes in
counts with its own length until it is put: who says how much that is has it reserved, or is refused before any of it
comes; who does not is refused while it comes; nothing of it is kept. Each process knows what comes through itself: with
several servers, or a parcel that is received beside them, a workspace may go over by what the others have on the way.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from threading import Condition, Lock

from lepton.core.errors import LeptonError, TooLargeError
from lepton.core.resource import Resource
from lepton.core.size import format_bytes
from lepton.server.people import find_named
from lepton.server.submit import Author, changed
from lepton.store import domains, resources
from lepton.store.database import Database, Tx
from lepton.store.vault import bytes_of
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks

LIMIT = "storage_bytes"
AHEAD_BYTES = 64 << 20
"""Reserved at most before it is looked again what others than this process have stored."""


class StorageQuotaError(LeptonError):
    """The workspace has no room left for it."""

    code, status = "storage_quota", 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a workspace keeps."""

    stored_bytes: int
    limit_bytes: int | None
    """None: no limit."""
    coming_bytes: int = 0
    """On their way into it."""

    @property
    def left(self) -> int | None:
        """None: no limit."""
        taken = self.stored_bytes + self.coming_bytes
        return None if self.limit_bytes is None else max(0, self.limit_bytes - taken)


def used(tx: Tx, workspace: str, *, besides: Collection[bytes] = ()) -> Used:
    """What a workspace keeps, but for some packs, and may keep.

    Raises:
        NotFoundError: there is no such workspace.
    """
    limit = _limit(tx, workspace)
    known = domains.find(tx, workspace)
    return Used(stored_bytes=bytes_of(tx, known[1], besides=besides) if known else 0, limit_bytes=limit)


def _limit(tx: Tx, workspace: str) -> int | None:
    limit = find_named(tx, "workspace", "", workspace).spec.get(LIMIT)
    return None if limit is None else int(limit)


def set_limit(tx: Tx, workspace: str, limit_bytes: int | None, author: Author) -> Resource:
    """Limit a workspace, or (None) take its limit away; what it has stays.

    Raises:
        NotFoundError: there is no such workspace.
    """
    found = find_named(tx, "workspace", "", workspace)
    spec = {name: value for name, value in found.spec.items() if name != LIMIT}
    spec |= {} if limit_bytes is None else {LIMIT: limit_bytes}
    why = "no limit" if limit_bytes is None else f"at most {limit_bytes} bytes"
    newer = replace(found, spec=spec, updated_at=author.at)
    return resources.update(tx, newer, changed(found, "storage limited", author, why), expected=found.revision)


class Coming:
    """Content that is on its way into a workspace: what is reserved for it, less what of it is put already."""

    def __init__(self, ledger: "_Ledger") -> None:
        self._ledger = ledger
        self._batches: list[Batch] = []
        self.promised = 0
        self.is_refused = False

    @property
    def left(self) -> int:
        """Bytes that are still to be put."""
        return max(0, self.promised - sum(batch.taken_bytes for batch in self._batches))

    def begin(self, batch: Batch) -> None:
        """Note the batch, or one more, that it is put into."""
        self._batches.append(batch)

    def bounded(self, pieces: Iterable[bytes], *, limit: int) -> Iterator[bytes]:
        """The pieces, as long as they fit.

        Args:
            limit: the most bytes of anything.

        Raises:
            StorageQuotaError: the workspace has no room for them.
            TooLargeError: they are more than `limit`.
        """
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > limit:
                raise TooLargeError(f"This is larger than {limit} bytes", fix="Split it, or raise max_object_bytes.")
            if size > self.promised:
                self._ledger.reserve(self, size - self.promised)
            yield piece


class _Ledger:
    """What is on its way into one workspace through this process."""

    def __init__(self, database: Database, workspace: str, chunks: Chunks) -> None:
        self._database, self._workspace, self._chunks = database, workspace, chunks
        self._changed = Condition()
        self._coming: set[Coming] = set()
        self._room = 0
        """So much there is without another look; what others of this process take is off it."""

    @contextmanager
    def bringing(self, size_bytes: int) -> Iterator[Coming]:
        """As `Allowance.bringing`."""
        coming = Coming(self)
        with self._changed:
            self._coming.add(coming)
            self._room = 0
        try:
            self.reserve(coming, size_bytes)
            yield coming
        finally:
            with self._changed:
                self._coming.discard(coming)
                self._changed.notify_all()

    def reserve(self, coming: Coming, size_bytes: int) -> None:
        """Reserve so much more; while somebody who was refused has not yet left his room, that is waited for.

        Raises:
            StorageQuotaError: there is not so much room.
        """
        with self._changed:
            while size_bytes > self._room:
                told = self._look()
                self._room = AHEAD_BYTES + size_bytes if told.left is None else told.left
                if size_bytes <= self._room:
                    break
                if not any(each.is_refused for each in self._coming):
                    coming.is_refused = True
                    raise _full(self._workspace, told)
                self._changed.wait()
            self._room = min(self._room - size_bytes, AHEAD_BYTES)
            coming.promised += size_bytes

    def _look(self) -> Used:
        """What is stored, and what is on its way: put and not stored yet, or still to be put."""
        if self._database.read(lambda tx: _limit(tx, self._workspace)) is None:
            return Used(stored_bytes=0, limit_bytes=None)
        packs, left = self._chunks.unstored(lambda: sum(each.left for each in self._coming))
        told = self._database.read(lambda tx: used(tx, self._workspace, besides=packs))
        return replace(told, coming_bytes=left + sum(packs.values()))


class Allowance:
    """Holds what comes in against the limits: who comes first has the room. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._ledgers: dict[bytes, _Ledger] = {}

    def bringing(self, workspace: str, chunks: Chunks, size_bytes: int = 0) -> AbstractContextManager[Coming]:
        """Content on its way into a workspace, for as long as it is; what it takes is reserved.

        Args:
            chunks: of the workspace.
            size_bytes: how much it says that it is; 0: it does not say, and reserves while it comes.

        Raises:
            StorageQuotaError: the workspace has no room for so much.
        """
        with self._lock:
            ledger = self._ledgers.setdefault(chunks.domain, _Ledger(self._database, workspace, chunks))
        return ledger.bringing(size_bytes)


def _full(workspace: str, told: Used) -> StorageQuotaError:
    limit, stored = format_bytes(told.limit_bytes or 0), format_bytes(told.stored_bytes)
    coming = f", and {format_bytes(told.coming_bytes)} are on their way" if told.coming_bytes else ""
    return StorageQuotaError(
        f"Workspace '{workspace}' may keep {limit} and keeps {stored}{coming}: there is no room for this",
        fix="Remove what nobody needs (it counts until it is pruned), or have it raised: lepton vault quota",
    )
