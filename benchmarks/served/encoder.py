"""The sentence encoder that every peer serves, through ONNX Runtime."""

import os
import tempfile
from typing import Any

os.environ.update(WORK="minilm", BACKEND="ort")
os.environ.setdefault("BENCH_TMP", tempfile.gettempdir())

import models

from lepton.serve import Service, handler


class MiniLM(Service):
    """Batched."""

    def init(self) -> None:
        """Load it."""
        self.model = models.model()

    @handler("/predict", batch=32)
    def predict(self, text: list[str]) -> list[dict[str, list[float]]]:
        """The vector of each text."""
        return [{"embedding": vector} for vector in self.model.predict(text)]

    @handler("/arrays", batch=32)
    def arrays(self, text: list[str]) -> list[dict[str, Any]]:
        """The same vectors as the runtime leaves them, in float32; nothing is rounded in Python."""
        return [{"embedding": vector} for vector in self.model.e(text)]
