"""Locks of an append-only place, renewed: a pack is sent once, and needed by every later backup that names it.

All that lies there is locked anew for a whole period whenever a quarter of one has passed, so that nothing that any
backup needs is ever locked for less than three quarters, less the time between two backups.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol, runtime_checkable

from lepton.core.errors import NotFoundError, StorageRefusedError
from lepton.vault.backup.target import Target

PART = 4
AT_ONCE = 16


@runtime_checkable
class Extends(Protocol):
    """A driver that can extend locks."""

    def extend_lock(self, key: str, until: datetime) -> None:
        """Lock the key until then.

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
    """Lock all that lies there; how many objects that are. What is refused stands in the way of nothing else.

    Args:
        beat: called now and then; what it raises ends it.

    Raises:
        StorageRefusedError: some are refused; where all are, of the first part, the others are not tried.
    """
    driver, keys = target.driver, (head.key for head in target.driver.list())
    if not isinstance(driver, Extends):
        return 0

    def extend(key: str) -> StorageRefusedError | None:
        try:
            driver.extend_lock(key, until)
        except NotFoundError:  # somebody has hidden it, which `verify` says
            return None
        except StorageRefusedError as fault:
            return fault
        return None

    count, refused = 0, list[StorageRefusedError]()
    with closing(driver), ThreadPoolExecutor(AT_ONCE, "lepton-locks") as pool:
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
    return count
