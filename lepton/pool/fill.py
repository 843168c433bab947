"""Fill machines with tasks that want fractions of devices, until no more fit: the protocol of Weng et al. (ATC'23).

Tasks are drawn with replacement, in an order that the seed gives, until they have asked for 130 % of all devices; none
ever ends, and one that fits nowhere is passed by. Equal costs go to the machine that stands first in an order that is
shuffled once for each seed. What counts is the share of devices that nobody got.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lepton.pool.kernel import shares
from lepton.pool.kernel.state import WHOLE, Ints, Rows, rows

HOW = {
    "lepton": shares.OURS,
    "fgd": shares.FGD,
    "gpu-packing": shares.PACKING,
    "best-fit": shares.BEST_FIT,
    "random": shares.RANDOM,
}
DEMAND = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node whose devices are shared."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one task asks for."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    """Thousandths of each device."""
    models: tuple[str, ...] = ()
    """Device kinds that it takes; none: any."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of one seed."""

    seed: int
    asked: float
    """Devices asked for, as a share of all."""
    given: float
    """Devices given, as a share of all."""


def fill(machines: Sequence[Machine], tasks: Sequence[Task], how: str, *, seed: int) -> Filled:
    """Fill machines by one policy of `HOW`; equal input gives equal outcomes.

    Raises:
        ValueError: no machine has a device, or no task wants one.
    """
    whole = sum(machine.gpus for machine in machines) * WHOLE
    if not whole or not any(task.gpus for task in tasks):
        raise ValueError("there is no machine with a GPU, or no task that wants one")
    chance = np.random.default_rng(seed)
    kinds = {model: index for index, model in enumerate(dict.fromkeys(machine.model for machine in machines))}
    machine_rows = machines_as_rows(machines, kinds)
    task_rows, row_of = tasks_as_rows(tasks, kinds)
    mean = sum(task.gpus * task.gpu_milli for task in tasks) / len(tasks)
    drawn = chance.integers(0, len(tasks), int(4 * DEMAND * whole / mean) + 1000)
    fleet = shares.fleet_of(machine_rows[chance.permutation(len(machines))], task_rows)
    asked, given = shares.fill(fleet, row_of[drawn], DEMAND * whole, HOW[how])
    return Filled(seed, asked / whole, given / whole)


def machines_as_rows(machines: Sequence[Machine], kinds: Mapping[str, int]) -> Rows:
    """Machines as the kernel takes them."""
    found = rows(len(machines), shares.MACHINE)
    for row, machine in zip(found, machines, strict=True):
        row.cpu, row.memory, row.devices = machine.cpu_milli, machine.memory_mib, machine.gpus
        row.kind = kinds[machine.model]
    return found


def tasks_as_rows(tasks: Sequence[Task], kinds: Mapping[str, int]) -> tuple[Rows, Ints]:
    """The different tasks as the kernel takes them, with how often each comes; and the row of each task."""
    index: dict[Task, int] = {}
    row_of = np.array([index.setdefault(task, len(index)) for task in tasks], np.int64)
    seen = np.bincount(row_of, weights=[task.gpus > 0 for task in tasks])
    found = rows(len(index), shares.TASK)
    for row, task, count in zip(found, index, seen, strict=True):
        row.cpu, row.memory, row.devices, row.milli = task.cpu_milli, task.memory_mib, task.gpus, task.gpu_milli
        known = [kinds[model] for model in task.models if model in kinds]
        row.kinds = sum(1 << kind for kind in known) or (1 << len(kinds) if task.models else 0)
        row.share = count / max(1.0, seen.sum())
    return found, row_of
