"""Move the platform's packs to another storage: nothing damaged, and nothing of other times, comes with them."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import time_ns

from lepton.core.errors import ConfigError, ConflictError, IntegrityError
from lepton.server.house import House
from lepton.server.storage import Address, Storage, check_apart, claim, kept_of, mark_of, new_id, paths, platform_id
from lepton.store import storage, targets
from lepton.store.database import Database, Tx
from lepton.store.storage import Kept
from lepton.store.vault import packs_present
from lepton.vault.backup.check import check_packs, drop_damaged
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.target import Copied, copy_packs, size_of

LAST_S = storage.CLOSED_S
"""Longer than it takes to copy what came while all else was copied; begun anew with each round."""


def move(house: House, source: Storage, target: Address, *, progress: Progress) -> Copied:
    """Move the platform's packs to another storage; those in the old one stay, and count no more.

    Raises:
        ConflictError: it is the same storage or a part of it, another platform's, or one of backups.
        ConfigError: it cannot do what packs need.
        IntegrityError: packs are lost or damaged where they lie; nothing is changed.
    """
    database, root = house.database, house.root
    check_apart(str(target), [str(source.address), *(place.address for place in database.read(targets.every))])
    driver, platform = target.open(), platform_id(database)
    try:
        if mark_of(driver) == (platform, source.id):
            raise ConflictError(f"Content lies at {target} already", fix="Start the server again; no move is needed.")
        _check_whole(house, source, progress)
        given = kept_of(root, target, new_id())
        kept = database.write(partial(storage.begin, kept=given))
        try:
            is_new = claim(driver, target, platform=platform, id=kept.id)
        except (ConflictError, ConfigError):
            if kept.id == given.id:  # else a move that was begun before may go on
                database.write(storage.forget_next)
            raise
        if not is_new:  # of other times, or of this move when it was begun
            known = database.read(packs_present)
            drop_damaged(driver, house.vault.ring, known, progress=counted(progress, size_of(known)))
        copied, there = Copied(), set[bytes]()
        moved = partial(house.note, verb="storage moved", why=f"from {source.address} to {target}")
        while (packs := database.write(partial(_switched, kept=kept, there=there, note=moved))) is not None:
            tell = counted(progress, size_of(packs))
            # what lies in a new place is of other times: only what this move has copied itself is as it must be
            some = copy_packs(source.driver, driver, packs, progress=tell, looks=not is_new and not there)
            _refuse(database, some.lost)
            copied.packs, copied.size_bytes = copied.packs + some.packs, copied.size_bytes + some.size_bytes
            there |= {pack for each in packs.values() for pack, _ in each}
            database.write(partial(storage.close, until=time_ns() // 1000 + LAST_S * 1_000_000))
        return copied
    finally:
        database.write(partial(storage.close, until=0))
        driver.close()


def _check_whole(house: House, source: Storage, progress: Progress) -> None:
    """Read every byte before it is moved: damage must not become the only copy."""
    packs = house.database.read(packs_present)
    damage = check_packs(source.driver, house.vault.ring, packs, progress=counted(progress, size_of(packs)))
    _refuse(house.database, damage.packs)


def _refuse(database: Database, faults: Mapping[str, str]) -> None:
    """Refuse to move what is wrong with packs (path -> what), unless they are pruned by now."""
    present = database.read(paths)
    packs = [f"{path}: {fault}" for path, fault in faults.items() if path in present]
    if packs:
        raise IntegrityError(
            f"{len(packs)} packs cannot be moved: {'; '.join(packs[:3])}", fix="lepton vault repair --from URL"
        )


def _switched(
    tx: Tx, kept: Kept, there: Iterable[bytes], note: Callable[[Tx], None]
) -> dict[bytes, list[tuple[bytes, int]]] | None:
    """Packs that were not copied yet; None: there are none, and from now on they lie in the new storage."""
    present, copied = packs_present(tx), set(there)
    missing = {domain: [(id, size) for id, size in packs if id not in copied] for domain, packs in present.items()}
    missing = {domain: packs for domain, packs in missing.items() if packs}
    if missing:
        return missing
    storage.switch(tx, kept)
    note(tx)
    return None
