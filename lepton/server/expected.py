"""Which backups are to lie at a place, which of them do not, and what lies there that is none of them.

The catalog knows those that it made there and has not let go of; the newest manifest says which were to lie beside it.
Either alone may be behind: a place is set back, or a platform restored.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.server.house import House
from lepton.server.opening import open_manifest
from lepton.store import targets
from lepton.vault.backup.gone import is_its, let_go_of
from lepton.vault.backup.manifest import Manifest, read_manifest
from lepton.vault.backup.ranges import ranges
from lepton.vault.backup.target import Target

MOST_NAMED = 20


def expected(house: House, target: Target) -> list[int]:
    """Numbers of the backups that are to lie there: only those let go of count no more."""
    wanted, strange = _told(house, target)
    doubtful = (n for n in target.numbers() if n not in wanted and n not in strange and not _opens(house, target, n))
    return sorted({*wanted, *doubtful} - let_go_of(target, house.platform(), house.verifier))


def strays(house: House, target: Target) -> list[int]:
    """Numbers under which something lies there that is surely no backup of this platform: it never made them.

    What it may have made, and cannot be read, is a damaged backup.
    """
    zero = list[int]()
    with suppress(NotFoundError):
        zero = [0] if target.read(0) else zero
    return [*zero, *sorted(_told(house, target)[1])]


def _told(house: House, target: Target) -> tuple[set[int], set[int]]:
    """What the catalog and the newest manifest say of what is to lie there; and what neither of them can mean."""
    numbers, wanted = target.numbers(), made_at(house, target)
    id = _id_of(house, target)
    is_sure = house.database.read(lambda tx: targets.is_made_sure(tx, id))
    newest = _newest(house, target, numbers)
    if newest is not None:
        told = newest.beside
        wanted |= {newest.number, *([n for n in numbers if is_ours(house, target, n)] if told is None else told)}
    place = house.database.read(lambda tx: targets.find(tx, target.address))
    if numbers and place and place.last_number:
        wanted.add(place.last_number)
    before = newest.number if newest is not None and newest.beside is not None else 0
    others = (number for number in numbers if number not in wanted and (is_sure or number < before))
    return wanted, {number for number in others if not _opens(house, target, number)}


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


def missed(house: House, target: Target) -> set[int]:
    """Numbers of the backups that are to lie there, and that somebody has removed."""
    return set(expected(house, target)) - set(target.numbers())


def made_at(house: House, target: Target) -> set[int]:
    """Those that the catalog knows of."""
    id = _id_of(house, target)
    return house.database.read(lambda tx: targets.made(tx, id))


def forget_made(house: House, target: Target, gone: Collection[int]) -> None:
    """The catalog expects them no more."""
    id = _id_of(house, target)
    house.database.write(lambda tx: targets.drop_made(tx, id, gone))


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
    """As it stands in the place, or as the catalog remembers it."""
    place = house.database.read(lambda tx: targets.find(tx, target.address))
    return target.id() or (place.id if place else "")
