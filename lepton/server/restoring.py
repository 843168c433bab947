"""Check backups, and make a platform from one: nothing is needed but the storage and a key.

A restore can be killed and begun again: packs that are whole are not copied twice, and the database takes its name
last. Until then a file `restoring` keeps a server from starting there.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.errors import ConflictError, IntegrityError, LeptonError
from lepton.security.identity import make_token
from lepton.security.key import Root
from lepton.server.config import ServerConfig
from lepton.server.folder import RESTORING, write_private
from lepton.server.house import House, open_house, opening_keys
from lepton.server.opening import Backup, DumpDamagedError, copies_of, opened, own_state
from lepton.server.ownership import forget
from lepton.server.people import ADMIN, issue_token
from lepton.server.storage import Address, claim, kept_of, new_id, own_address
from lepton.server.submit import Author
from lepton.store import domains, targets
from lepton.store.dump import dump, load
from lepton.store.migrate import migrate
from lepton.store.open import open_empty
from lepton.store.restored import Told, read_told
from lepton.store.storage import Kept
from lepton.store.storage import put as put_storage
from lepton.vault.backup.check import Damage, check_packs
from lepton.vault.backup.frozen import FrozenState
from lepton.vault.backup.gone import missing
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.second import Second
from lepton.vault.backup.target import Target, copy_packs, manifest_paths, size_of
from lepton.vault.driver import Driver
from lepton.vault.store.blobs import Blob, places, read, read_blob
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.files import pack_path
from lepton.vault.store.keyring import KeyRing
from lepton.vault.uses import BACKUPS_MARK, DUMPS
from lepton.vault.vault import Domain, Vault

NOT_LET_GO = "it is gone, and was not let go of; lepton vault forget --at URL --backup N takes note that it may be"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found."""

    number: int
    bytes_read: int
    packs: int
    damaged: dict[str, str]
    """Path of a pack -> what is wrong with it."""
    names: list[str]
    """What cannot be read whole: `WORKSPACE: kind/name@number/path`, or `WORKSPACE: branch: path`."""


def check_backup(target: Target, manifest: Manifest, clock: Clock, *, progress: Progress) -> Checked:
    """Read every byte of a backup, and name what is damaged."""
    packs, domain, driver = manifest.packs, manifest.domain, target.driver
    own, second = {domain: packs[domain]}, Second(driver)
    there = {head.key for head in second.list()}
    twice = {domain: [(pack, size) for pack, size in packs[domain] if pack_path(domain, pack) in there]}
    tell = counted(progress, size_of(packs) + size_of(twice))
    ring = KeyRing(own_state(manifest), manifest.vault_root)
    dumps, copies = (check_packs(*each, progress=tell) for each in ((driver, ring, own), (second, ring, twice)))
    damaged = {**copies_of(target, manifest).damaged, **dumps.packs}
    damaged |= {DUMPS + path: fault for path, fault in copies.packs.items()}
    verifier = (manifest.opens or opening_keys(Root(manifest.root)))[1]
    damaged |= {manifest_paths(number)[0]: NOT_LET_GO for number in missing(target, manifest, verifier)}
    if fault := target.mark_fault():
        damaged[BACKUPS_MARK] = f"it is {fault}"
    try:
        with opened(target, manifest, clock) as backup:
            others = {each: found for each, found in packs.items() if each != domain}
            damage = check_packs(driver, backup.vault.ring, others, progress=tell)
            names = list(_damaged_names(_Look(driver, backup.told, backup.vault.ring), damage))
    except DumpDamagedError:
        damage, names = Damage(), [f"backup {manifest.number}: its dump, without which nothing of it is restored"]
    return Checked(
        number=manifest.number,
        bytes_read=damage.bytes_read + dumps.bytes_read + copies.bytes_read,
        packs=sum(len(found) for found in packs.values()),
        damaged={**damaged, **damage.packs},
        names=names,
    )


def restore(backup: Backup, into: Path, clock: Clock, *, progress: Progress, storage: Address | None = None) -> int:
    """Make a data directory from a backup; return how many rows its database has.

    Args:
        storage: where its packs go; None: into the data directory.

    Raises:
        ConflictError: something else is there.
        StorageFullError: no room; begin it again when there is.
    """
    address, id = storage or own_address(into), _begin(into, backup.manifest)
    with closing(address.open()) as driver:
        claim(driver, address, platform=backup.manifest.platform, id=id)
        tell = counted(progress, backup.size_bytes)
        others = dict(backup.manifest.packs)
        own = {backup.manifest.domain: others.pop(backup.manifest.domain)}
        for source, packs in ((backup.own.driver, own), (backup.target.driver, others)):
            copy_packs(source, driver, packs, progress=tell)  # a check names what is lost
    rows = _write_database(backup, into, clock, kept_of(backup.manifest.root, address, id))
    write_private(into / "key", backup.manifest.root.hex() + "\n")
    (into / RESTORING).unlink()
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What a drill has shown."""

    objects: int
    bytes_read: int
    rows: int
    took_s: float
    """From nothing to a data directory that a server starts from: what a restore takes (RTO)."""
    age_s: float
    """How old the backup is: what would be lost now (RPO)."""


def drill(target: Target, manifest: Manifest, clock: Clock, *, progress: Progress) -> Proven:
    """Restore into a scratch folder, start from what is there, and compare all content with its SHA-256.

    Args:
        progress: told of the bytes that are restored, and then of those that are compared.

    Raises:
        IntegrityError: something is not what it was.
    """
    begun = clock.monotonic()
    try:
        with TemporaryDirectory(prefix="lepton-drill-") as folder, opened(target, manifest, clock) as backup:
            into = Path(folder) / "data"
            rows = restore(backup, into, clock, progress=progress)
            took_s = clock.monotonic() - begun
            with open_house(ServerConfig(data=into), clock) as house:
                objects, size = _prove(house, progress)
    except DumpDamagedError:
        raise
    except IntegrityError as fault:
        raise IntegrityError(
            f"Backup {manifest.number} does not come back whole: {fault.message}",
            fix=f"lepton vault verify --at {target.address} names all that is damaged, repair --at {target.address} "
            "mends it from another copy; --backup N tries another backup.",
        ) from fault
    return Proven(
        objects=objects,
        bytes_read=size,
        rows=rows,
        took_s=took_s,
        age_s=(to_micros(clock.now()) - manifest.at) / 1e6,
    )


def _prove(house: House, progress: Progress) -> tuple[int, int]:
    """(objects, bytes) of a restored platform that are what their SHA-256 says."""
    sql = "SELECT DISTINCT digest, domain, blob FROM holdings WHERE domain IS NOT NULL"
    rows = house.database.read(lambda tx: tx.rows(sql))
    size, workspaces = 0, [found for found in house.database.read(domains.every) if found[0]]  # "": the dumps' own
    heads = {domain: [id for _, id in house.vault.domain(domain).branches.names()] for _, domain in workspaces}
    total = sum(read_blob(bytes(blob)).size_bytes for _, _, blob in rows)
    trees = (house.vault.domain(domain).branches.tree(id) for domain, ids in heads.items() for id in ids)
    total += sum(tree.totals()[1] for tree in trees)
    tell = counted(progress, total)
    for digest, domain, blob in rows:
        chunks = house.vault.domain(bytes(domain)).chunks
        size += _prove_one(f"Object {digest}", chunks, read_blob(bytes(blob)), digest)
        tell(read_blob(bytes(blob)).size_bytes)
    files = 0
    for domain, ids in heads.items():
        found = house.vault.domain(domain)
        seen_blobs = set[bytes]()
        for name, entry in chain.from_iterable(found.branches.tree(id).scan() for id in ids):
            tell(entry.blob.size_bytes)
            if entry.blob.root not in seen_blobs:
                seen_blobs.add(entry.blob.root)
                size += _prove_one(name, found.chunks, entry.blob, entry.blob.sha256.hex())
                files += 1
    return len(rows) + files, size


def _prove_one(name: str, chunks: Chunks, blob: Blob, digest: str) -> int:
    """Bytes of a content that is what its SHA-256 says."""
    seen = sha256()
    for piece in read(chunks, blob):
        seen.update(piece)
    if seen.hexdigest() != digest:
        raise IntegrityError(f"{name} is not what it was", fix="Use another backup.")
    return blob.size_bytes


def check_house(house: House, *, progress: Progress) -> Checked:
    """Read every byte of a platform's own vault, and name what is damaged."""
    told = house.database.read(lambda tx: read_told(dump(tx)))
    packs = {domain: [(pack.id, pack.size_bytes) for pack in found] for domain, found in told.packs.items()}
    tell = counted(progress, size_of(packs))
    damage = check_packs(house.driver, house.vault.ring, packs, progress=tell)
    look = _Look(house.driver, told, house.vault.ring)
    return Checked(
        number=0,
        bytes_read=damage.bytes_read,
        packs=sum(len(found) for found in packs.values()),
        damaged=damage.packs,
        names=list(_damaged_names(look, damage)),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """Where to look for what is damaged."""

    driver: Driver
    told: Told
    ring: KeyRing


def _damaged_names(look: _Look, damage: Damage) -> Iterator[str]:
    """What has a chunk that is damaged, or that is in no pack whose directory can be read."""
    told = look.told
    files: dict[tuple[str, str], list[str]] = {}
    for workspace, name, digest in told.files:
        files.setdefault((workspace, digest), []).append(name)
    whole = {domain: [pack for pack in packs if pack.id not in damage.lost] for domain, packs in told.packs.items()}
    with TemporaryDirectory(prefix="lepton-check-") as folder:
        state = FrozenState(told.keys, whole, told.moves)
        vault = Vault(look.driver, state, look.ring, indexes=Path(folder), clock=SystemClock())
        try:
            for (workspace, digest), held in told.held.items():
                if not held.domain or not _is_whole(vault.domain(held.domain), held.blob, damage):
                    yield from (f"{workspace}: {name}" for name in files.get((workspace, digest), [digest]))
            for id, workspace in told.workspaces.items():
                if workspace and id in told.moves:
                    yield from (f"{workspace}: {name}" for name in _damaged_paths(vault.domain(id), damage))
        finally:
            vault.close()


def _damaged_paths(domain: Domain, damage: Damage) -> Iterator[str]:
    for branch, id in domain.branches.names():
        try:
            for name, entry in domain.branches.tree(id).scan():
                if not _is_whole(domain, entry.blob.to_bytes(), damage):
                    yield f"{branch}: {name}"
        except LeptonError:
            yield f"{branch}: its list of names"


def _is_whole(domain: Domain, blob: bytes, damage: Damage) -> bool:
    try:
        found = places(domain.chunks, read_blob(blob))
        return all(id not in damage.chunks and domain.chunks.has(id) for id, _ in found)
    except LeptonError:
        return False


def _begin(into: Path, manifest: Manifest) -> str:
    """Begin, or go on with, a restore; the id of the storage that its packs go to."""
    told = {"platform": manifest.platform, "backup": manifest.number, "storage": new_id()}
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    marked = into / RESTORING
    if marked.exists():
        found = json.loads(marked.read_text())
        told["storage"] = str(found.get("storage", told["storage"]))
        if found != told:
            raise ConflictError(
                f"Another backup is being restored into {into}", fix="Go on with that, or use a new folder."
            )
    elif any(into.iterdir()):
        raise ConflictError(f"{into} is not empty", fix="Restore into a new folder.")
    write_private(marked, json.dumps(told) + "\n")
    return str(told["storage"])


def _write_database(backup: Backup, into: Path, clock: Clock, kept: Kept) -> int:
    """The database, and a new token of the first user: whoever owns the data directory is never locked out."""
    fresh, token = into / "database.new", make_token()
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    database = open_empty(fresh)
    try:
        rows = load(database, backup.lines(), clock)
        migrate(database, clock)
        database.write(targets.pause_all)
        database.write(lambda tx: put_storage(tx, kept))
        database.write(forget)
        author = Author(actor="system", workspace="", at=clock.now())
        database.write(
            lambda tx: issue_token(tx, ADMIN, label="restored", expires_at=None, author=author, secret=token)
        )
    finally:
        database.close()
    write_private(into / "token", token + "\n")
    (fresh / "lepton.db").rename(into / "lepton.db")
    shutil.rmtree(fresh)
    return rows
