"""Keep what lies in an append-only place locked for as long as backups are made there."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import LeptonError, StorageRefusedError
from lepton.server.hiding import check_hidden
from lepton.server.house import House
from lepton.store import targets
from lepton.vault.backup.locks import is_due, renew
from lepton.vault.backup.target import Target
from lepton.vault.driver import AppendOnly


def lock_anew(
    house: House, target: Target, keeps: AppendOnly, *, beat: Callable[[], None] = lambda: None
) -> datetime | None:
    """Lock all that lies there for a whole period, if a quarter of one has passed since that was done last.

    Args:
        keeps: what the storage says of itself.
        beat: called now and then; what it raises ends it.

    Returns:
        Until when it is locked; None: it was not time.

    Raises:
        StorageRefusedError: the key has no right to; all that can be is locked.
        IntegrityError: somebody has hidden what backups need; that is locked all the same.
    """
    refused, until = None, None
    try:
        until = _lock(house, target, keeps, beat)
    except StorageRefusedError as fault:
        refused = fault
    try:
        check_hidden(house, target)
    except LeptonError as fault:
        told = f"{fault.message}. {refused.message}" if refused else fault.message
        raise type(fault)(told, fix=fault.fix) from fault
    if refused:
        raise refused
    return until


def _lock(house: House, target: Target, keeps: AppendOnly, beat: Callable[[], None]) -> datetime | None:
    now, id = house.clock.now(), target.id()
    before = from_micros(house.database.read(lambda tx: targets.locked_at(tx, id)))
    if not keeps.lock_s or not is_due(before, now, keeps.lock_s):
        return None
    until = now + timedelta(seconds=keeps.lock_s)
    count = renew(target, until, beat)
    house.database.write(lambda tx: targets.put_locked_at(tx, id, to_micros(now)))
    house.tell("locked", f"{count} objects at {target.address} until {until:%Y-%m-%d %H:%M}")
    return until
