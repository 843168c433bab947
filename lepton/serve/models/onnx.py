"""Any ONNX model, served without code: `onnx:FILE`, with all its inputs and outputs as named tensors."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError
from lepton.serve.loading import find_named
from lepton.serve.model import open_session
from lepton.serve.models.probe import SIZES, are_apart, zeros
from lepton.serve.models.program import TensorProgram
from lepton.serve.protocols.inference.tensors import Array, Tensor

TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
MAPS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
"""What scikit-learn's classifiers give as probabilities, unless they are exported without ZipMap: a map a row."""


class OnnxModel:
    """`arrays.ServedModel` of one file.

    Raises:
        ModelFileError: it cannot be loaded, or has an input that is no tensor.
    """

    version = "1"
    platform = "onnx_onnxv1"
    allows_nan = False
    examples: Mapping[str, Json] = {}

    def __init__(self, path: Path, *, threads: int) -> None:
        try:
            self._session = open_session(path, threads)
        except Exception as fault:
            raise ModelFileError(f"{path.name} cannot be loaded: {fault}", fix="Export the model again.") from fault
        self.name = path.stem
        self.inputs = [tensor_of(one) for one in self._session.get_inputs()]
        self.outputs = [output_of(one) for one in self._session.get_outputs()]
        self.is_batched = self._has_rows()
        self.details = self._classes()

    def _has_rows(self) -> bool:
        """Whether the first axis of everything is over rows, each of which is computed as if it were alone."""
        axes = {told.shape[0] if told.shape else 1 for told in self._session.get_inputs()}
        named = {axis for axis in axes if isinstance(axis, str)}
        if len(named) > 1 or not all(each.shape and each.shape[0] == -1 for each in [*self.inputs, *self.outputs]):
            return False
        found = are_apart(self.infer, self.inputs)
        return found if found is not None else len(self.inputs) == 1 or axes == named

    def _classes(self) -> Mapping[str, Json]:
        """The classes of outputs that are maps, as far as a row of zeros tells them."""
        maps = [one.name for one in self._session.get_outputs() if one.type in MAPS]
        if not maps:
            return {}
        with suppress(Exception):  # not every model computes zeros
            found = self._session.run(maps, zeros(self.inputs, rows=1, size=SIZES[0]))
            return {"classes": {name: list(rows[0]) for name, rows in zip(maps, found, strict=True)}}
        return {}

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs."""
        given = {name: _texts(array) if array.dtype == object else array for name, array in inputs.items()}
        found = self._session.run(None, given)
        return {
            tensor.name: unzipped(array) if isinstance(array, list) else np.asarray(array)
            for tensor, array in zip(self.outputs, found, strict=True)
        }


def _texts(array: Array) -> Array:
    flat = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in array.ravel()]
    made = np.empty(len(flat), dtype=object)
    made[:] = flat
    return made.reshape(array.shape)


def unzipped(rows: Sequence[Mapping[Any, float]]) -> Array:
    """Class -> probability, of each row, as a matrix with the classes in their order."""
    return np.array([list(row.values()) for row in rows], dtype=np.float32)


def tensor_of(told: ort.NodeArg) -> Tensor:
    """An input or output as ONNX Runtime describes it.

    Raises:
        ModelFileError: it is no tensor that can be named.
    """
    datatype = TYPES.get(told.type)
    if datatype is None:
        raise ModelFileError(f"{told.name} is a {told.type}, which no protocol here can carry", fix="Export tensors.")
    return Tensor(told.name, datatype, [size if type(size) is int else -1 for size in told.shape or ()])


def output_of(told: ort.NodeArg) -> Tensor:
    """An output; a map a row becomes a matrix.

    Raises:
        ModelFileError: it is neither.
    """
    return Tensor(told.name, "FP32", [-1, -1]) if told.type in MAPS else tensor_of(told)


def open_onnx(folder: Path, what: str) -> TensorProgram:
    """The program of an ONNX file.

    Raises:
        ConfigError: there is no such file.
        ModelFileError: it cannot be served.
    """
    path, _ = find_named(folder, what)
    return TensorProgram(OnnxModel(path, threads=int(os.environ.get("OMP_NUM_THREADS") or 1)))
