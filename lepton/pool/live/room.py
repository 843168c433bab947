"""What is free of each node, as a waiting job sees it: whole devices, and what is left of those that are shared."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lepton.core.launch import Devices
from lepton.pool.kernel.state import WHOLE
from lepton.pool.live.layout import devices_of, milli_of
from lepton.pool.live.views import Wants
from lepton.pool.shape import show


@dataclass(frozen=True, slots=True)
class Kind:
    """Workers of a job that are alike."""

    role: str
    count: int
    need: Devices
    """Of each."""

    def size(self) -> tuple[int, int, int]:
        """Sorts the largest last."""
        return sum(milli_of(self.need).values()), self.need.cpu_milli, self.need.memory_bytes


def kinds_of(wants: Wants) -> list[Kind]:
    """What a job's workers need, by role; one kind if all need the same."""
    names = [name for name, count in wants.roles for _ in range(count)] or ["worker"] * len(wants.workers)
    if len(set(wants.workers)) == 1:
        return [Kind("worker", len(wants.workers), wants.workers[0])]
    runs = [(pair, len(list(run))) for pair, run in groupby(zip(names, wants.workers, strict=True))]
    return [Kind(name, count, need) for (name, need), count in runs]


def in_words(kinds: Sequence[Kind]) -> str:
    """What workers need: `2 workers of 1 GPU`, `1 front of 0.1 CPU and 2 workers of 0.5 CPU`."""
    if len(kinds) == 1 and kinds[0].count == 1:
        return show(kinds[0].need)
    each = [f"{kind.count} {kind.role}{'' if kind.count == 1 else 's'} of {show(kind.need)}" for kind in kinds]
    return each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"


@dataclass(slots=True)
class Free:
    """What is free of one node."""

    kind: str
    """Of its devices: gpu, tpu or fpga; empty: it has none."""
    devices: int
    """Whole ones."""
    parts: list[int]
    """Thousandths that are left of each device that is shared."""
    cpu: int
    memory: int

    @property
    def most(self) -> Devices:
        """All of it; of devices the whole ones and the largest part that is left of another."""
        milli = {f"{self.kind}_milli": WHOLE * self.devices + max(self.parts, default=0)} if self.kind else {}
        return Devices(cpu_milli=self.cpu, memory_bytes=self.memory, **milli)

    def times(self, need: Devices) -> int:
        """How many such workers fit."""
        whole, milli = devices_of(need)
        fits = [has // asks for asks, has in ((need.cpu_milli, self.cpu), (need.memory_bytes, self.memory)) if asks]
        if milli:
            fits.append(self.devices * (WHOLE // milli) + sum(part // milli for part in self.parts))
        elif whole:
            fits.append(self.devices // whole)
        return min(fits, default=1)

    def take(self, need: Devices) -> bool:
        """Let one worker have what it needs; False, and nothing taken, if it does not fit."""
        if not self.times(need):
            return False
        whole, milli = devices_of(need)
        self.cpu -= need.cpu_milli
        self.memory -= need.memory_bytes
        self.devices -= whole
        if milli:
            shared = min((part for part in self.parts if part >= milli), default=WHOLE)
            self.parts.remove(shared) if shared < WHOLE else None
            self.devices -= shared == WHOLE
            self.parts.append(shared - milli)
        return True


def alike(nodes: Iterable[Free]) -> list[Free]:
    """Each object of a list once: nodes of which the same is free may share one."""
    found = list(nodes)
    return list(dict(zip(map(id, found), found, strict=True)).values())


def fitting(kinds: Sequence[Kind], nodes: Sequence[Free]) -> int:
    """How many workers fit at once; of one kind perhaps more than there are. Nothing is taken of what is free."""
    times = {id(node): [node.times(kind.need) for kind in kinds] for node in alike(nodes)}
    if len(kinds) == 1:
        return sum(times[which][0] * count for which, count in Counter(map(id, nodes)).items())
    nodes, found = [replace(node, parts=[*node.parts]) for node in nodes if any(times[id(node)])], 0
    for kind in sorted(kinds, key=Kind.size, reverse=True):
        left = kind.count
        for node in nodes:
            while left and node.take(kind.need):
                left -= 1
        found += kind.count - left
    return found
