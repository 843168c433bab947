"""A recipe: how raw pixels become what a model sees. Fitted once, on the training rows, and kept in `recipe.json`.

It lies in the dataset version and travels inside every model trained on it, so that serving prepares its inputs in
exactly the way training did.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lepton.core.errors import IntegrityError, NotFoundError

FORMAT = 1
FILE = "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Preparation of grey images of one size; a model sees `(pixels / 255 - mean) / std`."""

    height: int
    width: int
    classes: tuple[str, ...]
    """What each label means."""
    mean: float
    """Of all training pixels, on the scale 0 .. 1."""
    std: float
    """Likewise; above 0."""
    rows_in: int
    rows_out: int
    source_digest: str
    """Digest of the version it was fitted from: equal input gives an equal recipe."""
    format: int = FORMAT

    def apply(self, image_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """What a model sees of these images; same shape."""
        mean, std = np.float32(self.mean), np.float32(self.std)
        return (image_NHW.astype(np.float32) / np.float32(255) - mean) / std

    def save(self, folder: Path) -> None:
        """Write `recipe.json`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `recipe.json`.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it cannot be read.
        """
        fields = read_facts(folder / FILE)
        try:
            return cls(**{**fields, "classes": tuple(fields["classes"])})
        except (KeyError, TypeError) as fault:
            raise IntegrityError(f"{folder / FILE} is not a recipe: {fault}", fix="Clean the dataset again.") from fault


def fit_pixels(image_NHW: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels on the scale 0 .. 1, from exact counts; the latter is never 0."""
    count = np.bincount(image_NHW.reshape(-1), minlength=256).astype(np.float64)
    level = np.arange(256) / 255
    mean = float((count * level).sum() / count.sum())
    variance = float((count * (level - mean) ** 2).sum() / count.sum())
    return round(mean, 6), max(round(variance**0.5, 6), 1e-3)


def read_facts(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: it holds something else.
    """
    if not path.is_file():
        raise NotFoundError(
            f"{path.parent} has no {path.name}", fix="Give a version made by `lepton data clean` or later."
        )
    try:
        facts = json.loads(path.read_text())
    except ValueError as fault:
        raise IntegrityError(f"{path} is not JSON", fix="Make the version again.") from fault
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise IntegrityError(f"{path} has a form this version of Lepton cannot read", fix="Upgrade Lepton.")
    return facts
