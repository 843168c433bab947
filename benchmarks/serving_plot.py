"""The picture of growth: one small chart a question."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter
from serving_page import Records, curve

BLUE, ORANGE, GREEN = "#0b63ce", "#c2410c", "#15803d"
CHARTS = {
    "keys": ("Keys in use", "keys"),
    "replicas": ("Replicas on one core", "replicas"),
    "connections": ("Idle connections open beside", "idle connections"),
    "bodies": ("Size of a body, there and back", "bytes"),
    "endpoints": ("Endpoints on one front", "endpoints"),
}


def plot(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw all curves into one file."""
    found = Records(records)
    mpl.rcParams.update({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "lepton"})
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
    for axis, (name, (title, unit)) in zip(axes.flat, CHARTS.items(), strict=False):
        draw(axis, curve(found, name, "cpu_us"), title, unit)
    every = curve(found, "endpoints", "cpu_us", "all asked")
    axes.flat[4].plot(list(every), list(every.values()), marker="o", color=GREEN, label="all asked")
    axes.flat[4].legend(["one asked", "all asked"], loc="upper left")
    axes.flat[4].set_ylim(0, 1.15 * max(every.values(), default=1))
    rest(axes.flat[5], found)
    beside(axes.flat[2], curve(found, "connections", "front_rss_mb"))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def draw(axis: Any, values: Mapping[int, float], title: str, unit: str) -> None:
    """The cost of a request against a size."""
    if not values:
        axis.set_visible(False)
        return
    axis.plot(list(values), list(values.values()), marker="o", color=BLUE)
    axis.set_xscale("log")
    axis.set_title(title)
    axis.set_xlabel(unit)
    axis.set_ylabel("CPU us a request", color=BLUE)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if unit == "replicas":
        axis.set_xticks(list(values))
    if unit == "bytes":
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    else:
        axis.set_ylim(0, 1.15 * max(values.values()))
    axis.grid(visible=True, alpha=0.3)


def beside(axis: Any, values: Mapping[int, float]) -> None:
    """The front's memory on an axis of its own."""
    if not values:
        return
    other = axis.twinx()
    other.plot(list(values), list(values.values()), marker="s", markersize=4, color=ORANGE, linestyle="--")
    other.set_ylabel("front RSS MB", color=ORANGE)
    other.set_ylim(0, 1.15 * max(values.values()))


def rest(axis: Any, found: Records) -> None:
    """What a front costs that nobody asks."""
    for name, words, color in (("connections", "idle connections", ORANGE), ("endpoints", "endpoints", GREEN)):
        values = curve(found, name, "idle_cores")
        axis.plot(list(values), list(values.values()), marker="o", color=color, label=words)
    axis.set(xscale="log", title="A front at rest", xlabel="connections, or endpoints", ylabel="cores")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper left")
    axis.grid(visible=True, alpha=0.3)


def short(value: float) -> str:
    """A number in few characters."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
