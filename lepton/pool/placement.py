"""Decide which queued job runs on which nodes. Pure: a snapshot in, a plan out.

Jobs are taken in the order they were submitted. A gang gets all of its places or none; each worker goes to the node
that it fills best. A job that does not fit is passed by, so that it blocks nobody, until it has waited `patience_s`:
from then on nothing younger may start before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lepton.core.launch import Devices
from lepton.pool.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One queued job, as placement sees it."""

    job: str
    workers: tuple[Devices, ...]
    """What each rank needs."""
    since_s: float = 0.0
    """When it was submitted, on the snapshot's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a decision may depend on."""

    nodes: Sequence[Node]
    queue: Sequence[Ask]
    """Oldest first."""
    now_s: float = 0.0
    patience_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one rank goes."""

    node: str
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be started now, and why the rest waits."""

    starts: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    """Job -> a place by rank."""
    waits: dict[str, str] = field(default_factory=dict)
    """Job -> reason in words."""


def decide(snapshot: Snapshot) -> Plan:
    """Return the starts that fit now, in order, and a reason for every job that waits."""
    nodes = {node.name: node for node in snapshot.nodes if node.is_up}
    plan = Plan()
    refused: dict[
        tuple[Devices, ...], str
    ] = {}  # what was asked in vain, since nodes last changed: most jobs look alike
    held_for = ""
    for ask in snapshot.queue:
        if held_for:
            plan.waits[ask.job] = (
                f"devices are held for {held_for}, which has waited longer than {snapshot.patience_s:g} s"
            )
            continue
        fitted = None if ask.workers in refused else fit(ask, nodes)
        if fitted is not None:
            plan.starts[ask.job], nodes = fitted
            refused.clear()
            continue
        if ask.workers not in refused:
            refused[ask.workers] = explain(ask, list(nodes.values()))
        plan.waits[ask.job] = refused[ask.workers]
        if snapshot.now_s - ask.since_s > snapshot.patience_s:
            held_for = ask.job
    return plan


def fit(ask: Ask, nodes: dict[str, Node]) -> tuple[tuple[Place, ...], dict[str, Node]] | None:
    """A place for every worker and the nodes after that; None if one of them does not fit."""
    after = dict(nodes)
    places = []
    for need in ask.workers:
        name = tightest(after.values(), need)
        if name is None:
            return None
        after[name], gpus = after[name].without(need)
        places.append(Place(name, gpus))
    return tuple(places), after


def tightest(nodes: Iterable[Node], need: Devices) -> str | None:
    """The node that fits and has the least left: fewest GPUs, then CPUs; ties go to the smaller name."""
    fits = (
        (node.free.gpu_milli, node.free.cpu_milli, node.name)
        for node in nodes
        if need.fits_in(node.free) and -(-need.gpu_milli // 1000) <= len(node.free_gpus)
    )
    return min(fits, default=(0, 0, None))[2]


def explain(ask: Ask, nodes: Sequence[Node]) -> str:
    """Why the job waits, in words."""
    if not nodes:
        return "no node is up"
    need = max(ask.workers, key=lambda amount: (amount.gpu_milli, amount.cpu_milli, amount.memory_bytes))
    gang = f"{len(ask.workers)} workers of " if len(ask.workers) > 1 else ""
    free = max((node.free for node in nodes), key=lambda amount: (amount.gpu_milli, amount.cpu_milli))
    return f"needs {gang}{show(need)}; the most that one node has free is {show(free)}"


def show(amount: Devices) -> str:
    """An amount in words: `1 GPU, 2 CPUs, 4.0 GiB`."""
    parts = [f"{amount.gpu_milli / 1000:g} GPU"] if amount.gpu_milli else []
    parts.append(f"{amount.cpu_milli / 1000:g} CPU")
    parts += [f"{amount.memory_bytes / 2**30:.1f} GiB"] if amount.memory_bytes else []
    return ", ".join(parts)


def never_fits(ask: Ask, nodes: Sequence[Node]) -> str | None:
    """Why the job could not run even on empty nodes; None if it could."""
    empty = {
        node.name: replace(node, free=node.total, free_gpus=tuple(range(node.total.gpu_milli // 1000)))
        for node in nodes
    }
    return None if fit(ask, empty) else explain(ask, list(empty.values()))
