"""What a platform knows of the parcels that it is sending, so that what a killed `send` has left can be swept.

A parcel's packs come before its own file. Who keeps the storage cannot tell packs of a parcel that never came from
others, and neither can a stranger; so the sender's database says where each was begun. What nobody has gone on with
for longer than any lease is removed, unless the parcel's file is there: then only the note is late.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lepton.core.clock import believed, to_micros
from lepton.core.errors import NotFoundError, StaleError, StorageRefusedError
from lepton.server.backups import check_outside
from lepton.server.house import House
from lepton.store import facts
from lepton.store.database import Tx
from lepton.vault.backup.target import Target
from lepton.vault.parcel import parcel_path
from lepton.vault.store.files import pack_folder
from lepton.vault.store.prune import LEASE_S
from lepton.vault.uses import PARCELS_MARK, Use, check_only, taking

FACT = "sending"
MARK = b'{"lepton_parcels": 1}\n'
Notes = dict[str, tuple[str, str, int]]
"""Domain (hexadecimal) -> address of the place, id of the parcel, when it was last gone on with (microseconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One parcel under way."""

    house: House
    address: str
    id: str
    domain: bytes

    def begin(self) -> None:
        """Note that it is under way."""
        self._change(lambda notes: notes | {self.domain.hex(): self._note()})

    def go_on(self) -> None:
        """Note that it still is.

        Raises:
            StaleError: somebody has taken it for dead, and removed what there was of it.
        """

        def again(notes: Notes) -> Notes:
            if self.domain.hex() not in notes:
                raise StaleError("The parcel was taken for dead", fix="Send it again.")
            return notes | {self.domain.hex(): self._note()}

        self._change(again)

    def end(self) -> None:
        """It is there, or nothing of it is."""
        self._change(lambda notes: {key: note for key, note in notes.items() if key != self.domain.hex()})

    def _note(self) -> tuple[str, str, int]:
        return self.address, self.id, to_micros(self.house.clock.now())

    def _change(self, change: Callable[[Notes], Notes]) -> None:
        self.house.database.write(lambda tx: facts.put(tx, FACT, json.dumps(change(_read(tx)))))


def begin(house: House, place: Target, id: str, domain: bytes) -> Sending:
    """Note that a parcel is under way, once what was left at the place is swept.

    Raises:
        ConflictError: the place is for something else.
        InvalidError: it lies in the data directory.
    """
    _settle(house, place)
    sweep(house, place)
    sending = Sending(house=house, address=place.address, id=id, domain=domain)
    sending.begin()
    return sending


def sweep(house: House, target: Target) -> int:
    """Remove what sends of this platform that died have left at a place; return how many those were."""
    now, swept = to_micros(house.clock.now()), 0
    before = now - int(LEASE_S * 1e6)
    for domain, (address, id, at) in house.database.read(_read).items():
        if address == target.address and not believed(at, now):  # the clock was set back since
            Sending(house=house, address=address, id=id, domain=bytes.fromhex(domain)).go_on()
        if address != target.address or at >= before:
            continue
        if not _is_there(target, id):
            with suppress(StorageRefusedError):  # who may only write there leaves it to whoever keeps the storage
                for head in list(target.driver.list(pack_folder(bytes.fromhex(domain)))):
                    target.driver.delete(head.key)
                swept += 1
        Sending(house=house, address=address, id=id, domain=bytes.fromhex(domain)).end()
    return swept


def _settle(house: House, place: Target) -> None:
    """Say in a place that it is for parcels, unless it says so."""
    check_outside(place.address, house.folder)
    driver, address = place.driver, place.address
    with suppress(StorageRefusedError):  # who may only write there cannot look
        if any(head.key == PARCELS_MARK for head in driver.list(PARCELS_MARK)):
            check_only(driver, address, Use.PARCELS)
            return
        with taking(driver, address, Use.PARCELS, PARCELS_MARK):
            driver.put(PARCELS_MARK, [MARK])


def _is_there(target: Target, id: str) -> bool:
    try:
        target.driver.head(parcel_path(id))
    except NotFoundError:
        return False
    return True


def _read(tx: Tx) -> Notes:
    text = facts.get(tx, FACT)
    return {domain: (note[0], note[1], note[2]) for domain, note in json.loads(text).items()} if text else {}
