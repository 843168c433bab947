"""Any ONNX model, served without code: `onnx:FILE`, with all its inputs and outputs as named tensors."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import orjson

from lepton.core.errors import ConfigError, InvalidError
from lepton.core.resource import Json
from lepton.serve.calls import Call, read_json
from lepton.serve.faults import answer_together, reply_for
from lepton.serve.model import ModelFileError, open_session
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference.program import Inference
from lepton.serve.protocols.inference.tensors import DATATYPES, Array, Tensor, check, infer_all
from lepton.serve.routes import INFERENCE, PREDICTION

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
EXAMPLE = 'Send {"inputs": {"NAME": [...], ...}}; GET /v2/models/NAME names them.'


class OnnxModel:
    """`tensors.TensorModel` of one file.

    Raises:
        ModelFileError: it cannot be loaded, or has an input that is no tensor.
    """

    version = "1"
    platform = "onnx_onnxv1"

    def __init__(self, path: Path, *, threads: int) -> None:
        try:
            self._session = open_session(path, threads)
        except Exception as fault:
            raise ModelFileError(f"{path.name} cannot be loaded: {fault}", fix="Export the model again.") from fault
        self.name = path.stem
        self.inputs = [tensor_of(one) for one in self._session.get_inputs()]
        self.outputs = [tensor_of(one) for one in self._session.get_outputs()]
        everything = [*self.inputs, *self.outputs]
        self.is_batched = all(tensor.shape and tensor.shape[0] == -1 for tensor in everything)

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs."""
        given = {name: _texts(array) if array.dtype == object else array for name, array in inputs.items()}
        found = self._session.run(None, given)
        return {tensor.name: np.asarray(array) for tensor, array in zip(self.outputs, found, strict=True)}


def _texts(array: Array) -> Array:
    flat = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in array.ravel()]
    made = np.empty(len(flat), dtype=object)
    made[:] = flat
    return made.reshape(array.shape)


def tensor_of(told: ort.NodeArg) -> Tensor:
    """An input or output as ONNX Runtime describes it.

    Raises:
        ModelFileError: it is no tensor that can be named.
    """
    datatype = TYPES.get(told.type)
    if datatype is None:
        raise ModelFileError(f"{told.name} is a {told.type}, which no protocol here can carry", fix="Export tensors.")
    return Tensor(told.name, datatype, [size if type(size) is int else -1 for size in told.shape or ()])


class TensorProgram:
    """`program.Program` of one tensor model: the Open Inference Protocol, and `/predict` in plain JSON."""

    room = 0
    threads = 0

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._inference = Inference([model], first=INFERENCE)

    async def start(self) -> None:
        """It is loaded already."""

    async def close(self) -> None:
        """It holds nothing."""

    def is_healthy(self) -> bool:
        """A loaded model does not fall ill."""
        return True

    def tick(self) -> None:
        """Nothing to do by the clock."""

    def works(self) -> list[Work]:
        """Prediction in plain JSON, and the Open Inference Protocol."""
        plain = replace(PREDICTION, media=("JSON",))
        return [Work(operation=plain, batch=self.predict), *self._inference.works()]

    def about(self) -> Mapping[str, Json]:
        """What goes in and what comes out."""
        model = self._model
        tensors: dict[str, Sequence[Tensor]] = {"inputs": model.inputs, "outputs": model.outputs}
        told = {kind: [{**one._asdict(), "shape": list(one.shape)} for one in ones] for kind, ones in tensors.items()}
        return {"model": {"name": model.name}, **told, "predict": "/predict", "inference": f"/v2/models/{model.name}"}

    def predict(self, calls: Sequence[Call]) -> list[Reply]:
        """`{"inputs": {name: nested lists}}` -> `{"outputs": {name: nested lists}}`."""
        return answer_together(calls, self._read, self._compute)

    def _compute(self, good: Sequence[tuple[Call, Mapping[str, Array]]]) -> list[Reply]:
        found = infer_all(self._model, [given for _, given in good])
        return [reply_for(one) if isinstance(one, Exception) else dump(one) for one in found]

    def _read(self, call: Call) -> Mapping[str, Array]:
        plain = read_json(call.body)
        given = plain.get("inputs") if isinstance(plain, dict) else None
        if not isinstance(given, dict):
            raise InvalidError('The body has no object "inputs"', fix=EXAMPLE)
        kinds = {tensor.name: DATATYPES[tensor.datatype] for tensor in self._model.inputs}
        try:
            arrays = {name: np.array(data).astype(kinds.get(name, np.float32)) for name, data in given.items()}
        except (ValueError, TypeError, OverflowError) as fault:
            raise InvalidError(f"The inputs are no arrays: {str(fault)[:200]}", fix=EXAMPLE) from None
        check(self._model, arrays)
        return arrays


def dump(outputs: Mapping[str, Array]) -> Reply:
    """All outputs as nested lists."""
    return Reply(orjson.dumps({"outputs": {name: array.tolist() for name, array in outputs.items()}}))


def open_onnx(folder: Path, entry: str) -> TensorProgram:
    """The program of an ONNX file.

    Raises:
        ConfigError: there is no such file.
        ModelFileError: it cannot be served.
    """
    path = folder / entry
    if not path.is_file():
        raise ConfigError(f"There is no file {path}", fix="Check the name.")
    return TensorProgram(OnnxModel(path, threads=int(os.environ.get("OMP_NUM_THREADS") or 1)))
