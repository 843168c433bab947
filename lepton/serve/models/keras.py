"""Keras models, computed by PyTorch: `keras:FILE.keras`.

A layer that holds Python code of its own (`Lambda`) is refused: Keras's safe mode stays on. KERAS_BACKEND is set, in
the replica only, before this module is imported: see `variables`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from lepton.core.resource import Json
from lepton.serve.faults import COLOURS, ModelFileError
from lepton.serve.loading import find_named
from lepton.serve.models.probe import learn_outputs
from lepton.serve.models.program import TensorProgram
from lepton.serve.protocols.inference.tensors import NAMES, Array, Tensor


class KerasModel:
    """`arrays.ServedModel` of one model.

    Raises:
        ModelFileError: it says nothing of its inputs, or fails on zeros of their shapes.
    """

    version = "1"
    platform = "keras"
    allows_nan = False
    examples: Mapping[str, Json] = {}
    details: Mapping[str, Json] = {}

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
        self.inputs = [tensor_of(one) for one in model.inputs or ()]
        if not self.inputs:
            raise ModelFileError(
                f"{name} does not say what goes in", fix="Build it, or call it once, before saving it."
            )
        self._form = getattr(model, "input", model.inputs[0])  # a Sequential has but one
        self._names = list(model.output_names) if hasattr(model, "output_names") else []
        self.outputs, self.is_batched = learn_outputs(self.infer, self.inputs)

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs."""
        given = [torch.from_numpy(np.require(inputs[tensor.name], None, ["C", "W"])) for tensor in self.inputs]
        with torch.inference_mode():
            found = self._model(keras.tree.pack_sequence_as(self._form, given), training=False)
        if isinstance(found, Mapping):
            return {str(name): keras.ops.convert_to_numpy(one) for name, one in found.items()}
        several = found if isinstance(found, list | tuple) else [found]
        names = self._names if len(self._names) == len(several) else [f"output_{n}" for n in range(len(several))]
        return {name: keras.ops.convert_to_numpy(one) for name, one in zip(names, several, strict=True)}


def tensor_of(told: Any) -> Tensor:
    """An input as Keras describes it.

    Raises:
        ModelFileError: it is of a type that PyTorch does not compute.
    """
    if told.dtype not in KNOWN:
        raise ModelFileError(
            f"The input {told.name!r} is {told.dtype}, which cannot be computed here",
            fix="Leave out layers that take texts.",
        )
    return Tensor(
        str(told.name), NAMES[np.dtype(told.dtype)], [-1 if size is None else int(size) for size in told.shape]
    )


KNOWN = frozenset(str(kind) for kind in NAMES if kind != np.dtype(object))


def load(path: Path) -> Any:
    """The model in a file.

    Raises:
        ModelFileError: it is none, or would run code that is not Keras's own.
    """
    if path.suffix != ".keras":  # safe mode says nothing of older forms
        raise ModelFileError(f"{path.name} is no .keras file", fix="Save it by model.save('NAME.keras').")
    try:
        return keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as fault:
        if "Lambda" in str(fault) or "lambda" in str(fault):  # Keras would tell how to have it run all the same
            raise ModelFileError(
                f"{path.name} has a Lambda layer: code that comes with a model is not run",
                fix="Use a layer of Keras instead of Lambda.",
            ) from fault
        why = COLOURS.sub("", str(fault))[:1000]
        fix = "Use Keras's own layers; save it by model.save."
        raise ModelFileError(f"{path.name} cannot be loaded: {why}", fix=fix) from fault


def open_keras(folder: Path, what: str) -> TensorProgram:
    """The program of a Keras file.

    Raises:
        ConfigError: there is no such file.
        ModelFileError: it cannot be served.
    """
    path, _ = find_named(folder, what)
    return TensorProgram(KerasModel(path.stem, load(path)))
