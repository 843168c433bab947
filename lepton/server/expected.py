"""Which backups are to lie at a place, which of them do not, and what lies there that is none of them.

The catalog knows those that it made there and has not let go of; the newest manifest says which were to lie beside it.
Either alone may be behind: a place is set back, or a platform restored.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.server.house import House
from lepton.server.opening import open_manifest
from lepton.store import targets
from lepton.store.targets import Place
from lepton.vault.backup.gone import is_its, let_go_of
from lepton.vault.backup.manifest import Manifest, read_manifest
from lepton.vault.backup.ranges import ranges
from lepton.vault.backup.target import Target

MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lying:
    """What lies at a place, and what is to lie there, by number."""

    place: Place | None
    """As the catalog knows it."""
    numbers: list[int]
    """Under which something lies there, oldest first; 0 is none."""
    made: set[int]
    """Backups that the catalog knows of."""
    expected: list[int]
    """Backups that are to lie there: only those let go of count no more."""
    strays: list[int]
    """Under which something lies there that is surely no backup of this platform: it never made them. What it may have
    made, and cannot be read, is a damaged backup."""

    @property
    def missed(self) -> set[int]:
        """Backups that are to lie there, and that somebody has removed."""
        return {*self.expected} - {*self.numbers}

    @property
    def newest(self) -> int:
        """The last one that is no stray; 0: there is none."""
        return max({*self.numbers} - {*self.strays}, default=0)


def look(house: House, target: Target) -> Lying:
    """Find out what lies there, and what is to: as the catalog and the newest manifest say.

    Raises:
        NotFoundError: no backups lie there.
    """
    zero = list[int]()
    with suppress(NotFoundError):
        zero = [0] if target.read(0) else zero
    numbers = target.numbers()
    place = house.database.read(lambda tx: targets.find(tx, target.address))
    id = target.id() or (place.id if place else "")
    made, is_sure = house.database.read(lambda tx: (targets.made(tx, id), targets.is_made_sure(tx, id)))
    wanted, before, newest = {*made}, 0, _newest(house, target, numbers)
    if newest is not None and newest.beside is not None:
        wanted |= {newest.number, *newest.beside}
        before = newest.number
    elif newest is not None:
        wanted |= {newest.number, *(number for number in numbers if is_ours(house, target, number))}
    if numbers and place and place.last_number:
        wanted.add(place.last_number)
    unread = [number for number in numbers if number not in wanted and not _opens(house, target, number)]
    strange = [number for number in unread if is_sure or number < before]
    wanted |= {*unread} - {*strange}
    return Lying(
        place=place,
        numbers=numbers,
        made=made,
        expected=sorted(wanted - let_go_of(target, house.platform(), house.verifier)),
        strays=[*zero, *strange],
    )


def _newest(house: House, target: Target, numbers: Sequence[int]) -> Manifest | None:
    for number in reversed(numbers):
        with suppress(IntegrityError, NotFoundError):
            return open_manifest(target, key=None, root=house.opens_with, number=number)
    return None


def _opens(house: House, target: Target, number: int) -> bool:
    try:
        return any(is_its(house.opens_with, number, body) for body in target.read(number).values())
    except NotFoundError:  # it was let go of meanwhile
        return True


def is_ours(house: House, target: Target, number: int) -> bool:
    """Whether what lies there under that number was signed by the platform."""
    for body in target.read(number).values():
        with suppress(IntegrityError):
            read_manifest(body, signer=house.verifier)
            return True
    return False


def were_made(numbers: Collection[int]) -> str:
    """What is said of backups that are gone."""
    several = len(numbers) != 1
    return f"Backup{'s' * several} {ranges(numbers)} {'were' if several else 'was'} made"


def are_gone(numbers: Collection[int], address: str) -> str:
    """The same, and what to do."""
    if not numbers:
        return ""
    several = len(numbers) != 1
    every = " ".join(f"--backup {number}" for number in sorted(numbers)[:MOST_NAMED])
    return (
        f"{were_made(numbers)} at {address} and {'are' if several else 'is'} not there any more: the place was set "
        f"back, or somebody removed {'them' if several else 'it'}. Look for the newer state of the place; lepton vault "
        f"forget --at {address} {every} takes note that {'they' if several else 'it'} may be gone"
    )
