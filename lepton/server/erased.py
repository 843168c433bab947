"""What a platform has erased it takes out of no backup by its own key; backups hold it until they are let go of."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import ConflictError, IntegrityError
from lepton.server.house import House
from lepton.server.opening import open_manifest
from lepton.store import events
from lepton.store.database import Tx
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The last erasure of a workspace."""

    workspace: str
    at: int
    """Microseconds since 1970."""
    up_to: int | None
    """The last backup that had been made; None: an older version did not say."""
    certificate: str
    """Where it was written; empty: an older version did not say."""

    def is_held_by(self, manifest: Manifest) -> bool:
        """Whether a backup is from before."""
        return manifest.at < self.at if self.up_to is None else manifest.number <= self.up_to

    def __str__(self) -> str:
        paper = f", certificate {self.certificate}" if self.certificate else ""
        return f"{self.workspace} was erased at {from_micros(self.at):%Y-%m-%d %H:%M} UTC{paper}"


def erasures(house: House, manifest: Manifest, workspaces: Iterable[str]) -> list[Erasure]:
    """Those of workspaces whose erased content this backup holds."""
    found = [erasure for name in sorted(set(workspaces)) if (erasure := house.database.read(partial(_last, name=name)))]
    return [each for each in found if each.is_held_by(manifest)]


def _last(tx: Tx, name: str) -> Erasure | None:
    event = events.last_of(tx, name, kind="workspace", verb="erased")
    if event is None:
        return None
    up_to, paper = event.data.get("up_to_backup"), str(event.data.get("certificate", ""))
    known = int(str(up_to)) if up_to is not None else None
    return Erasure(workspace=name, at=to_micros(event.at), up_to=known, certificate=paper)


def check_open(house: House, target: Target, manifest: Manifest, workspaces: Iterable[str]) -> None:
    """Refuse what was erased to the platform's own key.

    Raises:
        ConflictError: the backup holds it still.
    """
    for erasure in erasures(house, manifest, workspaces):
        held = [number for number in target.numbers() if _holds(house, target, number, erasure)]
        numbers = f"{'backup' if len(held) == 1 else 'backups'} {', '.join(map(str, held))}"
        every = " ".join(f"--backup {number}" for number in held)
        raise ConflictError(
            f"{erasure}; it is held still at {target.address}: {numbers}",
            fix=f"lepton vault forget --at {target.address} {every} ends that, when it is said again a day later; the "
            "certificate names other places. Until then it opens for whoever has the recovery key (--recovery-key).",
        )


def _holds(house: House, target: Target, number: int, erasure: Erasure) -> bool:
    try:
        return erasure.is_held_by(open_manifest(target, key=None, root=house.opens_with, number=number))
    except IntegrityError:
        return erasure.up_to is None or number <= erasure.up_to
