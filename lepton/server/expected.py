"""Which backups are to lie at a place, and which of them do not.

The catalog knows those that it made there and has not let go of; the newest manifest says which were to lie beside it.
Either alone may be behind: a place is set back, or a platform restored.
"""

from collections.abc import Collection
from contextlib import suppress

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.server.house import House
from lepton.server.opening import open_manifest
from lepton.store import targets
from lepton.vault.backup.gone import let_go_of
from lepton.vault.backup.manifest import read_manifest
from lepton.vault.backup.ranges import ranges
from lepton.vault.backup.target import Target

MOST_NAMED = 20


def expected(house: House, target: Target) -> list[int]:
    """Numbers of the backups that are to lie there: only those let go of count no more."""
    numbers, wanted = target.numbers(), made_at(house, target)
    for number in reversed(numbers):
        with suppress(IntegrityError, NotFoundError):
            newest = open_manifest(target, key=None, root=house.opens_with, number=number)
            told = newest.beside
            wanted |= {number, *([n for n in numbers if is_ours(house, target, n)] if told is None else told)}
            break
    place = house.database.read(lambda tx: targets.find(tx, target.address))
    if numbers and place and place.last_number:
        wanted.add(place.last_number)
    return sorted(wanted - let_go_of(target, house.platform(), house.verifier))


def missed(house: House, target: Target) -> set[int]:
    """Numbers of the backups that are to lie there, and that somebody has removed."""
    return set(expected(house, target)) - set(target.numbers())


def made_at(house: House, target: Target) -> set[int]:
    """Those that the catalog knows of."""
    id = target.id() or _id_of(house, target)
    return house.database.read(lambda tx: targets.made(tx, id))


def forget_made(house: House, target: Target, gone: Collection[int]) -> None:
    """The catalog expects them no more."""
    id = target.id() or _id_of(house, target)
    house.database.write(lambda tx: targets.put_made(tx, id, targets.made(tx, id) - {*gone}))


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


def _id_of(house: House, target: Target) -> str:
    place = house.database.read(lambda tx: targets.find(tx, target.address))
    return place.id if place else ""
