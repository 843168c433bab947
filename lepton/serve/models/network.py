"""A PyTorch network as named tensors, whatever it was loaded from."""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lepton.core.errors import clip
from lepton.core.resource import Json
from lepton.serve.faults import ModelFileError
from lepton.serve.models.probe import learn_outputs
from lepton.serve.protocols.inference.tensors import DATATYPES, Array, Tensor

SHAPE = re.compile(r"(\w+)\[(-?\d+(?:, ?-?\d+)*)\]")
"""`FP32[-1,28,28]`"""


class NetworkModel:
    """`arrays.ServedModel` of one network.

    Args:
        name: of the model.
        module: the network, with its weights.
        told: name of an input -> its type and shape, as `FP32[-1,28,28]`.
        platform: what the protocol calls its kind.

    Raises:
        ModelFileError: its inputs are not told, or it fails on zeros of their shapes.
    """

    version = "1"
    allows_nan = False
    examples: Mapping[str, Json] = {}
    details: Mapping[str, Json] = {}

    def __init__(self, name: str, module: torch.nn.Module, told: Mapping[str, str], platform: str) -> None:
        self.name = name
        self.platform = platform
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
        self._module: Callable[..., Any] = module.eval()
        self.inputs = read_inputs(arguments(module), told)
        self.outputs, self.is_batched = learn_outputs(self.infer, self.inputs)

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """All outputs."""
        given = [as_torch(tensor, inputs[tensor.name]) for tensor in self.inputs]
        with torch.inference_mode():
            return named(self._module(*given))


def as_torch(tensor: Tensor, array: Array) -> torch.Tensor:
    """An input as the network takes it."""
    given = torch.from_numpy(np.require(array, None, ["C", "W"]))
    return given.bfloat16() if tensor.datatype == "BF16" else given


def arguments(module: torch.nn.Module) -> Mapping[str, bool]:
    """The arguments of a network's `forward` -> whether each must be given."""
    schema = getattr(module.forward, "schema", None)
    if schema is not None:
        return {one.name: not one.has_default_value() for one in schema.arguments[1:]}
    found = inspect.signature(module.forward).parameters.values()
    single = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {one.name: one.default is inspect.Parameter.empty for one in found if one.kind in single}


def read_inputs(wanted: Mapping[str, bool], told: Mapping[str, str]) -> list[Tensor]:
    """The inputs of a network, in the order in which it takes them.

    Args:
        wanted: its arguments -> whether each must be given.
        told: name of an input -> type and shape.

    Raises:
        ModelFileError: one is unknown, missing, or no tensor.
    """
    names = list(wanted)[: len(told)]
    example = "&".join(f"{name}=FP32[-1,3]" for name, is_needed in wanted.items() if is_needed)
    fix = f"Say type and shape of each input, -1 for an axis of any size: ?{example}"
    if set(names) != set(told) or any(wanted[name] for name in wanted.keys() - set(names)):
        raise ModelFileError(
            f"The network takes {', '.join(wanted)}, and it is told of {', '.join(told) or 'none'}", fix=fix
        )
    return [read_tensor(name, told[name], fix) for name in names]


def read_tensor(name: str, text: str, fix: str) -> Tensor:
    """A tensor from `FP32[-1,28,28]`."""
    match = SHAPE.fullmatch(text)
    sizes = [int(size) for size in match[2].split(",")] if match else []
    if match is None or match[1] not in DATATYPES or match[1] == "BYTES" or any(n < 1 and n != -1 for n in sizes):
        raise ModelFileError(f"The input {name!r} cannot be {clip(text, 80)!r}", fix=fix)
    return Tensor(name, match[1], sizes)


def named(found: Any) -> dict[str, Array]:
    """What a network returned, as named arrays: a tensor, several of them, or a mapping.

    Raises:
        TypeError: something else.
    """
    if isinstance(found, torch.Tensor):
        return {"output": to_numpy(found)}
    if isinstance(found, Mapping):
        return {str(name): to_numpy(one) for name, one in found.items()}
    if isinstance(found, Sequence) and not isinstance(found, str):
        names = getattr(found, "_fields", None) or [f"output_{number}" for number in range(len(found))]
        return {name: to_numpy(one) for name, one in zip(names, found, strict=True)}
    raise TypeError(f"the network returns a {type(found).__name__}, not tensors")


def to_numpy(tensor: Any) -> Array:
    """A tensor's values; of a type that numpy does not know, as float32."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"the network returns a {type(tensor).__name__} where a tensor should be")
    is_known = str(tensor.dtype).removeprefix("torch.") in KNOWN
    found: Array = (tensor if is_known else tensor.float()).numpy(force=True)
    return found


KNOWN = frozenset(
    ("bool", "float16", "float32", "float64", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
)
