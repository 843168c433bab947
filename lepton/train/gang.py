"""How the workers of one gang add up their numbers: torch.distributed over gloo, or nothing at all for one worker.

The engine's launch has set MASTER_ADDR, MASTER_PORT and GLOO_SOCKET_IFNAME.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

PATIENCE = timedelta(seconds=120)
"""A worker that waits longer for another fails. One that died is noticed at once."""


class Gang:
    """The open connection of one worker to the others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def sum_(self, tensor: torch.Tensor) -> None:
        """Replace the tensor by its sum over all workers, which is the same everywhere to the last bit."""
        if self.size > 1:
            distributed.all_reduce(tensor)

    def copy_from_first_(self, tensor: torch.Tensor) -> None:
        """Replace the tensor by that of rank 0."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)


@contextmanager
def opened_gang(rank: int, size: int) -> Iterator[Gang]:
    """Meet the other workers; part from them at the end.

    A worker that fails does not part: the others fail of that too, and the platform takes the first that ended for the
    cause. So they notice only when its process is gone.
    """
    if size > 1:
        distributed.init_process_group("gloo", rank=rank, world_size=size, timeout=PATIENCE)
    yield Gang(rank, size)
    if size > 1:
        distributed.destroy_process_group()
