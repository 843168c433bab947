"""In what order: the key of a job, waiting or running; smaller goes first within a priority.

`key = age x submit + stretch x size`, where size is the expected run time times devices to the power of `weight`, at
most `longest`. With age 1 this is ageing without re-sorting: a job that is expected to run t seconds goes before
whatever is submitted more than `stretch x t` later, however short. Where jobs wait for long, size counts for more
(`pace`). While a job outruns its estimate the estimate grows by `growth`, so a running job's key grows, and a waiting
one may take its place.
"""

import numpy as np

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import Order, Rows


@compiled
def key_of(order: Order, excess: float, submit: float, size_s: float, devices: int, done_s: float) -> float:
    """Key of a job from its expected run time and what of it is done, in seconds; `excess` is `pace`'s."""
    size = size_s * float(devices) ** order.weight if order.weight else size_s
    size = min(size, order.longest)
    if order.is_remaining:
        size -= done_s
    if excess > 0.0:
        size *= 1.0 + excess / order.stretch * np.sqrt(max(1.0, float(devices)))
    return float(order.age * submit + order.stretch * size)


@compiled
def done(row: Rows, now: float) -> float:
    """Seconds of work a running job has done."""
    return float(row.work + max(0.0, now - row.begun - row.lead))


@compiled
def outgrown(order: Order, estimate_s: float, done_s: float) -> float:
    """The estimate of a job that has run for `done_s` seconds: grown until it is longer."""
    if order.growth > 1.0:
        while estimate_s <= done_s + 1e-6:
            estimate_s = max(estimate_s, 1.0) * order.growth
    return estimate_s


@compiled
def running_key(order: Order, excess: float, row: Rows, devices: int, now: float) -> float:
    """Key of a running job now."""
    done_s = done(row, now)
    return key_of(order, excess, row.submit, outgrown(order, row.estimate, done_s), devices, done_s)
