"""What of a vault is needed and cannot be read, by name; and which damaged packs nothing needs any more."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton.core.clock import SystemClock
from lepton.core.errors import IntegrityError, LeptonError, NotFoundError
from lepton.store.restored import Told
from lepton.vault.backup.check import Damage, check_there
from lepton.vault.backup.frozen import FrozenState
from lepton.vault.driver import Driver
from lepton.vault.store.blobs import places, read_blob
from lepton.vault.store.files import pack_path_ids
from lepton.vault.store.index import MOST_ASKED
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.pages import Entry
from lepton.vault.store.prune import Roots, live_ids
from lepton.vault.store.tree import Tree
from lepton.vault.store.versions import read_version
from lepton.vault.vault import Domain, Vault


@dataclass(frozen=True, slots=True)
class Look:
    """Where to look for what is damaged."""

    driver: Driver
    told: Told
    ring: KeyRing


def judged(look: Look, damage: Damage) -> tuple[list[str], dict[str, str]]:
    """What cannot be read whole, by name; and the damaged packs of which all that is needed lies whole in others."""
    told, names, spare = look.told, list[str](), dict[str, str]()
    whole = {domain: [pack for pack in packs if pack.id not in damage.lost] for domain, packs in told.packs.items()}
    with TemporaryDirectory(prefix="lepton-check-") as folder:
        state = FrozenState(told.keys, whole, told.moves)
        vault = Vault(look.driver, state, look.ring, indexes=Path(folder), clock=SystemClock())
        try:
            names += _held_names(vault, told, damage)
            for id, workspace in told.workspaces.items():
                if workspace and id in told.moves:
                    names += (f"{workspace}: {name}" for name in _damaged_paths(vault.domain(id), damage))
            for id in {pack_path_ids(path)[0] for path in damage.packs}:
                lost = _lost(vault.domain(id), told, damage)
                spare |= {path: why for path, why in damage.packs.items() if _is_spare(path, id, damage, lost)}
                if lost is None or lost:
                    names += _older_names(vault.domain(id), told, damage)
        finally:
            vault.close()
    return list(dict.fromkeys(names)), spare


def _held_names(vault: Vault, told: Told, damage: Damage) -> Iterator[str]:
    files: dict[tuple[str, str], list[str]] = {}
    for workspace, name, digest in told.files:
        files.setdefault((workspace, digest), []).append(name)
    for (workspace, digest), held in told.held.items():
        if not held.domain or not _is_whole(vault.domain(held.domain), held.blob, damage):
            yield from (f"{workspace}: {name}" for name in files.get((workspace, digest), [digest]))


def _damaged_paths(domain: Domain, damage: Damage) -> Iterator[str]:
    for branch, id in domain.branches.names():
        try:
            for name, entry in domain.branches.tree(id).scan():
                if not _is_whole(domain, entry.blob.to_bytes(), damage):
                    yield f"{branch}: {name}"
        except LeptonError as fault:
            check_there(domain.chunks.driver, fault)
            yield f"{branch}: its list of names"


def _older_names(domain: Domain, told: Told, damage: Damage) -> Iterator[str]:
    """What of versions at which no branch stands any more cannot be read; each page of names is looked at once."""
    workspace = told.workspaces.get(domain.id, "")
    heads, seen = _heads(told, domain.id), set[bytes]()
    if not workspace:
        yield "the last dump of the database, which the next backup makes again"
        return
    for id in chain(heads, (each for each in _roots(told, domain.id).versions if each not in heads)):
        where = f"{workspace}: version {id.hex()[:16]}: "
        try:
            for _, page in Tree(domain.chunks, read_version(domain.chunks, id).root).pages_beside(seen):
                for name, value in page.records if id not in heads else ():
                    if isinstance(value, Entry) and not _is_whole(domain, value.blob.to_bytes(), damage):
                        yield f"{where}{name}"
        except LeptonError as fault:
            check_there(domain.chunks.driver, fault)
            if id not in heads:
                yield f"{where}its list of names"


def _is_whole(domain: Domain, blob: bytes, damage: Damage) -> bool:
    try:
        found = places(domain.chunks, read_blob(blob))
        return all(id not in damage.chunks and domain.chunks.has(id) for id, _ in found)
    except LeptonError as fault:
        check_there(domain.chunks.driver, fault)
        return False


def _is_spare(path: str, domain: bytes, damage: Damage, lost: Collection[bytes] | None) -> bool:
    its, pack = pack_path_ids(path)
    if its != domain or lost is None or path in damage.frames:
        return False
    if pack in damage.lost:  # it may have held whatever no other pack has
        return all(id in damage.chunks for id in lost)
    return damage.boxes[path].isdisjoint(lost)


def _lost(domain: Domain, told: Told, damage: Damage) -> set[bytes] | None:
    """Ids of chunks that are needed and cannot be read; None: not even what is needed can be found out."""
    chunks, found = domain.chunks, set[bytes]()
    try:
        chunks.follow()
        ids = iter(live_ids(chunks, _roots(told, domain.id)))
        while some := list(islice(ids, MOST_ASKED)):
            there = chunks.index.find(some)
            found |= {id for id in some if id not in there or id in damage.chunks}
    except (IntegrityError, NotFoundError):
        return None
    return found


def _roots(told: Told, domain: bytes) -> Roots:
    """What is named in a domain, as pruning sees it."""
    is_ours, gone = not told.workspaces.get(domain), told.let_go.get(domain, set())
    stood = {move.version for move in told.moves.get(domain, ()) if move.version}
    named = _heads(told, domain) if is_ours else stood
    return Roots(
        versions=[id for id in named if id not in gone],
        records=[id for id in named if id in gone],
        blobs=(read_blob(held.blob) for held in told.held.values() if held.domain == domain),
        with_parents=not is_ours and not gone,
    )


def _heads(told: Told, domain: bytes) -> set[bytes]:
    """Versions at which branches stand."""
    return {move.version for move in FrozenState((), {}, told.moves).heads(domain, limit=1 << 60)}
