"""What tensors hold, from and to bytes and lists, whichever way they travel. Pure."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lepton.core.errors import InvalidError, clip
from lepton.serve.protocols.inference.tensors import DATATYPES, NAMES, Array

KINDS = {name: np.dtype(kind) for name, kind in DATATYPES.items()}
WIRE = {name: kind.newbyteorder("<") for name, kind in KINDS.items()}
"""Datatype -> how its values are on the wire."""


def check_form(datatype: Any, shape: Sequence[Any]) -> None:
    """See that there are tensors of this datatype and shape.

    Raises:
        InvalidError: there are none.
    """
    if datatype not in DATATYPES or not all([type(size) is int and size >= 0 for size in shape]):
        raise InvalidError(f"{clip(str(datatype), 40)} of shape {clip(str(shape), 80)} is no tensor", fix="Check it.")


def from_numbers(data: Any, datatype: str) -> Array:
    """Numbers, in lists or not, as an array of that datatype, if no value changes by that.

    Raises:
        InvalidError: something is no number, or none that the datatype can hold.
    """
    kind = np.dtype(DATATYPES[datatype])
    given = np.array(data)
    if given.size and given.dtype.kind not in ("b" if kind.kind == "b" else "iuf"):
        raise InvalidError(f"The data are {given.dtype.name}, not {datatype}", fix="Send numbers of that type.")
    if kind.kind in "iu" and given.size:
        bounds = np.iinfo(kind)
        if given.dtype.kind == "f" or given.min() < bounds.min or given.max() > bounds.max:
            raise InvalidError(f"The data hold a value that is no {datatype}", fix="Send whole numbers in its range.")
    return given.astype(kind)


def from_elements(elements: Sequence[bytes]) -> Array:
    """A flat array of BYTES."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def from_values(values: Any, datatype: Any, shape: Sequence[Any]) -> Array:
    """A tensor from its values: numbers, in lists or not, or the elements of BYTES.

    Raises:
        InvalidError: there is no such tensor, or not of these values.
    """
    check_form(datatype, shape)
    flat = from_elements(values) if datatype == "BYTES" else from_numbers(values, datatype)
    return _shaped(flat, shape)


def from_raw(raw: memoryview, datatype: Any, shape: Sequence[Any]) -> Array:
    """A tensor from its bytes.

    Raises:
        InvalidError: there is no such tensor, or they are too few or too many for it.
    """
    check_form(datatype, shape)
    if datatype == "BF16":
        return _widened(from_raw(raw, "UINT16", shape))
    if datatype != "BYTES":
        kind = KINDS[datatype]
        if len(raw) != prod(shape) * kind.itemsize:
            raise InvalidError(f"{len(raw)} bytes do not fill {datatype} of shape {list(shape)}", fix="Check both.")
        return np.frombuffer(raw, dtype=WIRE[datatype]).astype(kind, copy=False).reshape(shape)
    found = []
    at, end = 0, len(raw)
    while end - at >= 4:
        size = int.from_bytes(raw[at : at + 4], "little")
        if size > end - at - 4:
            break
        found.append(bytes(raw[at + 4 : at + 4 + size]))
        at += 4 + size
    if at != end:
        raise InvalidError("A BYTES tensor is cut short", fix="Put its length before each element.")
    return _shaped(from_elements(found), shape)


def _widened(halves: Array) -> Array:
    """The float32 whose upper halves these are."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _shaped(array: Array, shape: Sequence[int]) -> Array:
    if array.size != prod(shape):
        raise InvalidError(f"{array.size} values do not fill the shape {list(shape)}", fix="Check shape and data.")
    return array.reshape(shape)


def to_raw(array: Array) -> bytes:
    """The bytes of a tensor."""
    if is_bfloat16(array):
        array = array.view(np.uint16)
    if array.dtype.kind not in "OSU":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts = [one if isinstance(one, bytes) else str(one).encode() for one in array.ravel().tolist()]
    return b"".join([len(part).to_bytes(4, "little") + part for part in parts])


def is_bfloat16(array: Array) -> bool:
    """Whether it is of the type that packages beside numpy bring for BF16."""
    return array.dtype.name == "bfloat16"


def datatype_of(array: Array) -> str:
    """What the protocol calls its type."""
    if is_bfloat16(array):
        return "BF16"
    return "BYTES" if array.dtype.kind in "SUO" else NAMES[array.dtype]
