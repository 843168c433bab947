"""What a merge brings from one side into the other, and where both want different things."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lepton.core.errors import MergeConflictError
from lepton.vault.store.pages import Entry
from lepton.vault.store.tree import Change, Tree

MOST_TOLD = 20
"""Conflicts that an error's text names."""
MOST_DETAILED = 1000
"""Conflicts that its details list."""
Side = Literal["ours", "theirs"]
Kind = Literal["both_added", "both_changed", "ours_removed", "theirs_removed", "ours_is_folder", "theirs_is_folder"]
Edits = dict[str, Entry | None]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A name that both sides of a merge changed, each in its own way; None: no file of that name is there."""

    name: str
    kind: Kind
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None

    def told(self) -> Mapping[str, Any]:
        """As data."""
        sides = {"base": self.base, "ours": self.ours, "theirs": self.theirs}
        return {"path": self.name, "kind": self.kind, **{side: _digest(entry) for side, entry in sides.items()}}


def brought(here: Tree, base: Tree, changes: Iterable[Change], take: Side | None) -> tuple[Edits, list[Conflict]]:
    """What of theirs goes into ours, and where both want different things.

    Args:
        here: ours.
        base: what both were made from.
        changes: theirs, since then.
        take: whose, where both want different things; None: that is a conflict.
    """
    edits, conflicts = Edits(), list[Conflict]()
    for change in changes:
        mine = here.find(change.name)
        if mine == change.new:
            continue
        if mine == change.old or take == "theirs":
            edits[change.name] = change.new
        elif take is None:
            conflicts.append(Conflict(change.name, _kind(change, mine), change.old, mine, change.new))
    for name, is_ours in sorted(_clashes(here, edits).items()):
        if take is not None:
            _settle(here, edits, name, is_ours=is_ours, take=take)
        elif is_ours:
            conflicts.append(Conflict(name, "theirs_is_folder", base.find(name), here.find(name), None))
        else:
            conflicts.append(Conflict(name, "ours_is_folder", base.find(name), None, edits[name]))
    return edits, sorted(conflicts, key=lambda each: each.name)


def added(unlike: Iterable[Change]) -> Iterator[Change]:
    """Where theirs is unlike ours, as if nothing had been there before: what both were is not known."""
    return (Change(each.name, None, each.new) for each in unlike if each.new)


def conflicting(conflicts: Collection[Conflict], *, is_lost: bool = False) -> MergeConflictError:
    """What a merge is refused with.

    Args:
        is_lost: what both were is not known.
    """
    some = [each.name for each in conflicts][:MOST_TOLD]
    more = f" and {len(conflicts) - MOST_TOLD} more" if len(conflicts) > MOST_TOLD else ""
    told = [each.told() for each in conflicts][:MOST_DETAILED]
    why = "The version that both branches were was let go by retention, and they differ in" if is_lost else ""
    return MergeConflictError(
        f"{why or 'Both branches changed'} {', '.join(some)}{more}",
        fix="Say whose to take: ours or theirs; or change one of them.",
        details={"conflicts": told, "count": len(conflicts)},
    )


def _kind(change: Change, mine: Entry | None) -> Kind:
    if mine is None:
        return "ours_removed"
    if change.new is None:
        return "theirs_removed"
    return "both_changed" if change.old else "both_added"


def _clashes(here: Tree, edits: Edits) -> dict[str, bool]:
    """Names that would be a file and a folder, and whether the file is ours."""
    found, good = dict[str, bool](), set[str]()
    for name, entry in edits.items():
        if entry is None:
            continue
        if any(edits.get(below, entry) for below, _ in here.scan(prefix=f"{name}/")):
            found[name] = False
        folder = name.rpartition("/")[0]
        while folder and folder not in good:
            good.add(folder)
            if folder not in edits and here.find(folder):
                found[folder] = True
            folder = folder.rpartition("/")[0]
    return found


def _settle(here: Tree, edits: Edits, name: str, *, is_ours: bool, take: Side) -> None:
    """Let a name be what one side wants it to be."""
    below = f"{name}/"
    if is_ours and take == "theirs":
        edits[name] = None
    elif is_ours:
        for each in [each for each, entry in edits.items() if entry and each.startswith(below)]:
            del edits[each]
    elif take == "theirs":
        edits.update((each, None) for each, _ in here.scan(prefix=below))
    else:
        del edits[name]


def _digest(entry: Entry | None) -> str | None:
    return entry.blob.sha256.hex() if entry else None
