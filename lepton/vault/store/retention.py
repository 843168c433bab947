"""Which versions of a workspace's files are kept. Pure: the steps of its branches in, what is let go of out.

Each branch is judged by its own steps. Where branches and tags stand now is kept always, and where they stood within a
day: somebody may be reading that. A branch or tag that was deleted can be brought back for `UNDELETE_S`, a draft not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lepton.vault.backup.retention import Keep, kept
from lepton.vault.store.state import Move

YOUNG_S = 86_400
UNDELETE_S = 30 * 86_400
DRAFT = "draft."


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of versions."""

    kept: dict[bytes, set[str]] = field(default_factory=dict)
    """Version -> why."""
    gone: dict[bytes, Move] = field(default_factory=dict)
    """Version -> the newest step that led there."""


def choose(branches: Mapping[str, Sequence[Move]], keep: Keep, *, now: int, bases: Collection[bytes] = ()) -> Choice:
    """What is kept, and why; and what is let go of: nothing, where the rule says nothing.

    Args:
        branches: name of each branch and tag that ever was -> its steps, oldest first.
        now: microseconds since 1970.
        bases: versions that merges need.
    """
    choice = Choice({id: {"base of a merge"} for id in bases})
    for name, moves in branches.items():
        for move, why in _judged(name, moves, keep, now).items():
            if why:
                choice.kept.setdefault(move.version, set()).update(why)
            elif move.version:
                choice.gone[move.version] = move
    for id in choice.kept.keys() & choice.gone.keys():
        del choice.gone[id]
    return choice


def heads_of(branches: Mapping[str, Sequence[Move]], now: int) -> dict[str, bytes]:
    """Where each branch and tag stands; where one that was deleted would stand if it came back."""
    found = {}
    for name, moves in branches.items():
        last = next((move.version for move in reversed(moves) if move.version), b"")
        if last and (moves[-1].version or _can_come_back(name, moves[-1], now)):
            found[name] = last
    return found


def _can_come_back(name: str, deleted: Move, now: int) -> bool:
    return (now - deleted.at) / 1e6 < UNDELETE_S and not name.startswith(DRAFT)


def _judged(name: str, moves: Sequence[Move], keep: Keep, now: int) -> dict[Move, set[str]]:
    """Each step of a branch -> why its version is kept; for no reason, where it is not."""
    last = moves[-1]
    steps = {move.epoch: move for move in moves if move.version}
    found = {move: set[str]() for move in steps.values()}
    if last.version:
        found[last].add("tag" if name.startswith("tags/") else "head")
    if last.version or not keep or _can_come_back(name, last, now):
        for epoch, why in kept({move.epoch: move.at for move in steps.values()}, keep).items():
            found[steps[epoch]].update(why)
    ends = [*(move.at for move in moves[1:]), now]
    for move, until in zip(moves, ends, strict=True):
        if move.version and now - until < YOUNG_S * 1_000_000:
            found[move].add("young")
    return found
