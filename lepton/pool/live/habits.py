"""What jobs have been like lately: which workers come, and where each program has run. Learned from what happens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import nlargest

from lepton.core.launch import Devices
from lepton.pool.kernel.fragments import KINDS
from lepton.pool.live.layout import kind_of
from lepton.pool.live.speeds import Speeds

FADES_AFTER = 1024
"""Workers after which what came before counts half."""
LEARNS_EVERY = 64
MOST_PROGRAMS = 4096
MOST_NODES = 8
"""Nodes that are remembered of a program, or as many as its last start had workers, one for each,"""
MOST_WORKERS = 64
"""up to so many."""


class Habits:
    """Which workers are to be expected, and on which nodes a program finds its files."""

    def __init__(self) -> None:
        self._comes: Counter[Devices] = Counter()
        self._came = 0
        self._known = 0
        """How many had come when `kinds` was asked last."""
        self._nodes: dict[str, tuple[str, ...]] = {}
        self.speeds = Speeds()

    def came(self, workers: Sequence[Devices]) -> None:
        """A job was submitted."""
        wanting = [each for each in workers if kind_of(each)]
        self._comes.update(wanting)
        before, self._came = self._came, self._came + len(wanting)
        if self._came // FADES_AFTER != before // FADES_AFTER:
            self._comes = Counter({each: count // 2 for each, count in self._comes.items() if count > 1})

    @property
    def are_new(self) -> bool:
        """Whether so many have come that the kinds may be others."""
        return self._came - self._known >= min(LEARNS_EVERY, max(1, self._known))

    def kinds(self) -> list[tuple[Devices, float]]:
        """The kinds of workers that come most often, of those that want an accelerator, and the share of each."""
        self._known = self._came
        found = nlargest(KINDS, self._comes.items(), key=lambda each: (each[1], each[0].amounts()))
        total = sum(count for _, count in found)
        return [(devices, count / total) for devices, count in found]

    def ran(self, program: str, nodes: Iterable[str]) -> None:
        """A program has begun to run there."""
        known = self._nodes.pop(program, ())
        now = tuple(nodes)[:MOST_WORKERS]
        before = [each for each in known if each not in now]
        self._nodes[program] = (*now, *before[: max(0, MOST_NODES - len(now))])
        if len(self._nodes) > MOST_PROGRAMS:
            del self._nodes[next(iter(self._nodes))]

    def nodes(self, program: str) -> tuple[str, ...]:
        """Where a program has run, the last first."""
        return self._nodes.get(program, ())
