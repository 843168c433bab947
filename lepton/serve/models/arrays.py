"""From the body of a request to the arrays that a model takes; an error names the input that does not fit. Pure."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from lepton.core.errors import InvalidError, TooLargeError, clip
from lepton.core.resource import Json
from lepton.serve import npy
from lepton.serve.calls import Call, read_json, unpack
from lepton.serve.frames import Media
from lepton.serve.numbers import MAGIC, holds_truth
from lepton.serve.protocols.inference.tensors import DATATYPES, Array, Tensor, TensorModel, check

MAX_ROWS = 4096
"""In one request."""
TRUTHS: Mapping[int, tuple[bytes, bytes]] = {Media.JSON: (b"true", b"false"), Media.MSGPACK: (b"\xc3", b"\xc2")}
"""What is in a body that holds a truth value; it may be in others too."""


class ServedModel(TensorModel, Protocol):
    """A model that is served without code."""

    allows_nan: bool
    """Whether NaN means something to it: a missing value."""

    @property
    def examples(self) -> Mapping[str, Json]:
        """One row of each input that not every value fits."""
        ...

    @property
    def details(self) -> Mapping[str, Json]:
        """What else a client should know of it."""
        ...


def read_inputs(call: Call, model: ServedModel) -> dict[str, Array]:
    """The inputs of one request: of the model's types and shapes, at least one row.

    Raises:
        InvalidError: the body is not what the model takes; the message names the input.
        TooLargeError: too many rows.
    """
    given = _given(call, model.inputs)
    wanted = {tensor.name: tensor for tensor in model.inputs}
    arrays = {
        name: _shaped(to_array(data, wanted[name], allows_nan=model.allows_nan), wanted[name])
        if name in wanted
        else np.zeros(0)
        for name, data in given.items()
    }
    if any(word in call.body for word in TRUTHS.get(call.media, ())):
        _refuse_truths(given, wanted)
    check(model, arrays)
    for name, tensor in wanted.items():
        if tensor.shape and tensor.shape[0] == -1:
            _check_rows(name, len(arrays[name]))
    return arrays


def vet(inputs: Mapping[str, Array], *, allows_nan: bool) -> None:
    """Refuse infinity, and NaN unless it means something, in whatever form they came.

    Raises:
        InvalidError: there is such a value; the message names the input.
    """
    for name, array in inputs.items():
        is_finite = array.dtype.kind != "f" or np.isfinite(array).all()
        if not is_finite and (not allows_nan or np.isinf(array).any()):
            raise InvalidError(f"The input {name!r} holds a value that is not a finite number", fix="Check it.")


def _given(call: Call, inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    """Input -> what the body holds of it."""
    only = inputs[0] if len(inputs) == 1 else None
    if call.media in (Media.NPY, Media.OCTETS):
        if only is None:
            names = ", ".join(tensor.name for tensor in inputs)
            raise InvalidError(f"The model has the inputs {names}, and such a body holds one", fix="Send JSON.")
        return {only.name: npy.read(call.body) if call.media == Media.NPY else _octets(call.body, only)}
    plain = unpack(call.body) if call.media == Media.MSGPACK else read_json(call.body)
    if not isinstance(plain, dict) or "inputs" not in plain:
        raise InvalidError('The body has no "inputs"', fix=_example(inputs))
    for name in plain:
        if name != "inputs":
            raise InvalidError(f"The body has the unknown field {clip(str(name), 80)!r}", fix=_example(inputs))
    given = plain["inputs"]
    if not isinstance(given, dict):
        if only is None:
            raise InvalidError("The model has several inputs, and they are not named", fix=_example(inputs))
        given = {only.name: given}
    wanted = {tensor.name: tensor for tensor in inputs}
    is_raw = call.media == Media.MSGPACK
    return {n: _octets(one, wanted[n]) if is_raw and _is_raw(one, wanted.get(n)) else one for n, one in given.items()}


def _refuse_truths(given: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    for name, one in given.items():
        if name in wanted and wanted[name].datatype not in ("BOOL", "BYTES") and holds_truth(one):
            raise _unfit(wanted[name], "holds true or false")


def _is_raw(value: Any, tensor: Tensor | None) -> bool:
    """Whether it is an array as its bytes, which msgpack can hold."""
    return isinstance(value, bytes) and tensor is not None


def _octets(body: bytes, tensor: Tensor) -> Array:
    """The bytes that one input is; of numbers row after row, little-endian, or a file of numpy."""
    if tensor.datatype == "BYTES":
        array = np.empty(1, dtype=object)
        array[0] = body
        return array
    if body.startswith(MAGIC):
        return npy.read(body)
    kind, free = np.dtype(DATATYPES[tensor.datatype]), list(tensor.shape).count(-1)
    step = prod(size for size in tensor.shape if size != -1) * kind.itemsize
    if tensor.datatype == "BF16" or free > 1 or len(body) % step or (not free and len(body) != step):
        told = "JSON or npy" if free > 1 or tensor.datatype == "BF16" else f"{expected(tensor)}, little-endian"
        raise _unfit(tensor, f"is no array by {len(body)} bytes", f"Send {told}.")
    return np.frombuffer(body, dtype=kind.newbyteorder("<")).astype(kind).reshape(tensor.shape)


def _example(inputs: Sequence[Tensor]) -> str:
    names = ", ".join(f'"{tensor.name}": [...]' for tensor in inputs)
    return f'Send {{"inputs": {{{names}}}}}; GET / tells types and shapes.'


def to_array(data: Any, tensor: Tensor, *, allows_nan: bool = False) -> Array:
    """Nested lists, or an array, as an array of the tensor's type.

    Raises:
        InvalidError: ragged, of another type, or with values that the type cannot hold; the message names the input.
    """
    if tensor.datatype == "BYTES":
        return _texts(data, tensor)
    try:
        array = data if isinstance(data, np.ndarray) else np.array(data)
        if allows_nan and array.dtype == object and all(one is None or _is_number(one) for one in array.flat):
            array = array.astype(np.float64)  # null is a missing value
    except (ValueError, TypeError, OverflowError, RecursionError) as fault:
        raise _unfit(tensor, f"is no array: {clip(str(fault))}") from None
    kind = np.dtype(DATATYPES[tensor.datatype])
    if array.size and array.dtype.kind not in ("b" if kind.kind == "b" else "iuf"):
        raise _unfit(tensor, f"holds {array.dtype.name} values")
    return _cast(array, kind, tensor, allows_nan=allows_nan)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _cast(array: Array, kind: "np.dtype[Any]", tensor: Tensor, *, allows_nan: bool) -> Array:
    """The array in the wanted type, if no value means something else by that."""
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            made = array.astype(kind, order="C", copy=False)
        if not np.isfinite(made).all():
            _check_finite(array, made, tensor, allows_nan=allows_nan)
        return made
    if kind.kind in "iu" and array.size and array.dtype != kind:
        bounds = np.iinfo(kind)
        is_whole = array.dtype.kind != "f" or bool(np.isfinite(array).all() and (array == np.floor(array)).all())
        if not is_whole or array.min() < bounds.min or array.max() > bounds.max:
            raise _unfit(tensor, f"holds a value that is no {tensor.datatype}")
    return array.astype(kind, order="C", copy=False)


def _check_finite(array: Array, made: Array, tensor: Tensor, *, allows_nan: bool) -> None:
    """Refuse infinity, NaN unless it is allowed, and what has become infinite only by its new type."""
    if array.dtype.kind == "f" and (np.isinf(array).any() or (not allows_nan and np.isnan(array).any())):
        raise _unfit(tensor, "holds a value that is not a finite number")
    if np.isinf(made).any():
        raise _unfit(tensor, f"holds a value that is too large for {tensor.datatype}")


def _texts(data: Any, tensor: Tensor) -> Array:
    """Texts or bytes as an array of objects."""
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "SUO":
            raise _unfit(tensor, f"holds {data.dtype.name} values")
        return data.astype(object)
    try:
        array = np.array(data, dtype=object)
    except (ValueError, RecursionError) as fault:
        raise _unfit(tensor, f"is no array: {clip(str(fault))}") from None
    wrong = {type(one).__name__ for one in array.flat if not isinstance(one, str)}
    if wrong:
        raise _unfit(tensor, f"holds {', '.join(sorted(wrong))}, not only texts")
    return array


def _shaped(array: Array, tensor: Tensor) -> Array:
    """A single row may lack the axis over rows."""
    is_row = tensor.shape and tensor.shape[0] == -1 and array.ndim == len(tensor.shape) - 1
    return array[np.newaxis] if is_row else array


def _check_rows(name: str, count: int) -> None:
    if not count:
        raise InvalidError(f"The input {name!r} has no rows", fix="Send at least one.")
    if count > MAX_ROWS:
        raise TooLargeError(f"The input {name!r} has {count} rows", fix=f"Send at most {MAX_ROWS} in one request.")


def _unfit(tensor: Tensor, what: str, fix: str = "") -> InvalidError:
    return InvalidError(f"The input {tensor.name!r} {what}", fix=fix or f"Send {expected(tensor)}.")


def expected(tensor: Tensor) -> str:
    """What to send, in words."""
    sizes = ", ".join("any" if size == -1 else str(size) for size in tensor.shape)
    what = "texts" if tensor.datatype == "BYTES" else f"{tensor.datatype} values"
    return f"{what} of the shape [{sizes}]"
