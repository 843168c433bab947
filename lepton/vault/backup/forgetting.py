"""Let backups go, and then what only they needed. Two-phase, so that no backup loses what it is about to name.

First the manifests go, and packs that no manifest names any more are *marked* in a file of the target; a lease later,
those that are still named by none are removed. A backup that is being made says so in the target before it looks what
is there (`Target.busy`), and so does who forgets: of the two, who sees the other steps back.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from lepton.core.clock import believed
from lepton.core.errors import ConflictError, IntegrityError, NotFoundError, StaleError
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.ranges import ranges
from lepton.vault.backup.target import FORGETTING, MAKING, Busy, Target, manifest_paths
from lepton.vault.store.files import pack_path
from lepton.vault.uses import DUMPS, PACKS

LEASE_S = 86_400.0
MARKS = "forgotten"
Opened = Callable[[int], Manifest | None]
"""The manifest of a backup; None: what lies there is none, and needs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What a run did; or would do."""

    gone: list[int]
    """Backups that were let go."""
    marked: int
    """Packs that no backup needs, to be removed a lease later."""
    removed: int
    removed_bytes: int


def forget(
    target: Target,
    gone: Collection[int],
    opened: Opened,
    *,
    busy: Busy,
    newest: int = 0,
    lease_s: float = LEASE_S,
) -> Forgotten:
    """Let backups go, mark what nobody needs, remove what nobody has needed for a lease.

    Args:
        opened: the manifest of a backup.
        newest: the last backup that is known to have been made there.

    Raises:
        ConflictError: the storage keeps what lies there, or is for something else too; or a backup is being made there.
        IntegrityError: a manifest that stays cannot be read: no pack is removed, as it may need any.
        StaleError: the storage does not show the newest backup yet.
    """
    target.check_only()
    _check_forgets(target)
    if newest and newest not in target.numbers():
        raise StaleError(f"Backup {newest} is not shown by the storage", fix="Look where it went, or try again later.")
    with target.busy(FORGETTING, MAKING, busy):
        for number in gone:
            for path in manifest_paths(number)[::-1]:
                target.driver.delete(path)
        unnamed = _unnamed(target, opened, ())
        marks = {path: believed(mark, busy.now) or busy.now for path, mark in _marks(target).items() if path in unnamed}
        before = busy.now - int(lease_s * 1e6)
        old = [path for path in unnamed if marks.get(path, busy.now) < before]
        for path in old:
            target.driver.delete(path)
        left = {path: marks.get(path, busy.now) for path in unnamed if path not in set(old)}
        target.driver.put(MARKS, [json.dumps(left).encode()])
    return Forgotten(
        gone=sorted(gone), marked=len(left), removed=len(old), removed_bytes=sum(unnamed[path] for path in old)
    )


def preview(target: Target, gone: Collection[int], opened: Opened) -> Forgotten:
    """What `forget` would do: every pack that only those backups need counts as marked.

    Raises:
        ConflictError: the storage keeps what lies there.
    """
    _check_forgets(target)
    unnamed = _unnamed(target, opened, gone)
    return Forgotten(gone=sorted(gone), marked=len(unnamed), removed=0, removed_bytes=0)


def _check_forgets(target: Target) -> None:
    if (found := target.driver.append_only()).keeps_all:
        raise ConflictError(
            f"The storage keeps what lies there: {found.reason}",
            fix="Nothing is let go of there, and no lifecycle rule should: newer backups need packs of any age. To "
            "have less, begin a new place (lepton vault backup --to URL --new), and remove this one whole in the end.",
        )


def _unnamed(target: Target, opened: Opened, gone: Collection[int]) -> dict[str, int]:
    """Path -> bytes of the packs that no backup names, save those that go."""
    found = {head.key: head.size_bytes for folder in (PACKS, DUMPS + PACKS) for head in target.driver.list(folder)}
    for manifest in named(opened, [number for number in target.numbers() if number not in gone]):
        for domain, packs in manifest.packs.items():
            for pack, _ in packs:
                for below in ("", DUMPS):
                    found.pop(below + pack_path(domain, pack), None)
    return found


def named(opened: Opened, numbers: Iterable[int], *, gone: Collection[int] = ()) -> Iterator[Manifest]:
    """The manifests of backups that stay.

    Args:
        gone: numbers that go, as the fix says too.

    Raises:
        IntegrityError: after all that can be read, that others cannot; the fix says what to do.
    """
    faults = dict[int, str]()
    for number in numbers:
        try:
            found = opened(number)
        except IntegrityError as fault:
            faults[number] = fault.message
            continue
        if found is not None:
            yield found
    if faults:
        several = len(faults) > 1
        what = f"backups {ranges(faults)} need" if several else f"backup {ranges(faults)} needs"
        every = " ".join(f"--backup {number}" for number in sorted({*faults, *gone}))
        raise IntegrityError(
            f"What {what} is not known: {next(iter(faults.values()))}",
            fix=f"Put {'their manifests' if several else 'its manifest'} back, or let {'them' if several else 'it'} go "
            f"too: lepton vault forget --at URL {every}",
        )


def _marks(target: Target) -> dict[str, int]:
    try:
        told = json.loads(b"".join(target.driver.get(MARKS)))
        return {str(path): int(at) for path, at in told.items()}
    except NotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        return {}  # damaged: everything waits for another lease
