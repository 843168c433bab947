"""Locks of an append-only place, renewed: a pack is sent once, and needed by every later backup that names it.

All that lies there is locked anew for a whole period whenever a quarter of one has passed, so that nothing that any
backup needs is ever locked for less than three quarters, less the time between two backups. Packs and manifests are
written once, so that of each the first version counts, and what came after it hides it: all their versions are locked.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Protocol, runtime_checkable

from lepton.core.errors import InvalidError, NotFoundError, StorageRefusedError
from lepton.vault.backup.target import Target
from lepton.vault.driver import Version
from lepton.vault.uses import BACKUPS, DUMPS, PACKS, SECOND_MANIFESTS

PART = 4
AT_ONCE = 16


@runtime_checkable
class Extends(Protocol):
    """A driver of a storage that keeps versions, and can extend their locks."""

    def versions(self) -> Iterator[Version]:
        """All versions of all keys, and marks that they were deleted: by key, of each the newest first.

        Raises:
            StorageRefusedError: that is not allowed.
        """
        ...

    def extend_lock(self, key: str, until: datetime, version: str = "") -> None:
        """Lock a version of the key until then, the newest if none is named.

        Raises:
            NotFoundError: there is none.
            StorageRefusedError: that is not allowed.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


def is_due(renewed_at: datetime, now: datetime, lock_s: int) -> bool:
    """Whether locks of so many seconds, renewed then, are to be renewed now."""
    return not renewed_at <= now < renewed_at + timedelta(seconds=lock_s / PART)


def renew(target: Target, until: datetime, beat: Callable[[], None]) -> int:
    """Lock all that lies there; how many versions of objects that are. What is refused hinders nothing else.

    Args:
        beat: called now and then; what it raises ends it.

    Raises:
        StorageRefusedError: some are refused; where all are, of the first part, the others are not tried.
    """
    driver, count, refused = target.driver, 0, list[StorageRefusedError]()
    if not isinstance(driver, Extends):
        return 0

    def extend(wanted: tuple[str, str]) -> StorageRefusedError | None:
        try:
            driver.extend_lock(wanted[0], until, wanted[1])
        except (NotFoundError, InvalidError):  # it was hidden meanwhile, which `verify` says; or is somebody else's
            return None
        except StorageRefusedError as fault:
            return fault
        return None

    with closing(driver), ThreadPoolExecutor(AT_ONCE, "lepton-locks") as pool:
        keys, unlisted = _wanted(target, driver)
        while some := list(islice(keys, 64 * AT_ONCE)):
            refused += [fault for fault in pool.map(extend, some) if fault is not None]
            count += len(some)
            beat()
            if len(refused) == count:  # a right is lacking
                break
    if refused:
        raise StorageRefusedError(
            f"{len(refused)} of {count} locks are not extended. {refused[0].message}", fix=refused[0].fix
        )
    if unlisted:
        raise StorageRefusedError(f"Only what nobody has hidden is locked anew: {unlisted.message}", fix=unlisted.fix)
    return count


def is_written_once(key: str) -> bool:
    """Whether a key of a place is a pack, or a manifest."""
    return key.startswith((BACKUPS, SECOND_MANIFESTS, PACKS, DUMPS))


def _wanted(target: Target, driver: Extends) -> tuple[Iterator[tuple[str, str]], StorageRefusedError | None]:
    """Keys and versions that are to be locked; and why those that are hidden are not among them, if so."""
    found = driver.versions()
    try:
        first = next(found, None)
    except StorageRefusedError as fault:
        return ((head.key, "") for head in target.driver.list()), fault
    return (
        (each.key, each.id)
        for each in chain([first] if first else [], found)
        if each.etag and (each.is_newest or is_written_once(each.key))
    ), None
