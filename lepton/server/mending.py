"""Make the vault whole from a backup, and backups whole from the vault or from another place with backups."""

from collections.abc import Callable, Sequence

from lepton.core.clock import Clock
from lepton.server.backups import House
from lepton.server.restoring import copies_of, opened
from lepton.store.vault import packs_present
from lepton.vault.backup.frozen import FrozenState
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.mending import Mended, mend_packs
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.target import Target
from lepton.vault.driver import Driver
from lepton.vault.store.keyring import KeyRing


def mend_house(house: House, sources: Sequence[Driver], *, progress: Progress) -> Mended:
    """Make the platform's own vault whole; a running server reads what is whole again at once."""
    packs, mended = house.database.read(packs_present), Mended()
    total = sum(size for found in packs.values() for _, size in found)
    ring, tell = house.vault.ring, counted(progress, total)
    mend_packs(house.driver, sources, ring, packs, progress=tell, mended=mended)
    return mended


def mend_backups(
    target: Target,
    numbers: Sequence[int],
    manifest_of: Callable[[int], Manifest],
    sources: Sequence[Driver],
    clock: Clock,
    *,
    progress: Progress,
) -> Mended:
    """Make backups whole: first the packs that their dumps lie in, which say the keys of all others.

    Args:
        manifest_of: opens a manifest.

    Raises:
        IntegrityError: a manifest, or a dump, cannot be read whatever is done.
    """
    mended, seen = Mended(), set[bytes]()
    for number in numbers:
        manifest = manifest_of(number)
        copies = copies_of(target, manifest)
        target.complete(number, next(iter(copies.whole.values())))
        mended.whole_again += copies.damaged
        packs = {
            domain: [(pack, size) for pack, size in found if pack not in seen]
            for domain, found in manifest.packs.items()
        }
        seen |= {pack for found in packs.values() for pack, _ in found}
        tell = counted(progress, sum(size for found in packs.values() for _, size in found))
        own = {manifest.domain: packs.pop(manifest.domain)}
        ring = KeyRing(FrozenState(manifest.keys, {}), manifest.vault_root)
        mend_packs(target.driver, sources, ring, own, progress=tell, mended=mended)
        if any(packs.values()):
            with opened(target, manifest, clock) as backup:
                mend_packs(target.driver, sources, backup.vault.ring, packs, progress=tell, mended=mended)
    return mended
