"""From a network to an ONNX graph, node by node. The recipe is part of the graph: it takes raw 8-bit pixels.

Written out rather than traced: it takes milliseconds (torch's exporter needs 6 s), equal weights give equal bytes, and
nothing but the `onnx` package is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from lepton.core.errors import InvalidError
from lepton.vault.recipe import Recipe

OPSET = 17
IR_VERSION = 8
INPUT, OUTPUT = "pixels", "scores"

Layer = Mapping[str, Any]
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(slots=True)
class _Draft:
    """The graph so far: `last` is the value that the next node takes."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    last: str = INPUT

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> None:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *inputs], [name], name=name, **attributes))
        self.last = name


def build_graph(layers: Sequence[Layer], weights: Weights, recipe: Recipe) -> bytes:
    """The ONNX model: `pixels` uint8 (batch, H, W) -> `scores` float32 (batch, classes).

    Raises:
        InvalidError: a layer has no form in ONNX here.
    """
    draft = _Draft()
    _prepare(draft, recipe)
    for number, layer in enumerate(layers):
        if layer["kind"] not in WRITERS:
            raise InvalidError(f"A layer of the kind {layer['kind']!r} cannot be exported", fix="Use another layer.")
        WRITERS[layer["kind"]](draft, layer, number, weights)
    draft.nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        draft.nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", recipe.height, recipe.width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", len(recipe.classes)])],
        draft.constants,
    )
    model = helper.make_model(graph, producer_name="lepton", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _prepare(draft: _Draft, recipe: Recipe) -> None:
    """`(pixels / 255 - mean) / std`, as one multiplication and one addition, with a channel axis."""
    scale = np.float32(1 / (255 * recipe.std))
    draft.node("Cast", to=TensorProto.FLOAT)
    draft.node("Unsqueeze", draft.constant("channel_axis", np.array([1], np.int64)))
    draft.node("Mul", draft.constant("scale", np.array(scale)))
    draft.node("Add", draft.constant("offset", np.array(np.float32(-recipe.mean / recipe.std))))


def _conv(draft: _Draft, layer: Layer, number: int, weights: Weights) -> None:
    kernel = draft.constant(f"{number}.weight", weights[f"{number}.weight"])
    bias = draft.constant(f"{number}.bias", weights[f"{number}.bias"])
    draft.node(
        "Conv",
        kernel,
        bias,
        kernel_shape=[layer["kernel"]] * 2,
        strides=[layer["stride"]] * 2,
        pads=[layer["padding"]] * 4,
    )


def _linear(draft: _Draft, layer: Layer, number: int, weights: Weights) -> None:
    draft.node("MatMul", draft.constant(f"{number}.weight", weights[f"{number}.weight"].T))
    draft.node("Add", draft.constant(f"{number}.bias", weights[f"{number}.bias"]))


def _maxpool(draft: _Draft, layer: Layer, number: int, weights: Weights) -> None:
    draft.node("MaxPool", kernel_shape=[layer["size"]] * 2, strides=[layer["size"]] * 2)


WRITERS: Mapping[str, Callable[[_Draft, Layer, int, Weights], None]] = {
    "conv": _conv,
    "linear": _linear,
    "maxpool": _maxpool,
    "relu": lambda draft, layer, number, weights: draft.node("Relu"),
    "flatten": lambda draft, layer, number, weights: draft.node("Flatten", axis=1),
}
