"""Models as functions of named tensors, whatever computes them. Light: numpy only."""

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lepton.core.errors import InvalidError, clip
from lepton.serve.protocols.inference.statistics import Tally

Array = NDArray[Any]
DATATYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": np.float32,
    "BYTES": np.object_,
}
"""Name of a datatype -> what arrays of it are made of; each value of BF16, which numpy does not know, is an FP32."""
NAMES = {np.dtype(kind): name for name, kind in DATATYPES.items() if name != "BF16"}


class Tensor(NamedTuple):
    """One input or output of a model."""

    name: str
    datatype: str
    shape: Sequence[int]
    """-1 for an axis of any size."""


class TensorModel(Protocol):
    """Something that computes tensors from tensors."""

    name: str
    version: str
    platform: str

    @property
    def inputs(self) -> Sequence[Tensor]:
        """What it takes: all of them."""
        ...

    @property
    def outputs(self) -> Sequence[Tensor]:
        """What it gives."""
        ...

    @property
    def is_batched(self) -> bool:
        """Whether the first axis of everything is over rows, which several requests may share."""
        ...

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs; the inputs have been checked."""
        ...


def check(model: TensorModel, given: Mapping[str, Array]) -> None:
    """See that the inputs are those of the model.

    Raises:
        InvalidError: one is missing, unknown, or of another type or shape; the message names it.
    """
    if len(given) != len(model.inputs) or not all([_fits(tensor, given.get(tensor.name)) for tensor in model.inputs]):
        _explain(model, given)
    if len(given) > 1 and model.is_batched and len({len(array) for array in given.values()}) > 1:
        raise InvalidError("The inputs have different numbers of rows", fix="Give all as many rows.")


def _fits(tensor: Tensor, array: Array | None) -> bool:
    if array is None or array.dtype != DATATYPES[tensor.datatype] or len(array.shape) != len(tensor.shape):
        return False
    return all([wish in (-1, size) for wish, size in zip(tensor.shape, array.shape, strict=True)])


def _explain(model: TensorModel, given: Mapping[str, Array]) -> None:
    """Raise what is wrong with the inputs."""
    wanted = {tensor.name: tensor for tensor in model.inputs}
    for name in given:
        if name not in wanted:
            raise InvalidError(f"The model has no input {clip(str(name), 80)!r}", fix=f"It has {', '.join(wanted)}.")
    for name, tensor in wanted.items():
        if name not in given:
            raise InvalidError(f"The input {name!r} is missing", fix=f"Send {', '.join(wanted)}.")
        array = given[name]
        if NAMES.get(array.dtype) != tensor.datatype:
            told = NAMES.get(array.dtype, str(array.dtype))
            raise InvalidError(f"The input {name!r} is {told}, not {tensor.datatype}", fix="Send that datatype.")
        if not _fits(tensor, array):
            raise InvalidError(
                f"The input {name!r} has the shape {list(array.shape)}, not {list(tensor.shape)}", fix="-1 is any size."
            )


def rows_of(model: TensorModel, given: Mapping[str, Array]) -> int:
    """How many rows a request has; 1 if the model knows no rows."""
    return len(next(iter(given.values()))) if model.is_batched and given else 1


def infer_all(
    model: TensorModel, asked: Sequence[Mapping[str, Array]], tally: Tally
) -> list[Mapping[str, Array] | Exception]:
    """The outputs for each request; those that fit share one computation. What one spoils costs the others nothing.

    Args:
        tally: counts the computations.
    """
    found: list[Mapping[str, Array] | Exception | None] = [None] * len(asked)
    groups: dict[Any, list[int]] = {}
    for number, inputs in enumerate(asked):
        shapes = tuple(inputs[tensor.name].shape[1:] for tensor in model.inputs) if model.is_batched else number
        groups.setdefault(shapes, []).append(number)
    for group in groups.values():
        outputs = _together(model, [asked[number] for number in group], tally)
        for number, output in zip(group, outputs, strict=True):
            found[number] = output
    return [one for one in found if one is not None]


def _together(
    model: TensorModel, asked: Sequence[Mapping[str, Array]], tally: Tally
) -> list[Mapping[str, Array] | Exception]:
    try:
        if len(asked) == 1:
            return [_infer(model, asked[0], tally)]
        joined = {tensor.name: np.concatenate([inputs[tensor.name] for inputs in asked]) for tensor in model.inputs}
        outputs = _infer(model, joined, tally)
        counts = [len(inputs[model.inputs[0].name]) for inputs in asked]
        if any(len(array) != sum(counts) for array in outputs.values()):
            raise ValueError("an output has not one row for each row of input")
        ends = np.cumsum([0, *counts])
        return [{name: array[ends[at] : ends[at + 1]] for name, array in outputs.items()} for at in range(len(counts))]
    except Exception as fault:  # noqa: BLE001  runtimes raise many unrelated types
        if len(asked) == 1:
            return [fault]
        return [one for inputs in asked for one in _together(model, [inputs], tally)]


def _infer(model: TensorModel, inputs: Mapping[str, Array], tally: Tally) -> Mapping[str, Array]:
    began = perf_counter_ns()
    outputs = model.infer(inputs)
    tally.computed(rows_of(model, inputs), perf_counter_ns() - began)
    return outputs
