"""A node: one machine of the pool, what it has, and what of it is free."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lepton.core.launch import Devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine, as placement sees it."""

    name: str
    total: Devices
    free: Devices
    free_gpus: tuple[int, ...] = ()
    """Indices of GPUs that nobody holds, ascending."""
    is_up: bool = True
    """New work may go there."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def without(self, amount: Devices) -> "tuple[Node, tuple[int, ...]]":
        """The node after `amount` is taken, and the GPUs that were taken."""
        count = -(-amount.gpu_milli // 1000)
        taken, rest = self.free_gpus[:count], self.free_gpus[count:]
        return replace(self, free=self.free.minus(amount), free_gpus=rest), taken
