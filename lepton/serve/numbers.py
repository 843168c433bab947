"""Arrays of the dtype that a handler wants, from lists, files of numpy or plain bytes. Changes no value by that."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton.core.errors import InvalidError
from lepton.serve import npy
from lepton.serve.service import Upload

Array = NDArray[Any]
MAGIC = b"\x93NUMPY"
"""How a file of numpy begins."""
NUMBERS = "biufc"


def to_array(value: Any, dtype: Any) -> Array:
    """The value as an array that its owner may write to.

    Args:
        value: an array, nested lists, a file of `numpy.save`, or the values' bytes in a row.
        dtype: scalar type; an abstract one (`np.floating`) leaves the choice; None: any numbers.

    Raises:
        ValueError: it cannot be, without changing a value.
    """
    content = value.content if isinstance(value, Upload) else value
    array = _from_bytes(content, dtype) if isinstance(content, bytes) else _plain(content)
    kind = _concrete(array, dtype)
    if kind is not None and array.dtype != kind:
        array = _cast(array, kind)
    return array if array.flags.writeable else array.copy()


def holds_truth(data: Any) -> bool:
    """Whether true or false is among nested lists: numpy would take it for 1 or 0 beside numbers."""
    if isinstance(data, list | tuple):
        kinds = set(map(type, data))
        return bool in kinds or (not kinds.isdisjoint((list, tuple)) and any(map(holds_truth, data)))
    return isinstance(data, bool)


def write(value: Any, *, is_file: bool) -> bytes | None:
    """An array as a file of numpy, or as its values' bytes in a row, little-endian; None: it holds Python's objects."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        return None
    return npy.write(array) if is_file else array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _from_bytes(content: bytes, dtype: Any) -> Array:
    if content.startswith(MAGIC):
        try:
            return npy.read(content)
        except InvalidError as fault:
            raise ValueError(f"should be an array: {fault.message}") from None
    kind = np.dtype(dtype) if dtype is not None and not _is_abstract(dtype) else None
    if kind is None or kind.kind not in NUMBERS or len(content) % kind.itemsize:
        told = f"{kind.name} values, or " if kind is not None else ""
        raise ValueError(f"should be the bytes of {told}a file of numpy.save")
    return np.frombuffer(content, dtype=kind.newbyteorder("<")).astype(kind)


def _plain(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("should be an array: its rows are of different lengths") from None
    if array.dtype.kind in "iufc" and holds_truth(value):
        raise ValueError("should be an array of numbers: true and false are none")
    return array


def _is_abstract(dtype: Any) -> bool:
    return dtype in (np.generic, np.number, np.integer, np.signedinteger, np.unsignedinteger, np.inexact, np.floating)


def _concrete(array: Array, dtype: Any) -> Any:
    """What the array shall be of; None: it may stay as it is.

    Raises:
        ValueError: it can never be.
    """
    if dtype is None or dtype is np.generic:
        if array.dtype.kind not in NUMBERS:
            raise ValueError("should be an array of numbers")
        return None
    if not _is_abstract(dtype):
        return np.dtype(dtype)
    if np.issubdtype(array.dtype, dtype):
        return None
    if array.dtype.kind in "iu" and dtype in (np.inexact, np.floating):
        return np.dtype(np.float64)
    raise ValueError(f"should be an array of {dtype.__name__}, not {array.dtype.name}")


def _cast(array: Array, kind: "np.dtype[Any]") -> Array:
    told, given = kind.name, array
    if given.dtype == object and kind.kind in "fc" and all(type(one) in (int, float) for one in given.flat):
        given = _try(given, np.dtype(np.float64), told)  # whole numbers beyond 64 bits
    if given.size and not _may_become(given.dtype, kind):
        shown = {"O": "mixed", "U": "text", "S": "bytes"}.get(given.dtype.kind, given.dtype.name)
        raise ValueError(f"should be an array of {told}, not of {shown} values")
    if kind.kind in "iu" and given.size:
        bounds = np.iinfo(kind)
        is_whole = given.dtype.kind != "f" or bool((given == np.floor(given)).all() and np.isfinite(given).all())
        if not is_whole or given.min() < bounds.min or given.max() > bounds.max:
            raise ValueError(f"should be an array of {told}: it holds a value that is none")
    with np.errstate(over="ignore", invalid="ignore"):
        made = _try(given, kind, told)
    if given.dtype.kind in NUMBERS and kind.kind not in "iub":
        is_lost = np.isinf(made.astype(np.complex128)) & np.isfinite(given)
        if is_lost.any():
            raise ValueError(f"should be an array of {told}: it holds a value that is too large")
    return made


def _may_become(given: "np.dtype[Any]", kind: "np.dtype[Any]") -> bool:
    if kind.kind == "V":  # bfloat16 and its like, of a package beside numpy
        return given.kind in "iuf"
    if kind.kind not in NUMBERS:
        return given.kind in ("SUO" if kind.kind in "SUO" else "U" if kind.kind in "mM" else kind.kind)
    return given.kind in {"b": "b", "c": "iufc"}.get(kind.kind, "iuf")


def _try(given: Array, kind: "np.dtype[Any]", told: str) -> Array:
    try:
        return given.astype(kind)
    except (ValueError, TypeError, OverflowError) as fault:
        raise ValueError(f"should be an array of {told}: {fault}") from None
