"""Turn a 32-bit ONNX model into one that computes with 8-bit integers, calibrated on training images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from lepton.optimize.graph import INPUT

CALIBRATION_ROWS = 256
STEP = 64


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Gives the calibration images in batches."""

    def __init__(self, image_NHW: npt.NDArray[np.uint8]) -> None:
        parts = (image_NHW[first : first + STEP] for first in range(0, min(len(image_NHW), CALIBRATION_ROWS), STEP))
        self._feeds: Iterator[dict[str, Any]] = iter([{INPUT: np.ascontiguousarray(part)} for part in parts])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None at the end."""
        return next(self._feeds, None)


def quantize(source: Path, target: Path, image_NHW: npt.NDArray[np.uint8]) -> None:
    """Write the 8-bit form of the model `source` to `target`; ranges come from the first images given."""
    quantize_static(
        source,
        target,
        _Images(image_NHW),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["Conv", "MatMul", "MaxPool"],
    )
