"""What a model gives that does not say it of itself: learnt by computing rows of zeros when it is loaded."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lepton.serve.faults import ModelFileError
from lepton.serve.protocols.inference.tensors import DATATYPES, Array, Tensor
from lepton.serve.protocols.inference.values import datatype_of

SIZES = (8, 32, 224)
"""Tried for axes of any size, beside that over rows."""
Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def learn_outputs(infer: Infer, inputs: Sequence[Tensor]) -> tuple[list[Tensor], bool]:
    """The outputs of a model, and whether the first axis of everything is over rows.

    Raises:
        ModelFileError: it fails on zeros of the shapes that its inputs shall have.
    """
    first, size = _first(infer, inputs)
    has_rows = all(tensor.shape and tensor.shape[0] == -1 for tensor in inputs)
    further = [infer(zeros(inputs, rows=2, size=size))] if has_rows else []
    outputs = [_merged(name, [array, *(one[name] for one in further)]) for name, array in first.items()]
    is_batched = has_rows and all(array.ndim and len(array) == 2 for array in further[0].values())
    return outputs, is_batched and all(len(array) == 1 for array in first.values())


def _first(infer: Infer, inputs: Sequence[Tensor]) -> tuple[Mapping[str, Array], int]:
    """What it says of one row, and the size that it takes."""
    has_more = any(-1 in tensor.shape[1:] for tensor in inputs)
    last: Exception | None = None
    for size in SIZES if has_more else SIZES[:1]:
        try:
            return infer(zeros(inputs, rows=1, size=size)), size
        except Exception as fault:  # noqa: BLE001  whatever a model raises
            last = fault
    shapes = ", ".join(f"{tensor.name} {tensor.datatype}{list(tensor.shape)}" for tensor in inputs)
    raise ModelFileError(
        f"The model fails on a row of zeros of {shapes}: {type(last).__name__}: {last}"[:2000],
        fix="Check the shapes and types of its inputs.",
    ) from last


def zeros(inputs: Sequence[Tensor], *, rows: int, size: int) -> dict[str, Array]:
    """Zeros, or empty texts, of the inputs' shapes."""
    found: dict[str, Array] = {}
    for tensor in inputs:
        shape = [rows if not axis and n == -1 else size if n == -1 else n for axis, n in enumerate(tensor.shape)]
        is_text = tensor.datatype == "BYTES"
        found[tensor.name] = (
            np.full(shape, "", dtype=object) if is_text else np.zeros(shape, DATATYPES[tensor.datatype])
        )
    return found


def _merged(name: str, seen: Sequence[Array]) -> Tensor:
    """The tensor that all of these are."""
    ranks = {array.ndim for array in seen}
    if len(ranks) > 1:
        raise ModelFileError(f"The output {name!r} has {ranks} axes, by the number of rows", fix="Keep its axes.")
    sizes = zip(*(array.shape for array in seen), strict=True)
    return Tensor(name, datatype_of(seen[0]), [each[0] if len(set(each)) == 1 else -1 for each in sizes])
