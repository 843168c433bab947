"""Remove packs that nothing names any more. Two-phase, so that it never takes what somebody is about to name.

*Mark*: walk everything that is named, and mark the packs that have none of it. *Sweep*, a lease later: look again, and
let those go that are still marked, were so before the lease, and have nothing that is named. Whoever finds content that
is there already names its packs when it commits (`State.move`, `holdings.keep`), and a marked one is live again then. A
branch that moved while it was looked stops the sweep. A file of a pack goes only after its row: what dies between the
two is an orphan, removed by a later run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lepton.vault.store.blobs import Blob, places
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.compacting import compact
from lepton.vault.store.files import pack_folder, pack_path
from lepton.vault.store.pages import Entry
from lepton.vault.store.tree import Tree
from lepton.vault.store.versions import history, read_version

LEASE_S = 86_400
"""Longer than any upload or backup takes from its first look to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """What is named in a domain."""

    versions: Iterable[bytes] = ()
    with_parents: bool = True
    """Whether all that the versions were made from is named too."""
    records: Iterable[bytes] = ()
    """Versions of which only who made them, of what and why is named, and not their files."""
    blobs: Iterable[Blob] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a run did."""

    marked: int
    removed: int
    removed_bytes: int
    orphans: int
    """Files that no row names, removed."""
    moved: int = 0
    """Packs whose used chunks were stored again in larger ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """What must be so before anything is removed."""

    lease_s: float = LEASE_S
    """A pack was unused for so long."""
    orphan_s: float = LEASE_S
    """A file was without a row for so long."""
    check: Callable[[], object] = bool
    """Asked before each deletion; raises if the storage is another's by now."""


CAUTION = Caution()


def prune(chunks: Chunks, roots: Roots, *, now: int, caution: Caution = CAUTION, compacts: int = 0) -> Pruned:
    """Mark what is unused now, remove what has been unused since a lease ago.

    Args:
        now: microseconds since 1970.
        compacts: also move what is used out of packs that are mostly unused, or of which so many are small; what is
            left of them is marked by the next run. 0: nothing is moved.

    Raises:
        StaleError: a branch moved meanwhile; run it again.
        IntegrityError: something that is named cannot be read: then nothing is marked or removed.
        LeptonError: what `caution` says; no file is removed from then on.
    """
    domain, state, driver = chunks.domain, chunks.state, chunks.driver
    steps = state.steps(domain)
    chunks.follow()
    with chunks.index.usage(live_ids(chunks, roots)) as usage:
        unused = {
            pack: use.size_bytes
            for pack, use in usage.packs.items()
            if not use.used_bytes and pack not in usage.unread  # they may be repaired
        }
        moved = compact(chunks, usage, few=compacts) if compacts else 0
    state.mark_packs(domain, [*unused], at=now)
    before = now - int(caution.lease_s * 1e6)
    caution.check()
    gone = state.drop_packs(domain, [*unused], marked_before=before, steps=steps) if unused else ()
    chunks.follow()
    for pack in gone:
        caution.check()
        driver.delete(pack_path(domain, pack))
    return Pruned(
        marked=len(unused) - len(gone),
        removed=len(gone),
        removed_bytes=sum(unused[pack] for pack in gone),
        orphans=_remove_orphans(chunks, now, caution),
        moved=moved,
    )


def _remove_orphans(chunks: Chunks, now: int, caution: Caution) -> int:
    """Remove files that had no row a while ago and have none now."""
    folder = pack_folder(chunks.domain)
    strange = [head.key for head in chunks.driver.list(folder) if not chunks.is_pack(head.key.rpartition("/")[2])]
    old = chunks.index.strange_since(strange, now=now, before=now - int(caution.orphan_s * 1e6))
    for path in old:
        caution.check()
        chunks.driver.delete(path)
    return len(old)


def live_ids(chunks: Chunks, roots: Roots) -> Iterator[bytes]:
    """Ids of all chunks that the roots need; some more than once."""
    seen: set[bytes] = set()
    for root in roots.versions:
        if root in seen:
            continue
        line = history(chunks, root) if roots.with_parents else [(root, read_version(chunks, root))]
        for id, version in line:
            if id in seen:
                continue
            seen.add(id)
            yield id
            yield from _tree_ids(chunks, Tree(chunks, version.root), seen)
    yield from roots.records
    for blob in roots.blobs:
        yield from (id for id, _ in places(chunks, blob))


def _tree_ids(chunks: Chunks, tree: Tree, seen: set[bytes]) -> Iterator[bytes]:
    """Pages that were not seen in another version, and what their entries need."""
    for id, page in tree.pages_beside(seen):
        yield id
        for _, value in page.records:
            if isinstance(value, Entry):
                yield from (found for found, _ in places(chunks, value.blob))
