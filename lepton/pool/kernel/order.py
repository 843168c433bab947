"""In what order: the key of a job, waiting or running; smaller goes first within a priority.

`key = age x submit + stretch x size`, where size is the expected run time times devices to the power of `weight`, at
most `longest`. With age 1 this is ageing without re-sorting: a job that is expected to run t seconds goes before
whatever is submitted more than `stretch x t` later, however short. While a job outruns its estimate the estimate grows
by `growth`, so a running job's key grows, and a waiting one may take its place.
"""

from lepton.pool.kernel.compiled import compiled
from lepton.pool.kernel.state import Order, Rows


@compiled
def key_of(order: Order, submit: float, size_s: float, devices: int, done_s: float) -> float:
    """Key of a job from its expected run time and what of it is done, in seconds."""
    size = size_s * float(devices) ** order.weight if order.weight else size_s
    size = min(size, order.longest)
    if order.is_remaining:
        size -= done_s
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
def running_key(order: Order, row: Rows, devices: int, now: float) -> float:
    """Key of a running job now."""
    done_s = done(row, now)
    return key_of(order, row.submit, outgrown(order, row.estimate, done_s), devices, done_s)
