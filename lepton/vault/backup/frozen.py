"""The state of a vault as it was at a backup: read only, in memory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from lepton.core.errors import ConflictError
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.sealing import Kind
from lepton.vault.store.state import Move, Pack


def numbered(packs: Iterable[tuple[bytes, int]]) -> list[Pack]:
    """Packs from id and bytes of each, in the order in which they came."""
    return [Pack(id, size, 0, seq) for seq, (id, size) in enumerate(packs, 1)]


class FrozenState:
    """Sealed keys, packs and branches that nobody changes any more."""

    def __init__(
        self,
        keys: Iterable[SealedKey],
        packs: Mapping[bytes, Sequence[Pack]],
        moves: Mapping[bytes, Sequence[Move]] | None = None,
    ) -> None:
        self._keys = {(row.place.kind, row.place.owner): row for row in keys}
        self._packs = packs
        self._moves = moves or {}

    def find(self, kind: Kind, owner: bytes) -> SealedKey | None:
        """One sealed key."""
        return self._keys.get((kind, owner))

    def under(self, holder: bytes) -> Iterable[SealedKey]:
        """All keys that lie under one."""
        return [row for row in self._keys.values() if row.place.holder == holder]

    def packs(self, domain: bytes, *, after: int = 0, limit: int = 1000) -> Sequence[Pack]:
        """Packs in the order in which they came."""
        return [pack for pack in self._packs.get(domain, ()) if pack.seq > after][:limit]

    def head(self, domain: bytes, name: str) -> Move | None:
        """Where a branch stood."""
        found = self.moves(domain, name, limit=1)
        return found[0] if found else None

    def heads(self, domain: bytes, *, after: str = "", limit: int = 1000) -> Sequence[Move]:
        """Branches and tags that were not deleted."""
        last = {move.name: move for move in sorted(self._moves.get(domain, ()), key=lambda move: move.epoch)}
        return [last[name] for name in sorted(last) if last[name].version and name > after][:limit]

    def moves(self, domain: bytes, name: str, *, before: int = 0, limit: int = 100) -> Sequence[Move]:
        """Steps of a branch, newest first."""
        its = [move for move in self._moves.get(domain, ()) if move.name == name]
        return sorted((move for move in its if not before or move.epoch < before), key=lambda move: -move.epoch)[:limit]

    def move_at(self, domain: bytes, name: str, at: int) -> Move | None:
        """Where a branch stood at a time."""
        return next((move for move in self.moves(domain, name, limit=1 << 60) if move.at <= at), None)

    def let_go(self, domain: bytes, versions: Collection[bytes]) -> Mapping[bytes, int]:
        """None: branches stand at what is kept."""
        return {}

    def steps(self, domain: bytes) -> int:
        """How many steps all branches had taken."""
        return len(self._moves.get(domain, ()))

    def put(self, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]] = ()) -> None:
        """Refused."""
        _refuse()

    def add_pack(self, domain: bytes, pack: Pack, key: SealedKey) -> int:
        """Refused."""
        _refuse()

    def mark_packs(self, domain: bytes, packs: Collection[bytes], *, at: int) -> None:
        """Refused."""
        _refuse()

    def drop_packs(self, domain: bytes, packs: Collection[bytes], *, marked_before: int, steps: int) -> Sequence[bytes]:
        """Refused."""
        _refuse()

    def take_back(self, domain: bytes, packs: Collection[bytes]) -> Sequence[bytes]:
        """Refused."""
        _refuse()

    def move(self, domain: bytes, step: Move, *, uses: Collection[bytes] = ()) -> None:
        """Refused."""
        _refuse()


def _refuse() -> NoReturn:
    raise ConflictError("A backup cannot be changed", fix="Restore it, and change that.")
