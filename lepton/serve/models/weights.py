"""Weights in safetensors and the class they belong to: `safetensors:FILE.safetensors?class=net.py:Net`.

The class is a `torch.nn.Module` in a Python file beside the weights. Its arguments may be in the metadata of the
weights, as a JSON object called `arguments`. What goes in, its attribute `inputs` tells, or the entry:

    class Net(torch.nn.Module):
        inputs = {"x": "FP32[-1,28,28]"}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model

from lepton.core.errors import InvalidError
from lepton.serve.faults import ModelFileError
from lepton.serve.loading import find_inside, find_named, load_class
from lepton.serve.models.network import NetworkModel
from lepton.serve.models.program import TensorProgram


def open_weights(folder: Path, what: str) -> TensorProgram:
    """The program of a file of weights.

    Raises:
        ConfigError: a file or the class is missing.
        InvalidError: the entry names no class.
        ModelFileError: they do not fit each other, or cannot be served.
        Exception: whatever the user's code raises.
    """
    path, options = find_named(folder, what)
    place, _, name = options.pop("class", "").partition(":")
    if not place:
        raise InvalidError(
            f"{path.name} holds weights, and nobody says of what",
            fix=f"Serve safetensors:{path.name}?class=net.py:Net",
        )
    kind = load_class(find_inside(path.parent, place), name, torch.nn.Module, "torch.nn.Module")
    module = kind(**read_arguments(path))
    try:
        load_model(module, path, strict=True)
    except (RuntimeError, SafetensorError, ValueError) as fault:
        raise ModelFileError(
            f"The weights in {path.name} are not those of {kind.__name__}: {str(fault)[:1000]}",
            fix="Name the class that they were saved from.",
        ) from fault
    told: Mapping[str, str] = options or getattr(kind, "inputs", None) or {}
    return TensorProgram(NetworkModel(path.stem, module, told, "pytorch"))


def read_arguments(path: Path) -> Mapping[str, Any]:
    """What the class is made with.

    Raises:
        ModelFileError: the file is no safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("arguments") or "{}")
    except (SafetensorError, ValueError, OSError) as fault:
        raise ModelFileError(
            f"{path.name} cannot be read: {fault}", fix="Write it with safetensors.torch.save_model."
        ) from fault
    if not isinstance(found, dict):
        raise ModelFileError(f"The metadata `arguments` of {path.name} is no object", fix="Write a JSON object.")
    return found
