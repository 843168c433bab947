"""A TorchScript archive, served without its Python code: `torchscript:FILE.pt?x=FP32[-1,28,28]`.

The archive does not say what goes in. Who makes it can, once and for all:

    torch.jit.save(net, "net.pt", _extra_files={"inputs.json": '{"x": "FP32[-1,28,28]"}'})

It is code: what it says is run, though by TorchScript's interpreter and not by Python's. No pickle is read.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lepton.serve.faults import ModelFileError
from lepton.serve.loading import find_named
from lepton.serve.models.network import NetworkModel
from lepton.serve.models.program import TensorProgram

INPUTS = "inputs.json"


def open_torchscript(folder: Path, what: str) -> TensorProgram:
    """The program of a TorchScript archive.

    Raises:
        ConfigError: there is no such file.
        ModelFileError: it cannot be served.
    """
    path, options = find_named(folder, what)
    module, told = load(path)
    return TensorProgram(NetworkModel(path.stem, module, options or told, "pytorch_libtorch"))


def load(path: Path) -> tuple[torch.nn.Module, Mapping[str, str]]:
    """The network of an archive, and what it says of its inputs.

    Raises:
        ModelFileError: it is none.
    """
    extra: dict[str, Any] = {INPUTS: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.export is to follow; archives are still read
            module: torch.nn.Module = torch.jit.load(str(path), "cpu", extra)  # type: ignore[no-untyped-call]
        told = json.loads(extra[INPUTS] or "{}")
        return module, {str(name): str(text) for name, text in told.items()}
    except (RuntimeError, ValueError, AttributeError) as fault:
        raise ModelFileError(
            f"{path.name} is no TorchScript archive: {str(fault).splitlines()[0][:500]}",
            fix="Write it with torch.jit.save. What torch.save writes is a pickle, which is not served: "
            "save the weights with safetensors, and serve safetensors:FILE?class=FILE.py:Net.",
        ) from fault
