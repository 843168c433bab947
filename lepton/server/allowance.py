"""How much each workspace may keep in the vault: an administrator's limit on the bytes of its packs.

What counts is what is stored: chunks once, compressed, those of older versions too until they are pruned. What comes in
counts with its own length until it lies there, so that what would not fit is refused while it comes, and nothing of it
is kept; many who write at once may go over by what they have on the way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lepton.core.errors import LeptonError, TooLargeError
from lepton.core.resource import Resource
from lepton.core.size import format_bytes
from lepton.server.people import find_named
from lepton.server.submit import Author, changed
from lepton.store import domains, resources
from lepton.store.database import Database, Tx
from lepton.store.vault import bytes_of

LIMIT = "storage_bytes"


class StorageQuotaError(LeptonError):
    """The workspace has no room left for it."""

    code, status = "storage_quota", 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a workspace keeps."""

    stored_bytes: int
    limit_bytes: int | None
    """None: no limit."""

    @property
    def left(self) -> int | None:
        """None: no limit."""
        return None if self.limit_bytes is None else max(0, self.limit_bytes - self.stored_bytes)


def used(tx: Tx, workspace: str) -> Used:
    """What a workspace keeps and may keep.

    Raises:
        NotFoundError: there is no such workspace.
    """
    limit = _limit(tx, workspace)
    known = domains.find(tx, workspace)
    return Used(stored_bytes=bytes_of(tx, known[1]) if known else 0, limit_bytes=limit)


def _limit(tx: Tx, workspace: str) -> int | None:
    limit = find_named(tx, "workspace", "", workspace).spec.get(LIMIT)
    return None if limit is None else int(limit)


def _limited(tx: Tx, workspace: str) -> Used | None:
    """As `used`; None, at no cost: there is no limit."""
    return None if _limit(tx, workspace) is None else used(tx, workspace)


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


class Allowance:
    """Holds what comes in against the limits. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, workspace: str, size_bytes: int) -> None:
        """Refuse what would not fit, before any of it comes.

        Raises:
            StorageQuotaError: the workspace has no room for so much.
        """
        told = self._database.read(lambda tx: _limited(tx, workspace))
        if told and told.left is not None and size_bytes > told.left:
            raise _full(workspace, told)

    def bounded(self, workspace: str, pieces: Iterable[bytes], *, limit: int) -> Iterator[bytes]:
        """The pieces, as long as they fit.

        Args:
            limit: the most bytes of anything.

        Raises:
            StorageQuotaError: the workspace has no room for them.
            TooLargeError: they are more than `limit`.
        """
        told = self._database.read(lambda tx: _limited(tx, workspace))
        left, size = told.left if told else None, 0
        for piece in pieces:
            size += len(piece)
            if told and left is not None and size > left:
                raise _full(workspace, told)
            if size > limit:
                raise TooLargeError(f"This is larger than {limit} bytes", fix="Split it, or raise max_object_bytes.")
            yield piece


def _full(workspace: str, told: Used) -> StorageQuotaError:
    limit, stored = format_bytes(told.limit_bytes or 0), format_bytes(told.stored_bytes)
    return StorageQuotaError(
        f"Workspace '{workspace}' may keep {limit} and keeps {stored}: there is no room for this",
        fix="Remove what nobody needs (it counts until it is pruned), or have it raised: lepton vault quota",
    )
