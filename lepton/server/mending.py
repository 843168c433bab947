"""Make the vault whole from a backup, and backups whole from the vault or from another place with backups."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lepton.core.clock import Clock
from lepton.core.errors import ConflictError, IntegrityError, LeptonError, NotFoundError
from lepton.server.checking import NOT_LET_GO, Checked, check_backups, check_house, gone_beside
from lepton.server.claims import Claim, is_spoiled, mend_owner
from lepton.server.house import SERVER_INDEX, House
from lepton.server.opening import DumpDamagedError, copies_of, opened, opens_of, own_state
from lepton.store.vault import packs_present
from lepton.vault.backup.check import Opens
from lepton.vault.backup.frozen import FrozenState
from lepton.vault.backup.gone import LET_GO, bring_back, is_list_spoiled, let_go_of, note, surely_gone
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.mending import Mended, mend_packs
from lepton.vault.backup.progress import Progress, Steps, counted
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import Target, manifest_paths, size_of
from lepton.vault.driver import Driver
from lepton.vault.store.files import PackFile, pack_path, pack_path_ids
from lepton.vault.store.index import noted
from lepton.vault.store.keyring import DomainKeys, KeyRing
from lepton.vault.store.packs import PackReader
from lepton.vault.store.salvage import Around, salvage
from lepton.vault.uses import BACKUPS_MARK, BACKUPS_OWNER, DUMPS

Packs = dict[bytes, list[tuple[bytes, int]]]
T = TypeVar("T")


def check_platform(places: Iterable[Target], platform: str) -> None:
    """Refuse places that say that another platform's backups lie there.

    Raises:
        ConflictError: one does.
    """
    for place in places:
        if (found := place.platform()) and found != platform:
            raise ConflictError(
                f"Backups of another platform lie at {place.address}", fix="Name a place of this one with --from."
            )


def mend_house(house: House, sources: Sequence[Driver], *, progress: Progress) -> Mended:
    """Make the platform's own vault whole; a running server reads what is whole again at once."""
    packs, mended = house.database.read(packs_present), Mended()
    tell = counted(progress, size_of(packs))
    mend_packs(house.driver, sources, house.vault.ring, packs, progress=tell, mended=mended)
    if mended.damaged:
        _move_out(house, packs, mended)
        domains = {pack_path_ids(path)[0] for path in mended.damaged}
        _judge(mended, [check_house(house, progress=progress, domains=domains)])
    return mended


def _move_out(house: House, packs: Packs, mended: Mended) -> None:
    """Store again what can be read of packs that no copy makes whole."""
    damaged: dict[bytes, list[bytes]] = {}
    for domain, pack in map(pack_path_ids, mended.damaged):
        damaged.setdefault(domain, []).append(pack)
    for domain, some in damaged.items():
        id_key = house.vault.ring.domain(domain).chunk_id

        def reader(pack: bytes, domain: bytes = domain, id_key: bytes = id_key) -> PackReader:
            source, key = PackFile(house.driver, domain, pack), house.vault.ring.pack(pack)
            return PackReader(source, domain=domain, pack=pack, key=key, id_key=id_key)

        theirs = house.folder / SERVER_INDEX / f"{domain.hex()}.db"  # the server's may know what a directory said
        around = Around(packs=packs[domain], reader=reader, noted=partial(noted, theirs))
        mended.moved += salvage(house.vault.domain(domain).chunks, some, around)


def _judge(mended: Mended, found: Sequence[Checked]) -> None:
    """Tell what is damaged still and needed from what is not."""
    needed = {path for checked in found for path in checked.damaged}
    spare = {path for checked in found for path in checked.spare} - needed
    mended.spare = {path: why for path, why in mended.damaged.items() if path in spare}
    mended.damaged = {path: why for path, why in mended.damaged.items() if path not in spare}
    mended.names = [
        name if name.startswith("backup ") or not checked.number else f"backup {checked.number}: {name}"
        for checked in found
        for name in checked.names
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What backups are mended from."""

    drivers: Sequence[Driver]
    """Where copies of packs lie."""
    rings: Sequence[Opens] = ()
    """What else may know keys of packs, where a dump is beyond repair."""
    id: str = ""
    """Of the place that is mended, where somebody knows it."""
    signer: bytes = b""
    """The platform's, where it is here."""
    claim: Claim | None = None
    """What the platform knows of whose it is."""


def mend_backups(
    target: Target,
    number: int,
    manifest_of: Callable[[Target, int], Manifest],
    elsewhere: Elsewhere,
    clock: Clock,
    *,
    progress: Progress,
) -> Mended:
    """Make backups whole: manifests, then the packs that their dumps lie in, which say the keys of all others.

    What is beyond repair is named, and stands in the way of nothing else.

    Args:
        number: of one backup; 0: all that lie there, or should.
        manifest_of: opens a manifest of a place; of the newest for 0.

    Raises:
        NotFoundError: no backup lies there.
    """
    mended, sources = Mended(), elsewhere.drivers
    copies = _copies(target, elsewhere)
    numbers = [number] if number else _numbers(target, copies, manifest_of)
    manifests = list(_manifests([target, *copies], numbers, manifest_of, mended))
    _mend_files(target, copies, manifests, elsewhere, mended)
    own, rest = _unique(manifests, is_own=True), _unique(manifests, is_own=False)
    total = sum(2 * size_of(packs) for _, packs in own) + sum(size_of(packs) for _, packs in rest)
    tell = counted(progress, total)
    for manifest, packs in own:
        _mend_dump(target, manifest, packs, sources, tell, mended)
    needed = [manifest for manifest, packs in rest if any(packs.values()) or _is_damaged(manifest, mended)]
    rings = [ring for manifest in needed for ring in _ring(target, manifest, clock, mended)]
    if len(rings) < len(needed):  # an older dump knows the keys of what is older
        rings += [ring for each in manifests if each not in needed for ring in _ring(target, each, clock, mended)]
    for _, packs in rest:
        mend_packs(target.driver, sources, _Rings([*rings, *elsewhere.rings]), packs, progress=tell, mended=mended)
    if mended.damaged:
        _judge(mended, check_backups(target, manifests, clock, progress=progress))
    if is_spoiled(target):
        fault = mend_owner(target, copies, elsewhere.claim)
        if fault:
            mended.damaged[BACKUPS_OWNER] = fault
        else:
            mended.whole_again.append(BACKUPS_OWNER)
    mended.damaged |= {path: NOT_LET_GO for manifest in manifests for path in gone_beside(target, manifest)}
    return mended


def _copies(target: Target, elsewhere: Elsewhere) -> list[Target]:
    """Those of the sources that are copies of the place, or its past: there, a number means the same backup."""
    id, others = elsewhere.id or target.id(), [Target(driver, "") for driver in elsewhere.drivers]
    return [other for other in others if (theirs := other.id()) and theirs == (id or theirs)]


def _numbers(target: Target, copies: Iterable[Target], manifest_of: Callable[[Target, int], Manifest]) -> Sequence[int]:
    """Of backups that lie there, or in a copy and were not let go of; the newest first."""
    found = set[int]()
    for copy in copies:
        with suppress(NotFoundError, IntegrityError):
            newest = manifest_of(copy, 0)
            there = {newest.number, *(newest.beside or ())} & {*copy.numbers()}
            found |= there - let_go_of(target, newest.platform, opens_of(newest)[1])
    try:
        found |= {*target.numbers()}
    except NotFoundError:
        if not found:
            raise
    return sorted(found, reverse=True)


def _manifests(
    places: Sequence[Target],
    numbers: Iterable[int],
    manifest_of: Callable[[Target, int], Manifest],
    mended: Mended,
) -> Iterable[Manifest]:
    """Those that can be read in one of the places, of which the first is mended: there their copies are made whole."""
    for number in numbers:
        faults = list[LeptonError]()
        for place in places:
            try:
                manifest = manifest_of(place, number)
            except (IntegrityError, NotFoundError) as fault:
                faults.append(fault)
                continue
            whole = next(iter(copies_of(place, manifest).whole.values()))
            mended.whole_again += places[0].complete(number, whole)
            yield manifest
            break
        else:
            if all(isinstance(fault, NotFoundError) for fault in faults):
                raise faults[0]
            mended.damaged[manifest_paths(number)[0]] = faults[0].message


def _mend_files(
    target: Target, copies: Iterable[Target], manifests: Sequence[Manifest], elsewhere: Elsewhere, mended: Mended
) -> None:
    """Write anew what says whose the backups are, and which were let go of."""
    if not manifests:
        return
    newest = manifests[0]
    id = elsewhere.id or next((manifest.place for manifest in manifests if manifest.place), "")
    if target.mend_mark(newest.platform, id):
        mended.whole_again.append(BACKUPS_MARK)
    if bring_back(target, copies, newest.platform, opens_of(newest)[1]):
        mended.whole_again.append(LET_GO)
    elif is_list_spoiled(target, newest.platform, opens_of(newest)[1]) and elsewhere.signer:
        note(target, newest.platform, elsewhere.signer, surely_gone(target, manifests))
        mended.whole_again.append(LET_GO)


def _unique(manifests: Iterable[Manifest], *, is_own: bool) -> list[tuple[Manifest, Packs]]:
    """Of each manifest the packs of the platform's own domain, or all others, that none before it has."""
    seen, found = set[bytes](), list[tuple[Manifest, Packs]]()
    for manifest in manifests:
        packs = {
            domain: [(pack, size) for pack, size in each if pack not in seen]
            for domain, each in manifest.packs.items()
            if (domain == manifest.domain) == is_own
        }
        seen |= {pack for each in packs.values() for pack, _ in each}
        found.append((manifest, packs))
    return found


def _mend_dump(
    target: Target, manifest: Manifest, packs: Packs, sources: Sequence[Driver], tell: Steps, mended: Mended
) -> None:
    """Make both copies of the packs whole that a dump lies in."""
    driver, second = target.driver, Second(target.driver)
    ring = KeyRing(own_state(manifest), manifest.vault_root)
    mend_packs(driver, [*sources, second], ring, packs, progress=tell, mended=mended)
    copies = Mended()
    mend_packs(second, [*sources, driver], ring, packs, progress=tell, mended=copies)
    mended.whole_again += [DUMPS + path for path in copies.whole_again]
    mended.damaged |= {DUMPS + path: fault for path, fault in copies.damaged.items()}


def _is_damaged(manifest: Manifest, mended: Mended) -> bool:
    """Whether a pack is damaged still that a dump may lie in."""
    own = {pack_path(manifest.domain, pack) for pack, _ in manifest.packs[manifest.domain]}
    return bool(own & {*mended.damaged})


def _ring(target: Target, manifest: Manifest, clock: Clock, mended: Mended) -> Iterable[Opens]:
    """What the dump of a backup knows the keys of; nothing where it is beyond repair."""
    try:
        with opened(target, manifest, clock) as backup:
            return [KeyRing(FrozenState(backup.told.keys, {}), manifest.vault_root)]
    except DumpDamagedError:
        mended.damaged[f"backup {manifest.number}: its dump"] = "no copy is whole, and nothing of it can be restored"
        return []


class _Rings:
    """Several that may know a key."""

    def __init__(self, rings: Sequence[Opens]) -> None:
        self._rings = rings

    def domain(self, domain: bytes) -> DomainKeys:
        """Of the first that knows it."""
        return self._first(lambda ring: ring.domain(domain))

    def pack(self, pack: bytes) -> bytes:
        """Of the first that knows it."""
        return self._first(lambda ring: ring.pack(pack))

    def _first(self, ask: Callable[[Opens], T]) -> T:
        for ring in self._rings:
            try:
                return ask(ring)
            except (NotFoundError, IntegrityError):
                continue
        raise NotFoundError("No dump that can be read has its key", fix="Use another backup.")
