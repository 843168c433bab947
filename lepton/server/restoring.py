"""Check backups, and make a platform from one: nothing is needed but the storage and a key.

A restore can be killed and begun again: packs that are whole are not copied twice, and the database is there whole or
not at all. Until the end a file `restoring` keeps a server from starting there.
"""

import json
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton.core.clock import Clock, believed, to_micros
from lepton.core.disk import writing_to
from lepton.core.errors import ConflictError, IntegrityError
from lepton.server.bound import note_database, place_of
from lepton.server.config import ServerConfig
from lepton.server.folder import RESTORING, write_private
from lepton.server.house import House, open_house
from lepton.server.loading import Loading
from lepton.server.opening import Backup, DumpDamagedError, opened
from lepton.server.storage import Address, claim, kept_of, new_id, own_address
from lepton.store import domains
from lepton.vault.backup.check import drop_damaged
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.progress import Progress, counted
from lepton.vault.backup.target import Target, copy_packs
from lepton.vault.store.blobs import Blob, read, read_blob
from lepton.vault.store.chunks import Chunks


def restore(
    backup: Backup,
    into: Path,
    clock: Clock,
    *,
    progress: Progress,
    storage: Address | None = None,
    database: str = "",
) -> int:
    """Make a data directory from a backup; return how many rows its database has.

    Args:
        storage: where its packs go; None: into the data directory.
        database: an empty one, postgresql://...; empty: SQLite in the data directory.

    Raises:
        ConflictError: something else is there, or in the database.
        StorageFullError: no room; begin it again when there is.
    """
    config = ServerConfig(data=into, database=database)
    loading = Loading(url=database, into=into, clock=clock)
    loading.check(str(_begun(into).get("storage", "")))
    address, id = storage or own_address(into), _begin(config, backup.manifest)
    with closing(address.open()) as driver:
        is_new = claim(driver, address, platform=backup.manifest.platform, id=id)
        others = dict(backup.manifest.packs)
        own = {backup.manifest.domain: others.pop(backup.manifest.domain)}
        halves = ((backup.own, backup.own.driver, own), (backup.vault, backup.target.driver, others))
        if storage and not is_new:  # of other times, or of this restore when it was begun
            tell = counted(progress, backup.size_bytes)
            for vault, _, packs in halves:
                drop_damaged(driver, vault.ring, packs, progress=tell)
        tell = counted(progress, backup.size_bytes)
        for _, source, packs in halves:  # a check names what is lost
            copy_packs(source, driver, packs, progress=tell, looks=not (storage and is_new))
    rows = loading.fill(backup, kept_of(backup.manifest.root, address, id))
    note_database(config)
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
    age_s: float | None
    """How old the backup is: what would be lost now (RPO); None: its time lies ahead, as a clock was wrong."""


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
        age_s=_age_s(manifest.at, to_micros(clock.now())),
    )


def _age_s(at: int, now: int) -> float | None:
    return max(0, now - at) / 1e6 if believed(at, now) else None


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


def _begin(config: ServerConfig, manifest: Manifest) -> str:
    """Begin, or go on with, a restore; the id of the storage that its packs go to."""
    into, place = config.data, place_of(config.database) if config.database else ""
    told = {"platform": manifest.platform, "backup": manifest.number, "storage": new_id(), "database": place}
    with writing_to(into):
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
    marked = into / RESTORING
    if marked.exists():
        found = {"database": "", **_begun(into)}
        told["storage"] = str(found.get("storage", told["storage"]))
        if found["database"] != place:
            raise ConflictError(
                f"This restore was begun with the database {found['database'] or 'lepton.db of the directory'}",
                fix="Go on with that (LEPTON_DATABASE), or use a new folder.",
            )
        if found != told:
            raise ConflictError(
                f"Another backup is being restored into {into}", fix="Go on with that, or use a new folder."
            )
    elif any(path.name != "lepton.toml" and not path.name.startswith(f".{RESTORING}.") for path in into.iterdir()):
        # settings may say what the database is; the other is of one that was killed before it had begun
        raise ConflictError(f"{into} is not empty", fix="Restore into a new folder.")
    write_private(marked, json.dumps(told) + "\n")
    return str(told["storage"])


def _begun(into: Path) -> dict[str, object]:
    """What a restore that has not ended says of itself; empty: there is none."""
    with suppress(FileNotFoundError):
        return dict(json.loads((into / RESTORING).read_text()))
    return {}
