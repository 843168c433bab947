"""What somebody with the key to an append-only place has hidden there, of what backups need."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from lepton.core.errors import IntegrityError, LeptonError, NotFoundError
from lepton.core.size import number_of
from lepton.server.expected import look
from lepton.server.house import House
from lepton.server.opening import open_manifest
from lepton.vault.backup.check import check_packs
from lepton.vault.backup.gone import is_its
from lepton.vault.backup.hiding import suspects
from lepton.vault.backup.locks import Extends
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import Target
from lepton.vault.driver import Driver
from lepton.vault.store.files import pack_path
from lepton.vault.uses import BACKUPS, DUMPS, SECOND_MANIFESTS

SHOWN = 3


def check_hidden(house: House, target: Target) -> None:
    """Refuse to call a place good where packs or manifests are hidden that backups need.

    Raises:
        IntegrityError: some are.
        StorageRefusedError: the key has no right to list versions.
    """
    found = suspects(target.driver) if isinstance(target.driver, Extends) else {}
    if not found:
        return
    hidden = sorted({*_manifests(house, target, found), *_packs(house, target, found)})
    if hidden:
        some = "; ".join(hidden[:SHOWN]) + ("; ..." if len(hidden) > SHOWN else "")
        before = f"as_of={min(found[key] for key in hidden) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}"
        past = f"{target.address}{'&' if '?' in target.address else '?'}{before}"
        raise IntegrityError(
            f"{number_of(len(hidden), 'file')} at {target.address} that backups need were written over or deleted "
            f"by somebody with the key ({some}); what was there is kept still, see {before}",
            fix=f"lepton vault repair --at '{target.address}' --from '{past}' brings it back; look who has the key.",
        )


def _manifests(house: House, target: Target, keys: Iterable[str]) -> Iterable[str]:
    lying = look(house, target)
    for key in keys:
        number = key.rpartition("/")[2]
        if not key.startswith((BACKUPS, SECOND_MANIFESTS)) or not number.isdigit() or int(number) in lying.strays:
            continue
        try:
            is_hidden = not is_its(house.opens_with, int(number), b"".join(target.driver.get(key)))
        except NotFoundError:
            is_hidden = int(number) in lying.missed  # else it was let go of before the place was append-only
        if is_hidden:
            yield key


def _packs(house: House, target: Target, keys: Mapping[str, datetime]) -> Iterable[str]:
    needed = dict[str, tuple[bytes, bytes, int]]()
    paths = {key.removeprefix(DUMPS) for key in keys}
    for number in target.numbers():
        with suppress(LeptonError):  # it is hidden itself, or another's
            manifest = open_manifest(target, key=None, root=house.opens_with, number=number)
            for domain, packs in manifest.packs.items():
                found = ((pack_path(domain, pack), (domain, pack, size)) for pack, size in packs)
                needed |= {path: pack for path, pack in found if path in paths}
    for key in keys:
        if (pack := needed.get(key.removeprefix(DUMPS))) is not None:
            driver: Driver = Second(target.driver) if key.startswith(DUMPS) else target.driver
            if not _is_whole(house, driver, pack):
                yield key


def _is_whole(house: House, driver: Driver, wanted: tuple[bytes, bytes, int]) -> bool:
    """By its key; where the vault does not know that any more, what was written first counts."""
    domain, pack, size = wanted
    try:
        found = check_packs(driver, house.vault.ring, {domain: [(pack, size)]}, progress=lambda _: None)
    except (IntegrityError, NotFoundError):
        return False
    return not found.packs
