"""A cluster and what was once submitted to it, in the terms of a replay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Nodes of one kind, each in a queue (a virtual cluster)."""

    nodes: Mapping[str, int]
    """Queue -> how many nodes it has."""
    per_node: int = 8
    """Devices of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """J jobs, in the order in which equal ones go."""

    name: str
    id: Sequence[str]
    queue: Ints
    """(J,) index into `queues`."""
    queues: Sequence[str]
    user: Ints
    """(J,) index into `users`."""
    users: Sequence[str]
    submit: Floats
    """(J,) seconds on the trace's own clock."""
    duration: Floats
    """(J,) seconds that it ran where the trace was taken, waiting not counted."""
    gpus: Ints
    cpus: Ints
    program: Ints | None = None
    """(J,) a number for each program, of whatever user; None: the trace does not say."""

    def __len__(self) -> int:
        return len(self.id)

    def only(self, keep: NDArray[np.bool_]) -> "Trace":
        """The jobs for which `keep`, of shape (J,), is true."""
        return Trace(
            name=self.name,
            id=[self.id[job] for job in np.flatnonzero(keep).tolist()],
            queue=self.queue[keep],
            queues=self.queues,
            user=self.user[keep],
            users=self.users,
            submit=self.submit[keep],
            duration=self.duration[keep],
            gpus=self.gpus[keep],
            cpus=self.cpus[keep],
            program=None if self.program is None else self.program[keep],
        )
