"""When places come free, in several futures at once: nodes as slots, each free from a moment on.

A slot is a device, or as much of one as the asking job wants of it; for a job without accelerators, so many CPUs. Jobs
are put in one after the other, each where it can start first.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lepton.pool.live.runs import DRAWS, Times

Nodes = NDArray[np.int64]
"""Positions of nodes."""
Need = tuple[int, int]
"""Workers of a job, and slots of each."""
_ALL = np.arange(DRAWS)


class Slots:
    """(DRAWS, nodes, slots) moments, ascending along the slots of a node; infinite where there is no slot."""

    def __init__(self, free: Sequence[int], held: Sequence[Sequence[Times]], now: float) -> None:
        """Args: `free`: slots of each node that are free now; `held`: of each of the others, when it comes free."""
        most = max((count + len(ends) for count, ends in zip(free, held, strict=True)), default=0)
        self.at = np.full((DRAWS, len(free), max(1, most)), np.inf)
        for node, (count, ends) in enumerate(zip(free, held, strict=True)):
            self.at[:, node, :count] = now
            if ends:
                self.at[:, node, count : count + len(ends)] = np.array(ends).T
        self.at.sort(axis=2)

    def first(self, need: Need, nodes: Nodes) -> Times:
        """When such a job could start there."""
        found, _ = self._find(need, nodes)
        return found

    def put(self, need: Need, nodes: Nodes, run_s: Times) -> None:
        """A job starts as soon as it can, and holds its slots for so long; none where it never can."""
        workers, each = need
        start, chosen = self._find(need, nodes)
        if chosen is None:
            return
        until = np.where(np.isfinite(start), start + run_s, np.inf)
        if workers == 1:
            its = self.at[_ALL, nodes[chosen[:, 0]]]
            its[:, :each] = np.maximum(its[:, :each], until[:, None])
            self.at[_ALL, nodes[chosen[:, 0]]] = np.sort(its, axis=1)
            return
        touched, place = np.unique(chosen, return_inverse=True)
        taken = np.zeros((DRAWS, len(touched)), np.int64)
        np.add.at(taken, (np.repeat(_ALL, workers), place.ravel()), each)
        some = self.at[:, nodes[touched]]
        holds = (np.arange(some.shape[2]) < taken[:, :, None]) & np.isfinite(start)[:, None, None]
        self.at[:, nodes[touched]] = np.sort(np.where(holds, until[:, None, None], some), axis=2)

    def _find(self, need: Need, nodes: Nodes) -> tuple[Times, NDArray[np.int64] | None]:
        """When a job could start on these nodes, and on which of them each of its workers; None: never."""
        workers, each = need
        starts = self.at[:, nodes, each - 1 :: each]
        flat = starts.reshape(DRAWS, -1)
        if flat.shape[1] < workers:
            return np.full(DRAWS, np.inf), None
        chosen = (
            np.argpartition(flat, workers - 1, axis=1)[:, :workers] if workers > 1 else flat.argmin(axis=1)[:, None]
        )
        start = np.take_along_axis(flat, chosen, axis=1).max(axis=1)
        return start, chosen // starts.shape[2]
