"""Backups that are made by themselves: each place has its own rhythm, and says how many of its backups are kept.

Of several servers on one database one makes them. A backup that failed is tried again soon; one that failed or is
overdue raises an alert, which the next good one resolves.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from lepton.core.clock import believed, from_micros, to_micros
from lepton.core.errors import ConfigError, ConflictError, LeptonError, NotFoundError
from lepton.server.alerts import About, tell
from lepton.server.backups import Made, back_up, busy
from lepton.server.claims import Claim
from lepton.server.expected import are_gone, look
from lepton.server.house import House, writing
from lepton.server.jumps import Jumps
from lepton.server.lease import Lease
from lepton.server.locking import lock_anew
from lepton.server.opening import open_manifest
from lepton.server.storage import opened_credentials
from lepton.server.submit import Author
from lepton.store import targets
from lepton.store.database import Tx
from lepton.store.targets import Place
from lepton.vault.backup.forgetting import LEASE_S as FORGOTTEN_S
from lepton.vault.backup.forgetting import Forgotten, forget, named, preview
from lepton.vault.backup.gone import note
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.retention import Keep, kept
from lepton.vault.backup.target import Target
from lepton.vault.drivers.credentials import from_environment
from lepton.vault.drivers.opening import open_driver

log = logging.getLogger("lepton")
ACTOR = "loop:backups"
AGAIN_S = 900
"""After a backup that failed the next is tried so soon; or when it is due, if that is sooner."""
SLACK_S = 600
"""A backup is overdue a quarter of its rhythm after it was due, but not before this."""
LEASE_S = 900.0
"""Longer than any pack takes to be copied."""


def due_at(place: Place, now: int) -> int:
    """When the next backup is to be made, microseconds since 1970; after one that failed, when it is tried again."""
    every, last = place.every_s * 1_000_000, believed(place.last_at, now)
    due = last + every if last else believed(place.since, now)
    tried = believed(place.tried_at, now)
    return max(due, tried + min(AGAIN_S * 1_000_000, every)) if place.fault and tried else due


def is_overdue(place: Place, now: int) -> bool:
    """Whether a backup should have been there by now."""
    late = max(place.every_s // 4, SLACK_S) + place.every_s
    last = max(believed(place.last_at, now), believed(place.since, now))
    return bool(place.every_s) and not place.is_paused and now > last + late * 1_000_000


def standing(place: Place, now: int) -> str:
    """How it stands, in a word or more."""
    if place.every_s and place.is_paused:
        return "paused"
    if is_overdue(place, now):
        return f"OVERDUE: {place.fault}" if place.fault else "OVERDUE"
    return f"FAILED: {place.fault}" if place.fault else "good" if place.last_at else "none yet"


@contextmanager
def noting(house: House, address: str) -> Iterator[None]:
    """Note what goes wrong after a backup on demand was made: the place is not good."""
    try:
        yield
    except LeptonError as fault:
        told, now = str(fault), to_micros(house.clock.now())

        def note_fault(tx: Tx) -> None:
            if (place := targets.find(tx, address)) is not None:
                targets.put(tx, replace(place, tried_at=now, fault=told))

        house.database.write(note_fault)
        raise


def open_place(root: bytes, place: Place) -> Target:
    """The storage of a place, with the credentials that were sealed for it, or else this process's.

    Raises:
        IntegrityError: they were sealed under another root key.
    """
    sealed = place.credentials
    credentials = opened_credentials(root, place.address, sealed) if sealed else from_environment()
    return Target(open_driver(place.address, credentials), place.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which backups of a place stay."""

    made: dict[int, int]
    """Number -> when it was made."""
    kept: dict[int, list[str]]
    """Number -> why it is kept."""

    @property
    def gone(self) -> list[int]:
        """Numbers of the others."""
        return [number for number in self.made if number not in self.kept]


def choose(house: House, target: Target, keep: Keep, *, also: Sequence[int] = ()) -> Choice:
    """Which backups stay.

    Args:
        also: numbers that go whatever is kept.

    Raises:
        IntegrityError: one cannot be read.
        NotFoundError: none of a number in `also` lies there, or is missed.
    """
    lying = look(house, target)
    for number in also:
        if number not in {*lying.numbers, *lying.missed, *lying.strays}:
            told = ", ".join(map(str, lying.numbers)) or "none"
            raise NotFoundError(
                f"There is no backup {number} at {target.address}, and none was missed", fix=f"There: {told}."
            )
    stay = [number for number in lying.numbers if number not in {*also, *lying.strays}]
    made = {each.number: each.at for each in named(lambda number: _manifest(house, target, number), stay, gone=also)}
    chosen = kept(made, keep)
    return Choice(made={**made, **dict.fromkeys(also, 0)}, kept=chosen)


def let_go(house: House, target: Target, gone: Sequence[int], *, is_dry: bool = False) -> Forgotten:
    """Let backups go, and what only they need; raises as `forget`, and StorageSharedError as `back_up`."""
    lying = look(house, target)
    place, strange = lying.place, {*lying.strays}

    def opened(number: int) -> Manifest | None:
        return None if number in strange else _manifest(house, target, number)

    if is_dry:
        return preview(target, gone, opened)
    newest = place.last_number if place and place.last_number not in gone else 0
    target.check_only()
    if id := target.id() or (place.id if place else ""):
        Claim(house.database, target, id).check()
    if (ours := {*gone} - strange) and not target.driver.append_only().keeps_all:
        note(target, house.platform(), house.signer, ours)
    lease_s = FORGOTTEN_S + Jumps(house.database, house.clock).doubt_s()
    done = forget(target, gone, opened, busy=busy(house), newest=newest, lease_s=lease_s)

    def taken_note_of(tx: Tx) -> None:
        targets.drop_made(tx, id, done.gone)
        if (found := targets.find(tx, target.address)) and lying.missed:
            said, left = (are_gone(some, target.address) for some in (lying.missed, lying.missed - {*done.gone}))
            targets.put(tx, replace(found, fault=found.fault.replace(said, left).removesuffix("; ")))

    house.database.write(taken_note_of)
    if done.gone or done.removed:
        told = ", ".join(map(str, done.gone)) or "none"
        house.tell("backups let go", f"{told} at {target.address}; packs marked {done.marked}, removed {done.removed}")
    return done


def _manifest(house: House, target: Target, number: int) -> Manifest:
    return open_manifest(target, key=None, root=house.opens_with, number=number)


class Schedules:
    """The loop."""

    def __init__(self, house: House, lease: Lease) -> None:
        self._house, self._lease = house, lease

    def turn(self) -> None:
        """Make the backups that are due; raise and resolve alerts."""
        if not self._lease.hold():
            return
        for place in self._house.database.read(targets.every):
            if place.every_s and not place.is_paused:
                self._tend(place)
            elif not place.every_s:
                self._house.database.write(partial(self._tell, place=place))

    def _tend(self, place: Place) -> None:
        now = to_micros(self._house.clock.now())
        if due_at(place, now) <= now:
            if place.last_at and not believed(place.last_at, now):
                log.warning("backup to %s: the last lies ahead, for the clock was set back: due now", place.address)
            self._try(place, now)
        found = self._house.database.read(lambda tx: targets.find(tx, place.address))
        if found is not None:
            self._house.database.write(lambda tx: self._tell(tx, found))

    def _try(self, place: Place, now: int) -> None:
        """Make a backup; what keeps it from being made is noted."""
        with ExitStack() as held:
            try:
                held.enter_context(writing(self._house.folder))
            except ConfigError as other:  # somebody does something by hand
                log.info("backup to %s: %s", place.address, other.message)
                return
            try:
                fault = self._make(place)
            except (LeptonError, OSError) as other:
                fault = str(other)
            except BaseException as other:
                log.exception("backup to %s", place.address)
                fault = f"{type(other).__name__}: {other}"
        if fault:
            log.warning("backup to %s: %s", place.address, fault)
        if fault and self._lease.is_over:  # this server ends, and the next goes on
            return
        self._house.database.write(lambda tx: self._note(tx, place.address, now, fault))

    def _make(self, place: Place) -> str:
        """Make a backup and let old ones go; what is wrong with it, if anything."""
        target = open_place(self._house.root, place)
        with closing(target.driver):
            is_append_only = self._house.database.read(lambda tx: targets.is_append_only(tx, place.address))
            keeps = target.check_append_only() if is_append_only else None
            made = back_up(self._house, target, progress=lambda done, total: self._hold())
            log.info("backup %d to %s: %d bytes are new", made.number, place.address, made.new_bytes)
            if keeps:
                lock_anew(self._house, target, keeps, beat=self._hold)
            if place.keep and not (keeps or target.driver.append_only()).keeps_all:
                let_go(self._house, target, choose(self._house, target, place.keep).gone)
        return "; ".join(filter(None, (_wrong(made), are_gone(made.missed, place.address))))

    def _hold(self) -> None:
        if not self._lease.hold():
            raise ConflictError("Another server makes backups now", fix="Nothing to do.")

    def _note(self, tx: Tx, address: str, now: int, fault: str) -> None:
        self._lease.check(tx)
        place = targets.find(tx, address)
        if place is not None:
            targets.put(tx, replace(place, tried_at=now, fault=fault))

    def _tell(self, tx: Tx, place: Place) -> None:
        """One alert for each place that is not well, until it is."""
        self._lease.check(tx)
        at = self._house.clock.now()
        said = standing(place, to_micros(at))
        last = f"the last is of {from_micros(place.last_at):%Y-%m-%d %H:%M} UTC" if place.last_at else "there is none"
        is_well = said in ("good", "none yet")
        tell(
            tx,
            About(name="backups", of=place.address),
            Author(actor=ACTOR, workspace="", at=at),
            fault="" if is_well else f"Backups to {place.address}: {said}; {last}",
            over=f"backup {place.last_number} is made",
        )


def _wrong(made: Made) -> str:
    if not made.lost:
        return ""
    some = "; ".join(f"{path}: {fault}" for path, fault in list(made.lost.items())[:3])
    return f"Backup {made.number} is not whole: {some}"
