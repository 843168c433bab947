"""Bodies of predictions: from the bytes of a request to rows, and from scores to the bytes of an answer. Pure."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson

from lepton.core.errors import InvalidError, LeptonError, TooLargeError, clip
from lepton.core.resource import Json
from lepton.serve import npy
from lepton.serve.calls import unpack
from lepton.serve.frames import Media
from lepton.serve.model import Array, ModelForm
from lepton.serve.models.arrays import MAX_ROWS
from lepton.serve.numbers import MAGIC, holds_truth


def read_rows(body: bytes, media: int, form: ModelForm) -> Array:
    """The rows of one request: of the form's dtype, shape (rows, *row_shape), at least one row.

    Raises:
        InvalidError: the body is not what the model takes; the message says in what.
        TooLargeError: more than `MAX_ROWS` rows.
    """
    reader = READERS.get(media)
    if reader is None:
        raise InvalidError("The body is of a kind that no worker reads", fix="Send JSON.")
    rows = reader(body, form)
    if len(rows) > MAX_ROWS:
        raise TooLargeError(f"The request has {len(rows)} rows", fix=f"Send at most {MAX_ROWS} in one request.")
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise InvalidError("The input has a value that is not a finite number", fix="Leave out NaN and infinity.")
    return rows


def read_json(body: bytes, form: ModelForm) -> Array:
    """Rows from `{"inputs": ...}`: nested lists, of one row or of several."""
    try:
        plain = orjson.loads(body)
    except ValueError as fault:
        raise InvalidError(f"The body is no JSON: {fault}", fix='Send {"inputs": [...]}.') from fault
    inputs = _inputs(plain)
    if body.count(b'"inputs"') > 1:  # orjson would take the last
        raise InvalidError('The body has "inputs" twice', fix="Send it once.")
    if form.dtype == "uint8" and form.row_shape and b"e" not in body:  # so neither true nor false, nor an exponent
        packed = pack_bytes(inputs, form.row_shape)
        if packed is not None:
            return packed
    if b"true" in body or b"false" in body:
        _refuse_truth(inputs, form)
    return as_rows(to_array(inputs, form), form)


def _refuse_truth(inputs: Json, form: ModelForm) -> None:
    if form.dtype != "bool" and holds_truth(inputs):
        raise InvalidError("The inputs hold true or false, not only numbers", fix=expected(form))


def read_msgpack(body: bytes, form: ModelForm) -> Array:
    """Rows from the same in msgpack; instead of lists also the array's bytes, or a file of numpy."""
    inputs = _inputs(unpack(body))
    if isinstance(inputs, bytes):
        return read_npy(inputs, form) if inputs.startswith(MAGIC) else read_octets(inputs, form)
    _refuse_truth(inputs, form)
    return as_rows(to_array(inputs, form), form)


def _inputs(plain: Json) -> Json:
    if not isinstance(plain, dict) or "inputs" not in plain:
        raise InvalidError('The body has no "inputs"', fix='Send {"inputs": [...]}.')
    if len(plain) > 1:
        unknown = next(name for name in plain if name != "inputs")
        raise InvalidError(
            f"The body has the unknown field {clip(str(unknown), 80)!r}", fix='Send {"inputs": [...]} alone.'
        )
    return plain["inputs"]


def pack_bytes(inputs: Json, row_shape: tuple[int, ...]) -> Array | None:
    """The quick way for bytes: None if the lists are not exactly of whole numbers 0..255 in the right shape."""
    depth = 0
    inner = inputs
    while type(inner) is list and inner and depth <= len(row_shape):
        inner, depth = inner[0], depth + 1
    rows = [inputs] if depth == len(row_shape) else inputs
    try:
        packed = flatten(rows, row_shape)
    except (TypeError, ValueError):
        return None
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, *row_shape) if packed else None


def flatten(rows: list[Json], shape: tuple[int, ...]) -> bytes:
    """The bytes of nested lists, each of that shape; level by level, because calls cost more than numbers.

    Raises:
        ValueError: another shape, or a number outside 0..255.
        TypeError: something that is no whole number.
    """
    level: list[Any] = rows
    for depth, size in enumerate(shape):
        level = list(chain.from_iterable(level)) if depth else level
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise ValueError("another shape")
    return b"".join(map(bytes, level))


def to_array(inputs: Json, form: ModelForm) -> Array:
    """Nested lists as an array of the form's dtype, if no value changes by that.

    Raises:
        InvalidError: ragged, not numbers, or numbers that the dtype cannot hold.
    """
    try:
        given = np.array(inputs)
    except (ValueError, OverflowError, RecursionError) as fault:
        raise InvalidError(f"The inputs are no array: {str(fault)[:200]}", fix=expected(form)) from fault
    wanted = np.dtype(form.dtype)
    if given.dtype.kind not in ("b" if wanted.kind == "b" else "iuf"):
        raise InvalidError(f"The inputs hold {given.dtype.name} values, not numbers", fix=expected(form))
    if wanted.kind in "iu":
        bounds = np.iinfo(wanted)
        is_held = given.size == 0 or (
            bool(np.isfinite(given).all()) and bounds.min <= given.min() and given.max() <= bounds.max
        )
        if not is_held or (given.dtype.kind == "f" and not (given == np.floor(given)).all()):
            fix = f"Send whole numbers, {bounds.min} to {bounds.max}."
            raise InvalidError(f"The inputs hold a value that is no {wanted.name}", fix=fix)
    with np.errstate(over="ignore"):
        return given.astype(wanted)


def read_octets(body: bytes, form: ModelForm) -> Array:
    """Rows from the array's own bytes, little-endian, row after row."""
    if not body or len(body) % form.row_bytes:
        raise InvalidError(f"{len(body)} bytes are no whole number of rows", fix=f"One row has {form.row_bytes} bytes.")
    given, wanted = wire_dtypes(form.dtype)
    return np.frombuffer(body, dtype=given).astype(wanted, copy=False).reshape(-1, *form.row_shape)


@lru_cache
def wire_dtypes(name: str) -> tuple["np.dtype[Any]", "np.dtype[Any]"]:
    """A dtype as its bytes come, little-endian, and as this machine has it."""
    return np.dtype(name).newbyteorder("<"), np.dtype(name)


def read_npy(body: bytes, form: ModelForm) -> Array:
    """Rows from a file that `numpy.save` wrote."""
    file = npy.open_file(body)
    if file.dtype.hasobject or file.dtype.newbyteorder("=") != np.dtype(form.dtype):
        raise InvalidError(f"The array is of dtype {file.dtype}", fix=expected(form))
    return as_rows(np.ascontiguousarray(file.array(), dtype=form.dtype), form)


READERS: Mapping[int, Callable[[bytes, ModelForm], Array]] = {
    Media.JSON: read_json,
    Media.OCTETS: read_octets,
    Media.NPY: read_npy,
    Media.MSGPACK: read_msgpack,
}


def as_rows(array: Array, form: ModelForm) -> Array:
    """The array with its axis over rows, which a single row may lack.

    Raises:
        InvalidError: another shape, or no row at all.
    """
    if array.shape == form.row_shape:
        return array[np.newaxis]
    if array.ndim == len(form.row_shape) + 1 and array.shape[1:] == form.row_shape and len(array):
        return array
    raise InvalidError(f"The inputs have the shape {list(array.shape)}", fix=expected(form))


def expected(form: ModelForm) -> str:
    """What to send, in words."""
    shape = ", ".join(str(size) for size in form.row_shape)
    return f"Send {form.dtype} values of shape [{shape}] for one row, or [n, {shape}] for n."


def error_body(fault: LeptonError) -> bytes:
    """The JSON object every error of the platform has."""
    return orjson.dumps(dict(fault.to_json()))


def answer_bodies(scores: Array, counts: Sequence[int], form: ModelForm, model: bytes) -> list[bytes]:
    """The answers to several requests that were computed together.

    Args:
        scores: what the model said of all their rows, in order.
        counts: how many rows each request has.
        form: of the model.
        model: the JSON object that names the model version.
    """
    scores = np.ascontiguousarray(scores)
    outputs: Sequence[Any] = list(scores)
    if form.task == "classify":
        labels = form.labels
        best = scores.argmax(axis=1).tolist()
        outputs = [
            {"label": labels[place], "score": row[place], "scores": row}
            for row, place in zip(scores, best, strict=True)
        ]
    dumps, option = orjson.dumps, orjson.OPT_SERIALIZE_NUMPY
    bodies = []
    at = 0
    for count in counts:
        bodies.append(b'{"outputs":%b,"model":%b}' % (dumps(outputs[at : at + count], option=option), model))
        at += count
    return bodies


def describe(form: ModelForm, meta: Mapping[str, Json]) -> tuple[dict[str, Json], bytes]:
    """What a client must know to ask the model, and the JSON object that names its version."""
    name = {key: meta.get(key) for key in ("id", "name", "number")}
    about: dict[str, Json] = {
        "model": name,
        "input": {"shape": [None, *form.row_shape], "dtype": form.dtype},
        "task": form.task,
        "labels": list(form.labels),
        "predict": "/predict",
    }
    return about, orjson.dumps(name)
