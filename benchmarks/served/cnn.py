"""The small CNN that every peer serves, through PyTorch; `cnn_ort.py` has it through ONNX Runtime."""

import os
import tempfile
from typing import Any

os.environ["WORK"] = "cnn"
os.environ.setdefault("BACKEND", "torch")
os.environ.setdefault("BENCH_TMP", tempfile.gettempdir())

import models

from lepton.serve import Service, handler


class Cnn(Service):
    """Batched, and for comparison one by one."""

    preload = ("torch",)

    def init(self) -> None:
        """Load it."""
        self.model = models.model()

    @handler("/predict", batch=32)
    def predict(self, x: list[Any]) -> list[dict[str, Any]]:
        """Class and score of each image of 784 numbers."""
        return list(self.model.predict(x))

    @handler("/single")
    def single(self, x: Any) -> dict[str, Any]:
        """Class and score of one."""
        return dict(self.model.predict([x])[0])
