"""Open backups: their manifests, and the state of the platform that each holds, from whichever copy is whole."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton.core.clock import Clock
from lepton.core.errors import IntegrityError, NotFoundError
from lepton.security.key import Root
from lepton.server.house import opening_keys
from lepton.store.dump import split_lines
from lepton.store.restored import Told, read_told
from lepton.vault.backup.frozen import FrozenState, numbered
from lepton.vault.backup.manifest import Manifest, platform_opens, read_manifest
from lepton.vault.backup.mending import Mended, mend_packs
from lepton.vault.backup.recovery import RecoveryKey
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import Target, manifest_paths, size_of
from lepton.vault.driver import Driver
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.store.blobs import read, read_blob
from lepton.vault.store.keyring import KeyRing
from lepton.vault.vault import Vault

MOST_SHOWN = 20
HIDDEN = (
    "Check the place, and the recovery key if one was given. A bucket that keeps versions, or a door, shows what "
    "somebody has written over or deleted with as_of=TIME in its address; lepton vault repair --at URL takes it from "
    "there, or from a copy of the place."
)


class DumpDamagedError(IntegrityError):
    """The dump of a backup cannot be read from any of its copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was opened."""

    manifest: Manifest
    target: Target
    told: Told
    vault: Vault
    """As it was; nothing of it can be changed."""
    own: Vault
    """With the platform's domain alone, where the dump is: of the place, or put together from both its copies."""

    @property
    def size_bytes(self) -> int:
        """Of all its packs."""
        return size_of(self.manifest.packs)

    def lines(self) -> Iterator[bytes]:
        """The dump of the database."""
        return _dump_lines(self.own, self.manifest)


def open_manifest(
    target: Target, *, key: RecoveryKey | None, root: tuple[bytes, bytes] = (b"", b""), number: int = 0
) -> Manifest:
    """The manifest of a backup.

    Args:
        key: the recovery key; None: `root` has what the platform itself opens and verifies it with.
        number: 0: the newest.

    Raises:
        NotFoundError: there is no backup.
        IntegrityError: it is damaged, not the platform's, or older than the key knows that there was one.
    """
    numbers = target.numbers()
    if not numbers and key and key.at_least and not target.is_past:
        raise IntegrityError(
            f"No backup lies at {target.address}, but {key.at_least} had been made when the key was", fix=HIDDEN
        )
    if not numbers:
        raise NotFoundError("No backup lies there yet", fix="lepton vault backup --to URL")
    wanted = number or numbers[-1]
    if key and key.platform != (target.platform() or key.platform) and not _opens(target, wanted, key, root):
        raise IntegrityError(  # who can write there can write that file: it does not count where the backup opens
            f"The recovery key is another platform's ({key.platform}) than the backups at {target.address} "
            f"({target.platform()})",
            fix="Give the recovery key of that platform, or the address of this one's backups.",
        )
    if key and not number and wanted < key.at_least and not target.is_past:
        raise IntegrityError(
            f"The newest backup is {wanted}, but {key.at_least} had been made when the key was: newer ones are gone",
            fix="Look for the newer ones; --backup N takes an older one all the same.",
        )
    faults = list[IntegrityError]()
    for body in target.read(wanted).values():
        try:
            return _opened_manifest(body, key, root, wanted)
        except IntegrityError as fault:
            faults.append(fault)
    others = islice(
        (each for each in reversed(numbers) if each != wanted and _opens(target, each, key, root)), MOST_SHOWN
    )
    shown = ", ".join(map(str, sorted(others)))
    told = f"Others there: {shown}; --backup N takes one. " if shown else ""
    raise IntegrityError(f"Backup {wanted} at {target.address}: {faults[0].message}", fix=told + HIDDEN)


def _opens(target: Target, number: int, key: RecoveryKey | None, root: tuple[bytes, bytes]) -> bool:
    for body in target.read(number).values():
        with suppress(IntegrityError):
            return bool(_opened_manifest(body, key, root, number))
    return False


def _opened_manifest(body: bytes, key: RecoveryKey | None, root: tuple[bytes, bytes], number: int) -> Manifest:
    sealed = read_manifest(body, signer=key.signer if key else root[1])
    manifest = sealed.open(key.open(sealed.theirs) if key else platform_opens(sealed, root[0], number))
    if manifest.number != number:
        raise IntegrityError(f"Backup {number} is backup {manifest.number} put in its place", fix="Use another backup.")
    return manifest


def opens_of(manifest: Manifest) -> tuple[bytes, bytes]:
    """What the platform opens manifests with, and verifies them with."""
    return manifest.opens or opening_keys(Root(manifest.root))


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of a manifest."""

    whole: dict[str, bytes]
    """Where those lie that are what they were."""
    damaged: dict[str, str]
    """Where the others lie -> what is wrong."""


def copies_of(target: Target, manifest: Manifest) -> Copies:
    """The copies of a manifest that was opened."""
    copies, keys = Copies({}, {}), opens_of(manifest)
    for path, body in target.read(manifest.number).items():
        try:
            _opened_manifest(body, None, keys, manifest.number)
            copies.whole[path] = body
        except IntegrityError as fault:
            copies.damaged[path] = fault.message
    first = manifest_paths(manifest.number)[0]
    if first not in {*copies.whole, *copies.damaged}:  # older backups have no second one
        copies.damaged[first] = "it is missing"
    return copies


@contextmanager
def opened(target: Target, manifest: Manifest, clock: Clock) -> Iterator[Backup]:
    """Look into a backup; indexes of what is read are made in a temporary folder.

    Raises:
        DumpDamagedError: its dump is, in all copies.
    """
    with TemporaryDirectory(prefix="lepton-backup-") as folder, ExitStack() as stack:
        own, told = _dump_of(target, manifest, Path(folder), clock, stack)
        state = FrozenState(told.keys, told.packs, told.moves)
        ring = KeyRing(state, manifest.vault_root)
        vault = stack.enter_context(
            closing(Vault(target.driver, state, ring, indexes=Path(folder) / "all", clock=clock))
        )
        yield Backup(manifest=manifest, target=target, told=told, vault=vault, own=own)


def own_state(manifest: Manifest) -> FrozenState:
    """The platform's own domain, which the manifest alone says all of."""
    return FrozenState(manifest.keys, {manifest.domain: numbered(manifest.packs[manifest.domain])})


def _dump_of(target: Target, manifest: Manifest, folder: Path, clock: Clock, stack: ExitStack) -> tuple[Vault, Told]:
    """The vault that the dump can be read from, and what the dump says."""
    state = own_state(manifest)

    def vault(driver: Driver, indexes: str) -> Vault:
        ring = KeyRing(state, manifest.vault_root)
        return stack.enter_context(closing(Vault(driver, state, ring, indexes=folder / indexes, clock=clock)))

    own = vault(target.driver, "own")
    with suppress(IntegrityError, NotFoundError):
        return own, read_told(_dump_lines(own, manifest))
    joined, copies = LocalDriver(folder / "joined"), [target.driver, Second(target.driver)]
    packs = {manifest.domain: manifest.packs[manifest.domain]}
    mend_packs(joined, copies, own.ring, packs, progress=lambda _: None, mended=Mended())
    own = vault(joined, "again")
    try:
        return own, read_told(_dump_lines(own, manifest))
    except (IntegrityError, NotFoundError) as fault:
        raise DumpDamagedError(
            f"The dump of backup {manifest.number} cannot be read, and without it nothing: {fault.message}",
            fix=f"lepton vault repair --at {target.address} mends it from another copy; where there is none, --backup "
            "N takes another backup, and lepton vault backup makes a whole one.",
        ) from fault


def _dump_lines(own: Vault, manifest: Manifest) -> Iterator[bytes]:
    chunks = own.domain(manifest.domain).chunks
    return split_lines(bytes(piece) for piece in read(chunks, read_blob(manifest.dump)))
