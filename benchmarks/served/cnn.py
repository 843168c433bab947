"""The small CNN that every peer serves, through PyTorch; `cnn_ort.py` has it through ONNX Runtime."""

import os
from typing import Any

os.environ["WORK"] = "cnn"
os.environ.setdefault("BACKEND", "torch")

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
