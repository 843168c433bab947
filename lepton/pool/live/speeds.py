"""How fast each program runs on each type of device, learned from what has ended there; and which type suits it best.

Types are what nodes say in the label `gpu_model` (`tpu_model`, `fpga_model`, `cpu_model`). While there is room, a
program goes where it runs fastest. While the pool is crowded, it goes where it loses least against what others would
gain there (comparative advantage; Gavel, Narayanan et al. 2020, reaches the same by a linear program): its slowdown on
a type counts against the mean slowdown of all programs on it.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

LEAST = 3
"""Endings on a type before it says anything."""
MEMORY = 16
"""Endings that the mean remembers."""
MOST_PROGRAMS = 4096


class Speeds:
    """The throughput table."""

    def __init__(self) -> None:
        self._logs: dict[Hashable, dict[str, tuple[float, int]]] = {}
        """Program -> type -> mean log of its run times in seconds, and how many have ended."""
        self._mean: dict[str, float] | None = None

    def learn(self, program: Hashable, kind: str, ran_s: float) -> None:
        """A run has ended by itself on one type of device."""
        types = self._logs.setdefault(program, {})
        mean, count = types.get(kind, (0.0, 0))
        count = min(count, MEMORY - 1) + 1
        types[kind] = (mean + (math.log1p(max(0.0, ran_s)) - mean) / count, count)
        self._mean = None
        if len(self._logs) > MOST_PROGRAMS:
            del self._logs[next(iter(self._logs))]

    def slowdowns(self, program: Hashable) -> dict[str, float]:
        """Log of how much longer a program takes on each type than on its fastest; of types that are known."""
        known = {kind: mean for kind, (mean, count) in self._logs.get(program, {}).items() if count >= LEAST}
        return {kind: mean - min(known.values()) for kind, mean in known.items()} if len(known) > 1 else {}

    def mean_slowdowns(self) -> Mapping[str, float]:
        """The same, in the mean of all programs that have run on several types."""
        if self._mean is None:
            totals: dict[str, list[float]] = {}
            for program in self._logs:
                for kind, slowdown in self.slowdowns(program).items():
                    totals.setdefault(kind, []).append(slowdown)
            self._mean = {kind: sum(each) / len(each) for kind, each in totals.items()}
        return self._mean

    def order(self, program: Hashable, kinds: Sequence[str], *, is_crowded: bool) -> tuple[str, ...]:
        """Types in the order in which a program should get them; empty if nothing speaks for any."""
        mean, own = self.mean_slowdowns(), self.slowdowns(program)
        if len(kinds) < 2 or sum(kind in mean for kind in kinds) < 2:
            return ()
        price = {kind: mean.get(kind, 0.0) if is_crowded else 0.0 for kind in kinds}
        expected = {kind: own.get(kind, mean.get(kind, 0.0)) for kind in kinds}  # what nobody knows is tried
        return tuple(sorted(kinds, key=lambda kind: (expected[kind] - price[kind], expected[kind], kind in mean, kind)))
