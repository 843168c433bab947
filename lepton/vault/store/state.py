"""What a vault must know for certain, beside its packs: sealed keys, which packs there are, where branches stand.

It is small and is kept in Lepton's database, never in the storage: no backend needs to compare and swap, and a stale
listing of one misleads nobody. `lepton.store.vault` is the form in SQL; `tests/contract/test_vault_state.py` says what
one must do.

A pack is *live*, then *marked* (nothing seemed to use it), then *gone*. Whoever moves a branch names the packs that its
new version relies on: in the same transaction a marked one is live again, and a pack that is gone refuses the move. So
no version ever names what is about to go. A new pack is *fresh* until somebody names it: then whoever wrote it may
still take it back.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from lepton.core.errors import StaleError
from lepton.vault.store.keyring import KeyRing, KeyTable, SealedKey

TRIES = 5
FRESH = -1
"""Of a pack that nobody has named yet, in place of when it was marked."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that is whole and durable in the storage."""

    id: bytes
    size_bytes: int
    chunks: int
    seq: int = 0
    """Grows by one with each pack of a domain that comes or goes."""
    is_gone: bool = False
    marked_at: int = 0
    """Microseconds since 1970; 0: it is live; `FRESH`."""


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a branch or tag."""

    name: str
    epoch: int
    """1 for its first step, then one more with each."""
    version: bytes
    """(32,) id of the version that it stands at since; empty: it was deleted."""
    at: int
    """Microseconds since 1970."""
    by: str = ""
    """Who takes it, for the audit trail; not kept with it. Empty: nothing is told."""
    why: str = ""


class State(KeyTable, Protocol):
    """Keys, packs and branches of the domains of a vault. Any thread may use it."""

    def add_pack(self, domain: bytes, pack: Pack, key: SealedKey) -> int:
        """Register a pack that is durable, and its key; return its `seq`.

        Raises:
            StaleError: the key is sealed under a version of the domain's key that is not the present one.
        """
        ...

    def packs(self, domain: bytes, *, after: int = 0, limit: int = 1000) -> Sequence[Pack]:
        """Packs that came or went after that `seq`, in its order, those that are gone too."""
        ...

    def mark_packs(self, domain: bytes, packs: Collection[bytes], *, at: int) -> None:
        """Mark live and fresh packs; those that are marked keep their time, unless it lies ahead."""
        ...

    def steps(self, domain: bytes) -> int:
        """How many steps all branches and tags have taken."""
        ...

    def drop_packs(self, domain: bytes, packs: Collection[bytes], *, marked_before: int, steps: int) -> Sequence[bytes]:
        """Let those go, with their keys, that have been marked since before that time; return which those were.

        Args:
            steps: `steps()` from before it was found that nothing uses them.

        Raises:
            StaleError: a branch has moved since; look again.
        """
        ...

    def take_back(self, domain: bytes, packs: Collection[bytes]) -> Sequence[bytes]:
        """Let those go at once, with their keys, that nobody has named; return which those were."""
        ...

    def head(self, domain: bytes, name: str) -> Move | None:
        """Where a branch or tag stands; None if it never was. A deleted one has an empty version."""
        ...

    def heads(self, domain: bytes, *, after: str = "", limit: int = 1000) -> Sequence[Move]:
        """Branches and tags that are not deleted, by name, beginning behind `after`."""
        ...

    def moves(self, domain: bytes, name: str, *, before: int = 0, limit: int = 100) -> Sequence[Move]:
        """The steps of a branch, newest first, beginning below that epoch; 0: with the last."""
        ...

    def move_at(self, domain: bytes, name: str, at: int) -> Move | None:
        """Where a branch stood at a time; None if it was not there yet."""
        ...

    def let_go(self, domain: bytes, versions: Collection[bytes]) -> Mapping[bytes, int]:
        """Of these versions those whose files retention has let go of, and when (microseconds since 1970)."""
        ...

    def move(self, domain: bytes, step: Move, *, uses: Collection[bytes] = ()) -> None:
        """Let a branch or tag take its next step.

        Args:
            step: its epoch is one more than that of the head that it was made from.
            uses: the packs that its version relies on and may not have named before.

        Raises:
            StaleError: somebody else took that step, or a pack is gone.
            LetGoError: retention has let go of its version.
        """
        ...


def add_pack(state: State, ring: KeyRing, pack: Pack, key: bytes, *, domain: bytes) -> None:
    """From now on a pack counts; its key is sealed by the domain's, which may be rotated at any moment."""
    for _ in range(TRIES - 1):
        with suppress(StaleError):
            state.add_pack(domain, pack, ring.seal_pack(pack.id, key, domain=domain))
            return
    state.add_pack(domain, pack, ring.seal_pack(pack.id, key, domain=domain))
