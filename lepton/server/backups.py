"""Back a platform up to another storage: its database as a dump, its packs, its keys for the recovery key.

It works on the data directory, beside a running server or without one. The dump and the list of packs are of one
moment; packs are copied before the manifest, so a backup that was cut short is no backup, and the next goes on from
what it has copied. What prune took meanwhile makes it begin again.
"""

import logging
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from lepton.core.clock import to_micros
from lepton.core.errors import (
    ConflictError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from lepton.server.checking import needed
from lepton.server.claims import Claim
from lepton.server.expected import are_gone, is_ours, look
from lepton.server.house import House
from lepton.server.root import check_root
from lepton.server.sealing import vault_root
from lepton.server.storage import check_apart
from lepton.store import domains, facts, holdings, targets
from lepton.store.database import Tx
from lepton.store.dump import dump, packed
from lepton.store.targets import Place
from lepton.store.vault import packs_present
from lepton.vault.backup.check import check_packs
from lepton.vault.backup.manifest import Manifest, read_manifest, seal_manifest
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.recovery import RecoveryKey, make_key
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import FORGETTING, MAKING, Busy, Known, Target, copy_packs, size_of
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.store.blobs import Blob, write
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.files import pack_path
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.pages import Entry
from lepton.vault.store.sealing import Kind
from lepton.vault.store.state import Pack, State
from lepton.vault.uses import BACKUPS_MARK
from lepton.vault.vault import Domain

log = logging.getLogger("lepton")
PLATFORM = ""
"""The workspace, which nobody can name, whose domain is the platform's own."""
DUMP = "dump.jsonl"
TRIES = 3
OPENS_UP_TO = "recovery up to "
"""A fact of each recovery key that was replaced: the last backup that it opens."""
NOT_SEALED_FOR = "is not the one that backups are sealed for: it opens those alone that were made while it was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backup that was made."""

    number: int
    at: int
    packs: int
    size_bytes: int
    new_packs: int
    new_bytes: int
    lost: dict[str, str]
    """Path of a pack -> why it is not in the backup; and `in the clear` -> how many objects could not be sealed."""
    missed: list[int] = field(default_factory=list)
    """Numbers of the backups that are to lie beside it, and that somebody has removed."""


def new_recovery_key(house: House, *, is_another: bool) -> RecoveryKey:
    """Make the recovery key; from now on backups are sealed for it.

    Args:
        is_another: make one although there is one: backups from before still need the one before.

    Raises:
        ConflictError: there is one.
    """
    if house.database.read(lambda tx: facts.get(tx, "recovery")) and not is_another:
        raise ConflictError(
            "There is a recovery key", fix="Use it. --another makes one more; older backups still need the older key."
        )
    return make_key(platform=house.platform(), signer=house.verifier, at_least=house.last_backup())


def keep_recovery_key(house: House, key: RecoveryKey) -> int | None:
    """Seal for this key from now on; called once its file is safe.

    Returns:
        The last backup that the key before opens; None: there was none before.
    """

    def work(tx: Tx) -> int | None:
        before, last = facts.get(tx, "recovery"), int(facts.get(tx, "backup") or 0)
        facts.put(tx, "recovery", key.public.hex())
        if not before:
            house.note(tx, "recovery key made", _named(key))
            return None
        why = f"{_named(key)}; the one before opens {opened_up_to(last)}"
        house.note(tx, "recovery key replaced", why)
        facts.put(tx, OPENS_UP_TO + before, str(last))
        return last

    return house.database.write(work)


def refreshed(house: House, key: RecoveryKey) -> RecoveryKey:
    """The recovery key, which knows of the last backup now: nobody can pass an older one off as the newest.

    Raises:
        ConflictError: it is another platform's; or backups are not sealed for it any more.
    """
    if (key.platform, key.signer) != (house.platform(), house.verifier):
        raise ConflictError("The recovery key is another platform's", fix="Give the key of this platform.")
    present, last = house.database.read(
        lambda tx: (facts.get(tx, "recovery"), facts.get(tx, OPENS_UP_TO + key.public.hex()))
    )
    if key.public.hex() != present:
        opens = f"was replaced: it opens {opened_up_to(int(last))}, and no newer one" if last else NOT_SEALED_FOR
        raise ConflictError(
            f"The recovery key {opens}", fix="Refresh the newest key; keep this one as long as its backups are kept."
        )
    return replace(key, at_least=max(key.at_least, house.last_backup()))


def _named(key: RecoveryKey) -> str:
    return f"backups are sealed for {key.public.hex()[:16]}..."


def opened_up_to(last: int) -> str:
    """Which backups a key opens that was replaced after that one."""
    return f"backups up to {last}" if last else "no backup"


def back_up(house: House, target: Target, *, progress: Progress, is_new: bool = False, claims: bool = False) -> Made:
    """Make a backup.

    Args:
        is_new: the target may be one where no backups lie yet, although the platform has others.
        claims: it is this platform's from now on, whichever copy of it has made backups there.

    Raises:
        ConflictError: there is no recovery key yet; or something else lies there than the platform remembers.
        StorageSharedError: another copy of the platform makes backups there.
        InvalidError: the target lies in the data directory.
        UnavailableError, StorageFullError: the storage does not take it; what was copied is used by the next.
    """
    recovery = check_recovery_key(house)
    claim = settle(house, target, is_new=is_new, claims=claims)
    house.sealing().turn()
    with target.busy(MAKING, FORGETTING, busy(house)) as beat:

        def moved(done: int, total: int) -> None:
            beat(to_micros(house.clock.now()))
            progress(done, total)

        for _ in range(TRIES - 1):
            made = _back_up(house, target, claim, recovery, moved)
            if made is not None:
                return made
        return _back_up(house, target, claim, recovery, moved, is_last=True) or _endless()


def check_recovery_key(house: House) -> bytes:
    """The public half of the recovery key.

    Raises:
        ConflictError: there is none yet.
    """
    recovery = bytes.fromhex(house.database.read(lambda tx: facts.get(tx, "recovery")))
    if not recovery:
        raise ConflictError("There is no recovery key yet", fix="lepton vault recovery-key --out FILE")
    return recovery


def settle(house: House, target: Target, *, is_new: bool, claims: bool = False) -> Claim:
    """Make a target the platform's, and remember it; raises as `back_up`."""
    check_outside(target.address, house.folder)
    places = {place.address: place for place in house.database.read(targets.every)}
    own = places.get(target.address, Place(address=target.address))
    others = [place.id for place in places.values() if place.id and place is not own]
    if not own.id:
        check_apart(target.address, [str(house.storage.address)])
    is_first = not target.is_claimed()
    id = target.claim(house.platform(), Known(id=own.id, others=others, is_new=is_new))
    claim = Claim(house.database, target, id)
    claim.take(claims=claims or is_first)
    house.database.write(lambda tx: targets.put(tx, replace(own, id=id)))
    if isinstance(target.driver, LocalDriver):
        target.driver.pin(BACKUPS_MARK)  # a disk may go, and its mount point be left
    if claims:
        house.database.write(lambda tx: targets.doubt_made(tx, id))
    return claim


def check_outside(address: str, data: Path) -> None:
    """Refuse a folder that would be lost with the data directory.

    Raises:
        InvalidError: it lies in it.
    """
    if "://" not in address:
        kept = Path(address).resolve()
        if any(kept.is_relative_to(folder.resolve()) for folder in (data, data / "vault")):
            raise InvalidError(
                f"{address} lies in the data directory: it would be lost with it", fix="Name another disk or storage."
            )


def busy(house: House) -> Busy:
    """Who makes or forgets backups of this data directory now."""
    told = f"{platform.node()}\0{house.folder.resolve()}"
    return Busy(holder=sha256(told.encode()).hexdigest()[:32], now=to_micros(house.clock.now()))


def _endless() -> NoReturn:
    raise UnavailableError("Content is pruned faster than it is copied", fix="Try again later.")


def _back_up(
    house: House, target: Target, claim: Claim, recovery: bytes, progress: Progress, *, is_last: bool = False
) -> Made | None:
    """A backup; None where a pack was pruned meanwhile, so that it must begin again."""
    number = _next_number(house, target)
    domain = _own_domain(house)
    _renew(house, domain)
    at = to_micros(house.clock.now())
    blob, packs = _snapshot(house, domain)
    own = [(pack.id, pack.size_bytes) for pack in _own_packs(house, domain.id)]
    packs[domain.id] = own
    total = size_of(packs)
    tell = counted(progress, total + size_of({domain.id: own}))
    copied = copy_packs(house.driver, target.driver, packs, progress=tell)
    copied.size_bytes += copy_packs(house.driver, Second(target.driver), {domain.id: own}, progress=tell).size_bytes
    if copied.lost and not is_last and _pruned(house, packs):
        return None
    manifest = Manifest(
        number=number,
        at=at,
        platform=house.platform(),
        root=house.root,
        vault_root=vault_root(house.root),
        domain=domain.id,
        dump=blob.to_bytes(),
        opens=house.opens_with,
        keys=keys_of(house.vault.state, domain.id),
        beside=look(house, target).expected,
        place=target.id(),
        packs=packs,
    )
    _complete(house, target)
    sealed = seal_manifest(manifest, recovery=recovery, platform_key=house.opens_with[0], signer=house.signer)
    claim.check()  # of two who make one at once the later has the place
    target.write(number, sealed)
    gone = sorted({*(manifest.beside or ())} - {*target.numbers()})
    where = target.address, are_gone(gone, target.address)
    house.database.write(lambda tx: _note(tx, house, manifest, where, copied.size_bytes))
    clear = house.database.read(lambda tx: len(holdings.plain(tx, after=("", ""), limit=1000)))
    lost = {**needed(house, copied.lost), **({"in the clear": f"{clear} objects could not be sealed"} if clear else {})}
    return Made(
        number=number,
        at=at,
        packs=sum(map(len, packs.values())),
        size_bytes=total,
        new_packs=copied.packs,
        new_bytes=copied.size_bytes,
        lost=lost,
        missed=gone,
    )


def _next_number(house: House, target: Target) -> int:
    """One more than any of the platform's; what somebody else has put there does not count."""
    numbers = target.numbers()
    last = next((number for number in reversed(numbers) if is_ours(house, target, number)), 0)
    number = max(house.last_backup(), last) + 1
    while number in numbers:
        number += 1
    return number


def _complete(house: House, target: Target) -> None:
    """Give manifests their second copy that have one only: of older versions, or of a death between the two."""
    for number in target.single():
        for body in target.read(number).values():
            with suppress(IntegrityError):
                read_manifest(body, signer=house.verifier)
                target.complete(number, body)


def _note(tx: Tx, house: House, manifest: Manifest, where: tuple[str, str], new_bytes: int) -> None:
    (address, fault), number, at = where, manifest.number, manifest.at
    house.note(tx, "backed up", f"backup {number} to {address}; {new_bytes} bytes are new")
    facts.put(tx, "backup", str(number))
    place = targets.find(tx, address) or Place(address=address)
    targets.put(tx, replace(place, last_number=number, last_at=at, tried_at=at, fault=fault))
    targets.put_made(tx, manifest.place, {*(manifest.beside or ()), number})


def _pruned(house: House, packs: Mapping[bytes, Iterable[tuple[bytes, int]]]) -> bool:
    """Whether any of these packs has gone since."""
    here = {pack for found in house.database.read(packs_present).values() for pack, _ in found}
    return any(pack not in here for found in packs.values() for pack, _ in found)


def _own_domain(house: House) -> Domain:
    tenant, id = house.database.write(lambda tx: domains.make(tx, PLATFORM))
    house.vault.make(id, tenant=tenant)
    return house.vault.domain(id)


def _renew(house: House, domain: Domain) -> None:
    """Let go of packs of the platform's own domain that are damaged: the dump is made again, as the database is here.

    Else what is the same in the next dump would be taken to be there, and every backup be damaged.
    """
    state, own = house.vault.state, [(pack.id, pack.size_bytes) for pack in _own_packs(house, domain.id)]
    damage = check_packs(house.driver, house.vault.ring, {domain.id: own}, progress=lambda _: None)
    bad = [pack for pack, _ in own if pack_path(domain.id, pack) in damage.packs]
    if not bad:
        return
    log.warning("%d packs with dumps of the database are damaged, and are made again", len(bad))
    with suppress(NotFoundError):
        domain.branches.delete(MAIN, Author(by="backup", message="damaged"))
    now = to_micros(house.clock.now())
    state.mark_packs(domain.id, bad, at=now)
    state.drop_packs(domain.id, bad, marked_before=now + 1, steps=state.steps(domain.id))
    domain.chunks.follow()


def _snapshot(house: House, domain: Domain) -> tuple[Blob, dict[bytes, list[tuple[bytes, int]]]]:
    """The dump, kept in the platform's domain, and the packs that there were at the same moment."""
    with domain.chunks.writing() as batch:

        def work(tx: Tx) -> tuple[Blob, dict[bytes, list[tuple[bytes, int]]]]:
            blob = write(batch, domain.cutter, packed(dump(tx)))  # first: it says what the transaction sees
            check_root(tx, house.root)
            return blob, packs_present(tx)

        blob, packs = house.database.read(work)
        domain.branches.commit(MAIN, {DUMP: Entry(blob)}, batch, Author(by="backup"))
    return blob, packs


def _own_packs(house: House, domain: bytes) -> Iterator[Pack]:
    after = 0
    while packs := house.vault.state.packs(domain, after=after):
        yield from (pack for pack in packs if not pack.is_gone)
        after = packs[-1].seq


def keys_of(state: State, domain: bytes) -> list[SealedKey]:
    """The keys of a domain, from its tenant's down to its packs'."""
    own = state.find(Kind.DOMAIN, domain)
    assert own is not None
    tenant = state.find(Kind.TENANT, own.place.holder)
    assert tenant is not None
    return [tenant, own, *state.under(domain)]
