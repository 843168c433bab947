"""A profile: what the images of a dataset look like, as one histogram a feature. Kept in `reference.json`.

It is made of the training rows, travels inside the model like the recipe, and is what a drift check compares new
images with. A bin's edges are deciles of the training rows; the first and last bin hold what lies outside them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from lepton.core.errors import IntegrityError
from lepton.vault.recipe import FORMAT, read_facts

FILE = "reference.json"
INK = 64
"""A pixel at least this bright counts as ink."""
BANDS = 4
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Shares of values between edges: below the first, between each two, and from the last on."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def count(self, values: Values) -> npt.NDArray[np.int64]:
        """How many of the values fall into each bin."""
        return np.bincount(np.searchsorted(self.edges, values, side="right"), minlength=len(self.shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Histograms of `features` and the shares of each class, over `rows` images."""

    rows: int
    features: Mapping[str, Histogram]
    classes: tuple[float, ...]

    def save(self, folder: Path) -> None:
        """Write `reference.json`."""
        features = {name: {"edges": item.edges, "shares": item.shares} for name, item in self.features.items()}
        facts = {"format": FORMAT, "rows": self.rows, "features": features, "classes": self.classes}
        (folder / FILE).write_text(json.dumps(facts, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `reference.json`.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it cannot be read.
        """
        facts = read_facts(folder / FILE)
        try:
            features = {
                name: Histogram(edges=tuple(item["edges"]), shares=tuple(item["shares"]))
                for name, item in facts["features"].items()
            }
            return cls(rows=facts["rows"], features=features, classes=tuple(facts["classes"]))
        except (KeyError, TypeError) as fault:
            raise IntegrityError(
                f"{folder / FILE} is not a profile: {fault}", fix="Clean the dataset again."
            ) from fault


def profile(image_NHW: npt.NDArray[np.uint8], label_N: Sequence[int] | npt.NDArray[np.int32], classes: int) -> Profile:
    """The profile of these images, at least one."""
    count = np.bincount(np.asarray(label_N), minlength=classes)
    return Profile(
        rows=len(image_NHW),
        features={name: histogram(values) for name, values in features(image_NHW).items()},
        classes=tuple((count / count.sum()).round(9).tolist()),
    )


def histogram(values: Values) -> Histogram:
    """The histogram over the deciles of the values; a feature that never varies gets one bin of its own."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 11)))
    edges = np.append(edges[:-1] if len(edges) > 1 else edges, np.nextafter(edges[-1], np.inf))
    count = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(edges=tuple(edges.tolist()), shares=tuple((count / count.sum()).round(9).tolist()))


def features(image_NHW: npt.NDArray[np.uint8]) -> dict[str, Values]:
    """What is measured of each image, all on the scale 0 .. 1: name -> shape (N,).

    intensity (mean), contrast (standard deviation), ink (share of bright pixels), edges (mean step between
    neighbours), center and spread of the ink along rows and columns, and the mean of four bands of each.
    """
    light_NHW = image_NHW.astype(np.float32) / 255
    row_NH, column_NW = light_NHW.mean(axis=2), light_NHW.mean(axis=1)
    step_N = np.abs(np.diff(light_NHW, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(light_NHW, axis=2)).mean(axis=(1, 2))
    found = {
        "intensity": light_NHW.mean(axis=(1, 2)),
        "contrast": light_NHW.std(axis=(1, 2)),
        "ink": (image_NHW >= INK).mean(axis=(1, 2)),
        "edges": step_N / 2,
    }
    for name, line_NL in (("row", row_NH), ("column", column_NW)):
        found[f"{name}_center"], found[f"{name}_spread"] = _moments(line_NL)
        for band, part_NL in enumerate(np.array_split(line_NL, BANDS, axis=1)):
            found[f"{name}_band_{band}"] = part_NL.mean(axis=1)
    return {name: values.astype(np.float64).round(6) for name, values in found.items()}


def _moments(line_NL: npt.NDArray[np.float32]) -> tuple[Values, Values]:
    """Mean and standard deviation of where the light of a line lies, in shares of its length; 0.5 and 0 if dark."""
    place_L = (np.arange(line_NL.shape[1]) + 0.5) / line_NL.shape[1]
    total_N = line_NL.sum(axis=1, dtype=np.float64)
    safe_N = np.where(total_N > 0, total_N, 1)
    center_N = np.where(total_N > 0, (line_NL * place_L).sum(axis=1) / safe_N, 0.5)
    variance_N = (line_NL * (place_L - center_N[:, None]) ** 2).sum(axis=1) / safe_N
    return center_N, np.sqrt(variance_N)
