"""Arrays as the files that `numpy.save` writes. Never unpickles; believes no size that the bytes do not bear out."""

import io
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lepton.core.errors import InvalidError

Array = NDArray[Any]
KNOWN, KNOWN_BYTES = 256, 256
"""Heads that are remembered, and the size of the largest."""


class File(NamedTuple):
    """What a file says it holds, and its bytes."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    data: bytes

    def array(self) -> Array:
        """The array; its dtype must hold no objects.

        Raises:
            InvalidError: the bytes are not as many as the shape says.
        """
        count = 1
        for size in self.shape:
            count *= size
        if min(self.shape, default=1) < 0 or count * self.dtype.itemsize != len(self.data):
            raise InvalidError(
                f"An array of shape {self.shape} has not {len(self.data)} bytes", fix="Send the whole file."
            )
        flat = np.frombuffer(self.data, dtype=self.dtype)
        return flat.reshape(self.shape[::-1]).T if self.is_fortran else flat.reshape(self.shape)


def open_file(body: bytes) -> File:
    """What a body says it holds.

    Raises:
        InvalidError: it is no such file.
    """
    begin = 10 if body[6:7] == b"\1" else 12
    size = begin + int.from_bytes(body[8:begin], "little")
    head = body[:size]
    return File(*(_read_known(head) if size <= KNOWN_BYTES else _read_head(head)), body[size:])


def _read_head(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype that the head of a file tells."""
    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} is not read here")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(stream)
        if len(shape) > MOST_AXES or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"shape {shape} cannot be")
        return shape, is_fortran, dtype
    except (ValueError, EOFError, SyntaxError, TypeError) as fault:
        raise InvalidError(
            f"The body is no npy file: {str(fault)[:200]}", fix="Send what numpy.save writes."
        ) from fault


MOST_AXES = 32
_read_known = lru_cache(KNOWN)(_read_head)
"""Most clients send equal heads, and to parse one, which is Python, takes 40 us."""


def read(body: bytes) -> Array:
    """The array in a file.

    Raises:
        InvalidError: it is no such file, or holds Python objects.
    """
    file = open_file(body)
    if file.dtype.hasobject:
        raise InvalidError(f"The body is no npy file: its dtype is {file.dtype}", fix="Send an array of numbers.")
    return file.array()


def write(array: Any) -> bytes:
    """The file of an array."""
    made = np.asarray(array)
    return _head_of(made.dtype, made.shape) + made.tobytes()


@lru_cache(KNOWN)
def _head_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What stands before the values: to write it, which is Python, takes as long as a small model."""
    if dtype.hasobject:
        raise ValueError("An array of Python objects has no file that is safe to read")
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return stream.getvalue()
