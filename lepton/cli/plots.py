"""Pictures of a replay: how many wait, how much is used, how waiting is distributed. Drawn without a display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lepton.pool.figures import held_over_time, waiting_over_time, waits_of
from lepton.pool.replay import Outcome
from lepton.pool.trace import Floats

DAY_S = 86_400
POINTS = 2_000


def draw(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write a PNG file that compares outcomes of one trace."""
    figure = Figure(figsize=(10, 10), layout="constrained")
    queue, used, waits = figure.subplots(3, 1)
    for name, outcome in outcomes.items():
        begin = float(outcome.trace.submit.min())
        whole = sum(outcome.cluster.nodes.values()) * outcome.cluster.per_node
        queue.plot(*curve(*waiting_over_time(outcome), begin), label=name, linewidth=1)
        days, held = curve(*held_over_time(outcome), begin)
        used.plot(days, 100 * held / whole, label=name, linewidth=1)
        seconds = np.sort(waits_of(outcome)[~outcome.is_refused])
        waits.plot(np.maximum(seconds, 1), np.arange(1, len(seconds) + 1) / len(seconds), label=name)
    label(queue, "jobs that wait", "days since the first submit", "jobs")
    label(used, "devices held", "days since the first submit", "% of the cluster")
    label(waits, "waiting: share of jobs that waited no longer", "seconds", "share of jobs")
    waits.set_xscale("log")
    queue.legend()
    figure.savefig(path, format="png", dpi=110)


def label(axes: Any, title: str, x: str, y: str) -> None:
    """Say what an axis shows."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def curve(times: Floats, values: Floats, begin: float) -> tuple[Floats, Floats]:
    """A count over time as means of equal slices: days since `begin`, and values."""
    if len(times) < 2 or times[-1] <= times[0]:
        return (times - begin) / DAY_S, values
    edges = np.linspace(times[0], times[-1], POINTS + 1)
    area = np.concatenate([[0.0], np.cumsum(values[:-1] * np.diff(times))])
    means = np.diff(np.interp(edges, times, area)) / np.diff(edges)
    return ((edges[:-1] + edges[1:]) / 2 - begin) / DAY_S, means
