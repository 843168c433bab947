"""Check every byte of a platform's vault, or of a backup, and say what of it cannot be read whole."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from lepton.core.clock import Clock
from lepton.core.errors import IntegrityError, NotFoundError
from lepton.server.claims import is_spoiled
from lepton.server.house import House
from lepton.server.needed import Look, judged
from lepton.server.opening import Backup, DumpDamagedError, copies_of, opened, opens_of, own_state
from lepton.store.dump import dump
from lepton.store.restored import Told, read_told
from lepton.vault.backup.check import Damage, Reading, check_packs
from lepton.vault.backup.gone import LET_GO, MISSING, faulty, is_list_spoiled, missing
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import Target, manifest_paths, size_of
from lepton.vault.store.blobs import places, read_blob
from lepton.vault.store.files import pack_path, pack_path_ids
from lepton.vault.store.keyring import KeyRing
from lepton.vault.uses import BACKUPS_MARK, BACKUPS_OWNER, DUMPS

NOT_LET_GO = "it is gone, and was not let go of; lepton vault forget --at URL --backup N takes note that it may be"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found."""

    number: int
    bytes_read: int
    packs: int
    damaged: dict[str, str]
    """Path of a pack -> what is wrong with it."""
    spare: dict[str, str] = field(default_factory=dict)
    """The same of packs that are damaged, and of which all that is needed can be read from others."""
    names: list[str]
    """What cannot be read whole: `WORKSPACE: kind/name@number/path`, or `WORKSPACE: branch: path`."""


def check_backup(target: Target, manifest: Manifest, clock: Clock, *, progress: Progress) -> Checked:
    """Read every byte of a backup, and name what is damaged."""
    (found,) = check_backups(target, [manifest], clock, progress=progress)
    return found


def check_backups(
    target: Target, manifests: Sequence[Manifest], clock: Clock, *, progress: Progress
) -> Sequence[Checked]:
    """Read every byte of some backups of one platform, each pack once, and name what is damaged of each."""
    here = _Place(target, manifests, clock, progress)
    found = {manifest.number: here.check(manifest) for manifest in sorted(manifests, key=lambda each: each.number)}
    return [found[manifest.number] for manifest in manifests]


class _Place:
    """A place whose backups are checked, the oldest first, as the order of packs is that in which they came."""

    def __init__(self, target: Target, manifests: Sequence[Manifest], clock: Clock, progress: Progress) -> None:
        self._target, self._clock, self._second = target, clock, Second(target.driver)
        self._there = {head.key for head in self._second.list()}
        self._first, self._copies = Reading(target.driver), Reading(self._second)
        self._faulty = faulty(target, opens_of(manifests[0])) if manifests else {}
        sizes = {pack: size for each in manifests for found in each.packs.values() for pack, size in found}
        twice = {pack: size for each in manifests for found in self._twice(each).values() for pack, size in found}
        self._tell = counted(progress, sum(sizes.values()) + sum(twice.values()))

    def check(self, manifest: Manifest) -> Checked:
        """One of them."""
        packs, domain, target = manifest.packs, manifest.domain, self._target
        ring, twice = KeyRing(own_state(manifest), manifest.vault_root), self._twice(manifest)
        dumps = self._first.check(ring, {domain: packs[domain]}, progress=self._tell)
        copies = self._copies.check(ring, twice, progress=self._tell)
        damaged, spare = self._beside(manifest) | copies_of(target, manifest).damaged, dict[str, str]()
        single = {pack_path(domain, pack) for pack, _ in packs[domain]} - self._there
        damaged |= {DUMPS + path: MISSING for path in sorted(single)}
        others = {each: found for each, found in packs.items() if each != domain}
        damage, names = Damage(), [f"backup {manifest.number}: its dump, without which nothing of it is restored"]
        try:
            with opened(target, manifest, self._clock) as backup:
                spare |= _beside_dump(backup, dumps) | {
                    DUMPS + path: why for path, why in _beside_dump(backup, copies).items()
                }
                damage = self._first.check(backup.vault.ring, others, progress=self._tell)
                names, unneeded = judged(Look(target.driver, backup.told, backup.vault.ring), damage)
                spare |= unneeded
        except DumpDamagedError:
            pass
        found = damaged | dumps.packs | {DUMPS + path: why for path, why in copies.packs.items()} | damage.packs
        return Checked(
            number=manifest.number,
            bytes_read=damage.bytes_read + dumps.bytes_read + copies.bytes_read,
            packs=sum(len(found) for found in packs.values()),
            damaged={path: why for path, why in found.items() if path not in spare},
            spare=spare,
            names=names,
        )

    def _twice(self, manifest: Manifest) -> dict[bytes, list[tuple[bytes, int]]]:
        """The packs of its dump that have a second copy."""
        own = manifest.packs[manifest.domain]
        return {manifest.domain: [each for each in own if pack_path(manifest.domain, each[0]) in self._there]}

    def _beside(self, manifest: Manifest) -> dict[str, str]:
        """What else is wrong there: backups that are gone, copies of manifests, and the file that says whose."""
        found = dict.fromkeys(gone_beside(self._target, manifest), NOT_LET_GO) | self._faulty
        if fault := self._target.mark_fault():
            found[BACKUPS_MARK] = f"it is {fault}"
        if is_list_spoiled(self._target, manifest.platform, opens_of(manifest)[1]):
            found[LET_GO] = "it is damaged"
        if is_spoiled(self._target):
            found[BACKUPS_OWNER] = "it is damaged: no backup is made there"
        return found


def gone_beside(target: Target, manifest: Manifest) -> list[str]:
    """Where backups were to lie beside one that are gone, and were not let go of."""
    return [manifest_paths(number)[0] for number in missing(target, manifest, opens_of(manifest)[1])]


def check_house(house: House, *, progress: Progress, domains: Collection[bytes] | None = None) -> Checked:
    """Read every byte of a platform's own vault, and name what is damaged.

    Args:
        domains: whose; None: all.
    """
    told = house.database.read(lambda tx: read_told(dump(tx)))
    if domains is not None:
        told = told.only(domains)
    packs = {domain: [(pack.id, pack.size_bytes) for pack in found] for domain, found in told.packs.items()}
    damage = check_packs(house.driver, house.vault.ring, packs, progress=counted(progress, size_of(packs)))
    plain, plain_bytes = _plain(house, told)
    told = replace(told, held={key: held for key, held in told.held.items() if key not in plain})
    names, spare = judged(Look(house.driver, told, house.vault.ring), damage)
    return Checked(
        number=0,
        bytes_read=damage.bytes_read + plain_bytes,
        packs=sum(len(found) for found in packs.values()),
        damaged={path: why for path, why in damage.packs.items() if path not in spare},
        spare=spare,
        names=names,
    )


def _plain(house: House, told: Told) -> tuple[set[tuple[str, str]], int]:
    """Which objects lie whole in the clear, as an older version kept them until they are sealed; and their bytes."""
    found, sizes = set[tuple[str, str]](), dict[str, int]()
    for key, held in told.held.items():
        if held.domain:
            continue
        with suppress(NotFoundError, IntegrityError):
            if held.digest not in sizes:
                sizes[held.digest] = sum(map(len, house.plain.open(held.digest)))
            found.add(key)
    return found, sum(sizes.values())


def needed(house: House, lost: Mapping[str, str]) -> dict[str, str]:
    """Of packs of the vault that are not there those that held what is needed, and cannot be read from others."""
    if not lost:
        return {}
    ids = {pack_path_ids(path) for path in lost}
    told = house.database.read(lambda tx: read_told(dump(tx))).only({domain for domain, _ in ids})
    _, spare = judged(
        Look(house.driver, told, house.vault.ring), Damage(packs=dict(lost), lost={pack for _, pack in ids})
    )
    return {path: why for path, why in lost.items() if path not in spare}


def _beside_dump(backup: Backup, damage: Damage) -> dict[str, str]:
    """Damaged packs of the platform's own domain of whose damage the dump of this backup needs nothing."""
    domain = backup.own.domain(backup.manifest.domain)
    ids = {id for id, _ in places(domain.chunks, read_blob(backup.manifest.dump))}
    return {
        path: damage.packs[path]
        for path, boxes in damage.boxes.items()
        if path not in damage.frames and not boxes & ids
    }
