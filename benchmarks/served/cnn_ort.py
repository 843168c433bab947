"""The small CNN that every peer serves, through ONNX Runtime."""

import os

os.environ["BACKEND"] = "ort"

import cnn


class CnnOrt(cnn.Cnn):
    """Batched."""
