"""What a place on a storage is for: packs of a platform, backups, or parcels. Each is for one of them only.

Who lets backups go removes all packs there that no backup names, and a parcel's would be among them. So each kind of
use leaves a *mark*, a file in the place, and whoever wants to use a place looks what it is before, and again after.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum

from lepton.core.errors import ConflictError, LeptonError
from lepton.vault.driver import Driver
from lepton.vault.drivers.credentials import from_environment
from lepton.vault.drivers.opening import open_driver

BACKUPS_MARK = "lepton-backup"
"""JSON: whose backups lie there."""
BACKUPS_OWNER = "lepton-backup-owner"
"""What stands there too: which copy of the platform's database makes them."""
PACKS_MARK = "lepton-vault"
"""JSON: whose packs."""
OWNER_MARK = "lepton-owner"
"""What stands there too, where others could use it: which copy of the platform's database does."""
PARCELS_MARK = "lepton-parcels"
PLATFORM = "lepton.db"
"""Its database, in its data directory."""
BACKUPS, SECOND_MANIFESTS, PARCELS, PACKS, DUMPS, DOING = (
    "backups/", "manifests/", "parcels/", "domains/", "dumps/", "doing/",
)  # fmt: skip
FOLDERS = (BACKUPS, SECOND_MANIFESTS, PARCELS, PACKS, DUMPS, DOING)
"""What lies in a place. Another place must not lie in one of them."""
DIGITS = 8
"""Of the name of a manifest."""


class Use(Enum):
    """What a place is for."""

    PACKS = "the packs of a platform"
    BACKUPS = "backups"
    PARCELS = "parcels"

    def __str__(self) -> str:
        return self.value


MARKS = {
    PACKS_MARK: Use.PACKS,
    OWNER_MARK: Use.PACKS,
    BACKUPS_MARK: Use.BACKUPS,
    BACKUPS_OWNER: Use.BACKUPS,
    PARCELS_MARK: Use.PARCELS,
}


def uses_of(driver: Driver) -> set[Use]:
    """What a place is for, by its marks and what lies in it; more than one where older versions let it be so."""
    found = _marked(driver)
    if any(_is_manifest(head.key) for folder in (BACKUPS, SECOND_MANIFESTS) for head in driver.list(folder)):
        found.add(Use.BACKUPS)
    if any(True for _ in driver.list(PARCELS)):
        found.add(Use.PARCELS)
    return found


@contextmanager
def taking(driver: Driver, address: str, use: Use, mark: str) -> Iterator[None]:
    """Write the mark of a place that is to be used, once it is known to be for nothing else, nor in or around another.

    Raises:
        ConflictError: it is; the message says what it holds. The mark is not there then.
    """
    check_only(driver, address, use)
    _check_new(driver, address, use)
    yield
    try:
        check_only(driver, address, use)  # somebody may have taken it for something else meanwhile
    except ConflictError:
        driver.delete(mark)
        raise


def check_only(driver: Driver, address: str, use: Use) -> None:
    """Refuse a place that is for something else too.

    Raises:
        ConflictError: it is.
    """
    others = sorted(str(other) for other in uses_of(driver) - {use})
    if others:
        raise ConflictError(
            f"{' and '.join(others).capitalize()} lie at {address}",
            fix=f"Choose a folder or bucket for {use} that is used for nothing else.",
        )


def _marked(driver: Driver) -> set[Use]:
    return {MARKS[head.key] for head in driver.list("lepton-") if head.key in MARKS}


def _is_manifest(key: str) -> bool:
    name = key.partition("/")[2]
    return len(name) == DIGITS and name.isascii() and name.isdigit()


def _check_new(driver: Driver, address: str, use: Use) -> None:
    if any(head.key == PLATFORM for head in driver.list(PLATFORM)):
        raise ConflictError(
            f"{address} is the data directory of a platform", fix=f"Choose a folder or bucket for {use} that is apart."
        )
    for folder in FOLDERS:
        for head in driver.list(folder):
            if (found := MARKS.get(head.key.rpartition("/")[2])) is not None:
                where = f"{address.rstrip('/')}/{head.key.rpartition('/')[0]}"
                raise ConflictError(
                    f"{address} has another place in it: {found} lie at {where}",
                    fix=f"Choose a folder or bucket for {use} that is apart from it.",
                )
    if use is Use.BACKUPS and use not in uses_of(driver) and any(True for _ in driver.list(PACKS)):
        raise ConflictError(
            f"Packs lie at {address}, and nothing says whose", fix="Choose an empty folder or bucket for backups."
        )
    for around in _around(address):
        if found_there := _marks_at(around):
            told = " and ".join(sorted(map(str, found_there)))
            raise ConflictError(
                f"{address} lies among what belongs to {around}, where {told} lie",
                fix=f"Choose a folder or bucket for {use} that is apart from it.",
            )


def _around(address: str) -> Iterator[str]:
    """Places in which an address would be one of their own folders."""
    place, mark, options = address.partition("?")
    parts = place.split("/")
    for at, part in enumerate(parts):
        if f"{part}/" in FOLDERS and any(parts[:at]):
            yield "/".join(parts[:at]) + mark + options


def _marks_at(address: str) -> set[Use]:
    # who may not look there cannot harm it either
    with suppress(LeptonError), closing(open_driver(address, from_environment())) as driver:
        return _marked(driver)
    return set()
