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
    """Write a PNG file that compares outcomes of one trace; the first is drawn heavier, over the others."""
    figure = Figure(figsize=(10, 11), layout="constrained")
    queue, used, waits = figure.subplots(3, 1)
    for at, (name, outcome) in enumerate(outcomes.items()):
        line = {"label": name, "linewidth": 1 if at else 2, "zorder": 2 if at else 3}
        begin = float(outcome.trace.submit.min())
        whole = sum(outcome.cluster.nodes.values()) * outcome.cluster.per_node
        queue.plot(*curve(*waiting_over_time(outcome), begin), **line)
        days, held = curve(*held_over_time(outcome), begin)
        used.plot(days, 100 * held / whole, **line)
        seconds, share = longer_than(waits_of(outcome)[~outcome.is_refused])
        waits.step(seconds, share, where="post", **line)
    label(queue, "jobs that wait", "days since the first submit", "jobs")
    label(used, "devices held", "days since the first submit", "% of the cluster")
    label(waits, "waiting (1 - CDF): how many jobs waited longer", "seconds", "% of jobs")
    queue.set_yscale("symlog", linthresh=10)
    queue.set_ylim(bottom=0)
    waits.set_xscale("log")
    waits.set_yscale("log")
    waits.set_xlim(left=1)
    queue.legend(loc="upper left", ncols=4)
    figure.savefig(path, format="png", dpi=110)


def longer_than(waits: Floats) -> tuple[Floats, Floats]:
    """Waits of a second and more, the shortest first, and the percentage of all jobs that waited longer than each.

    The last, longer than which nobody waited, has that of one job, so that it can be seen where shares are logs.
    """
    seconds = np.sort(waits)
    share = 100 * np.maximum(1, np.arange(len(seconds) - 1, -1, -1)) / max(1, len(seconds))
    return seconds[seconds >= 1], share[seconds >= 1]


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
