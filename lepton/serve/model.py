"""A model version as a worker runs it: `model.onnx` on onnxruntime, described by `model.json`.

The graph takes raw rows and does its own preprocessing. `model.json`:

    {"input": {"name", "shape": [null, 28, 28], "dtype": "uint8"},
     "output": {"name", "shape", "kind": "logits" | "probabilities"},
     "labels": ["0", ...], "task": "classify"}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lepton.core.errors import LeptonError
from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError

DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
KINDS = ("logits", "probabilities")
CHUNK_ROWS = 256
"""Rows computed in one go: more would not be faster, and would take more memory."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelForm:
    """What goes into a model and what comes out."""

    input_name: str
    row_shape: tuple[int, ...]
    """Of one row; the first axis, over rows, is left out."""
    dtype: str
    output_name: str
    is_logits: bool
    labels: tuple[str, ...]
    task: str

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return size_of(self.row_shape, self.dtype)

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> Self:
        """The form that `model.json` describes.

        Raises:
            ModelFileError: something is missing or cannot be.
        """
        try:
            given, out = plain["input"], plain["output"]
            shape = tuple(given["shape"])
            form = cls(
                input_name=str(given["name"]),
                row_shape=shape[1:],
                dtype=str(given["dtype"]),
                output_name=str(out["name"]),
                is_logits=str(out.get("kind", "logits")) == "logits",
                labels=tuple(str(label) for label in plain.get("labels") or ()),
                task=str(plain.get("task", "")),
            )
            is_sound = (
                len(shape) >= 1
                and shape[0] in (None, -1)
                and all(type(size) is int and size > 0 for size in form.row_shape)
                and form.dtype in DTYPES
                and out.get("kind", "logits") in KINDS
            )
        except (KeyError, TypeError, AttributeError) as fault:
            raise ModelFileError(f"model.json lacks or garbles {fault}", fix="Export the model again.") from fault
        if not is_sound:
            raise ModelFileError(
                f"model.json describes an input or output that cannot be served: {str(plain)[:300]}",
                fix=f"The first axis is null, the others are counts, the dtype is one of {', '.join(DTYPES)}.",
            )
        return form


@lru_cache
def size_of(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array."""
    return prod(shape) * np.dtype(dtype).itemsize


class Model:
    """A loaded model. Not thread-safe; a worker computes in one thread."""

    def __init__(self, session: ort.InferenceSession, form: ModelForm) -> None:
        self.form = form
        self._session = session
        self._names = [form.output_name]

    def scores(self, rows: Array) -> Array:
        """What the model says of each row: float32, shape (rows, ...); for a classifier probabilities.

        Args:
            rows: of the form's dtype, shape (rows, *row_shape).
        """
        parts = [self._compute(rows[at : at + CHUNK_ROWS]) for at in range(0, len(rows), CHUNK_ROWS)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _compute(self, rows: Array) -> Array:
        out = np.asarray(self._session.run(self._names, {self.form.input_name: rows})[0], dtype=np.float32)
        return softmax(out) if self.form.is_logits and self.form.task == "classify" else out


def load_model(folder: Path, threads: int) -> Model:
    """Load the model version whose files are in `folder`, and compute one row to see that it works.

    Raises:
        ModelFileError: the files are missing, broken, or contradict each other.
    """
    try:
        form = ModelForm.from_json(json.loads((folder / "model.json").read_text()))
        model = Model(open_session(folder / "model.onnx", threads), form)
        out = model.scores(np.zeros((1, *form.row_shape), dtype=form.dtype))
    except LeptonError:
        raise
    except Exception as fault:
        raise ModelFileError(f"The model cannot be loaded: {fault}", fix="Export the model again.") from fault
    if out.shape[:1] != (1,):
        raise ModelFileError(f"One row gives the shape {out.shape}", fix="The first axis of the output is over rows.")
    if form.task == "classify" and out.shape != (1, len(form.labels)):
        raise ModelFileError(
            f"The model has {len(form.labels)} labels, but one row gives the shape {out.shape}",
            fix="Give one label for each score.",
        )
    return model


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """ONNX Runtime over a file, on the CPU with so many threads, which sleep while there is nothing to do."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
