"""What a model does that does not say it of itself: learnt by computing a few rows when it is loaded.

Requests of different callers are computed together only where each row's answer is the same as if it were alone: else a
caller would be given what others sent. Shapes do not tell: attention over all rows, or their maximum, keeps them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lepton.serve.faults import ModelFileError
from lepton.serve.protocols.inference.tensors import DATATYPES, Array, Tensor
from lepton.serve.protocols.inference.values import datatype_of

SIZES = (8, 32, 224)
"""Tried for axes of any size, beside that over rows."""
LIKE = 0.03
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
    is_batched = is_batched and all(len(array) == 1 for array in first.values())
    return outputs, is_batched and _are_apart(infer, inputs, size)


def are_apart(infer: Infer, inputs: Sequence[Tensor]) -> bool | None:
    """Whether each row of a model, whose first axes are of any size, is computed as if it were alone; None: it fails on
    zeros of all sizes tried."""
    try:
        _, size = _first(infer, inputs)
    except ModelFileError:
        return None
    return _are_apart(infer, inputs, size)


def _are_apart(infer: Infer, inputs: Sequence[Tensor], size: int) -> bool:
    rows = [_some(inputs, size, number) for number in (1, 2, 1, 1)]
    try:
        alone = [infer(row) for row in rows]
        together = infer({tensor.name: np.concatenate([row[tensor.name] for row in rows]) for tensor in inputs})
    except Exception:  # noqa: BLE001  whatever a model raises
        return False
    return all(_is_each(array, [one[name] for one in alone]) for name, array in together.items())


def _some(inputs: Sequence[Tensor], size: int, number: int) -> dict[str, Array]:
    """One row of every input, other numbers or texts for each `number`; of whole numbers 0 and 1, which most models
    take."""
    found = zeros(inputs, rows=1, size=size)
    for tensor in inputs:
        array, count = found[tensor.name], np.arange(found[tensor.name].size).reshape(found[tensor.name].shape)
        if array.dtype == object:
            array[...] = "ab"[number % 2]
        elif array.dtype.kind == "f":
            array[...] = np.cos(number * (count + 1))
        else:
            array[...] = (count + number) % 2
    return found


def _is_each(together: Array, alone: Sequence[Array]) -> bool:
    if together.ndim == 0 or any(one.shape != (1, *together.shape[1:]) for one in alone):
        return False
    return len(together) == len(alone) and all(_is_like(together[at : at + 1], one) for at, one in enumerate(alone))


def _is_like(found: Array, wanted: Array) -> bool:
    """Whether a row is what it was alone, but for what a model with few bits makes of its neighbours' range."""
    if found.dtype.kind != "f":
        return np.array_equal(found, wanted)
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    span = float(np.abs(np.nan_to_num(wanted, posinf=0, neginf=0)).max(initial=0.0))
    return np.allclose(found, wanted, rtol=LIKE, atol=LIKE * span + 1e-6, equal_nan=True)


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
