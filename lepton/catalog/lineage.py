"""Where a thing comes from: the chain of versions behind it, oldest last. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lepton.core.artifact import Version


@dataclass(frozen=True, slots=True)
class Link:
    """One version in a chain."""

    version: Version
    role: str
    """What it was to its child, e.g. `dataset`; empty for the first."""
    depth: int


def chain(start: Version, find: Callable[[Sequence[str]], Sequence[Version]]) -> Iterator[Link]:
    """Yield `start` and everything it was made from, each version once, nearest first.

    Args:
        find: gives the versions of some ids; unknown ids are left out.
    """
    seen = {start.id}
    layer, depth = [Link(start, "", 0)], 0
    while layer:
        yield from layer
        depth += 1
        roles = {parent: role for link in layer for role, parent in link.version.parents.items() if parent not in seen}
        seen |= roles.keys()
        layer = [Link(version, roles[version.id], depth) for version in find(sorted(roles))]
