"""The small CNN that every peer serves, through ONNX Runtime."""

import os
from typing import Any

os.environ.update(WORK="cnn", BACKEND="ort")

import models

from lepton.serve import Service, handler


class Cnn(Service):
    """Batched."""

    def init(self) -> None:
        """Load it."""
        self.model = models.model()

    @handler("/predict", batch=32)
    def predict(self, x: list[Any]) -> list[dict[str, Any]]:
        """Class and score of each image of 784 numbers."""
        return list(self.model.predict(x))
