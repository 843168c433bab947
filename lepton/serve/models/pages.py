"""How the documentation shows a model of named tensors: its paths, as OpenAPI has them. Pure."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from lepton.serve.models.arrays import ServedModel
from lepton.serve.openapi import REFUSED, refusals
from lepton.serve.protocols.inference.tensors import Tensor, TensorModel

JSON_TYPES = {"BOOL": "boolean", "BYTES": "string", "FP16": "number", "FP32": "number", "FP64": "number"}
"""Datatype -> type in JSON; the others are whole numbers."""
MOST_SHOWN = 256
"""Elements of an example."""
BINARY = {"schema": {"type": "string", "format": "binary"}}


def tensor_paths(model: ServedModel) -> dict[str, dict[str, Any]]:
    """Path -> method -> operation, of a model of named tensors."""
    return {"/predict": {"post": _predict(model)}, **protocol_paths(model, model.examples)}


def row_paths(model: TensorModel) -> dict[str, dict[str, Any]]:
    """The same of a model version: rows in, what it says of each out."""
    rows = model.inputs[0]
    inputs = schema_of(rows) | ({"examples": [example(rows, {})]} if _count(rows) <= MOST_SHOWN else {})
    body = {"application/json": {"schema": _object({"inputs": inputs})}}
    body |= {f"application/{kind}": BINARY for kind in ("x-npy", "octet-stream", "msgpack")}
    answer = _object({"outputs": {"type": "array", "items": {}}, "model": {"type": "object"}})
    return {"/predict": {"post": _operation("What it says of each row", answer, body)}, **protocol_paths(model, {})}


def protocol_paths(model: TensorModel, examples: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The same of the Open Inference Protocol.

    Args:
        examples: name of an input -> one row of it.
    """
    place = f"/v2/models/{model.name}"
    return {
        place: {"get": _operation("Inputs and outputs, by the Open Inference Protocol", {"type": "object"})},
        f"{place}/infer": {"post": _infer(model, examples)},
    }


def _operation(summary: str, answer: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer", "content": {"application/json": {"schema": answer}}},
            **refusals(REFUSED),
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def _predict(model: ServedModel) -> dict[str, Any]:
    inputs = _named(model.inputs)
    if all(_count(tensor) <= MOST_SHOWN for tensor in model.inputs):
        inputs["examples"] = [{tensor.name: example(tensor, model.examples) for tensor in model.inputs}]
    body: dict[str, Any] = {"application/json": {"schema": _object({"inputs": inputs})}}
    if len(model.inputs) == 1:
        body |= {f"application/{kind}": BINARY for kind in ("x-npy", "octet-stream")}
    body["application/msgpack"] = BINARY
    return _operation("Outputs for inputs, row by row", _object({"outputs": _named(model.outputs)}), body)


def _infer(model: TensorModel, examples: Mapping[str, Any]) -> dict[str, Any]:
    shown = [tensor for tensor in model.inputs if _count(tensor) <= MOST_SHOWN]
    inputs = [
        {**tensor._asdict(), "shape": [max(1, size) for size in tensor.shape], "data": example(tensor, examples)}
        for tensor in shown
    ]
    schema: dict[str, Any] = {"type": "object", "required": ["inputs"], "examples": [{"inputs": inputs}]}
    return _operation(
        "The same by the Open Inference Protocol", {"type": "object"}, {"application/json": {"schema": schema}}
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _named(tensors: Sequence[Tensor]) -> dict[str, Any]:
    return _object({tensor.name: schema_of(tensor) for tensor in tensors})


def schema_of(tensor: Tensor) -> dict[str, Any]:
    """JSON schema of nested lists."""
    schema: dict[str, Any] = {"type": JSON_TYPES.get(tensor.datatype, "integer")}
    for size in reversed(tensor.shape):
        schema = {"type": "array", "items": schema}
        if size != -1:
            schema |= {"minItems": size, "maxItems": size}
    return {**schema, "description": f"{tensor.datatype} of shape {list(tensor.shape)}; -1 is any size"}


def _count(tensor: Tensor) -> int:
    return prod(max(1, size) for size in tensor.shape)


def example(tensor: Tensor, examples: Mapping[str, Any]) -> Any:
    """Nested lists that fit."""
    if tensor.name in examples:
        return [examples[tensor.name]]
    value: Any = {"BOOL": True, "BYTES": "text"}.get(tensor.datatype, 1)
    for size in reversed(tensor.shape):
        value = [value] * max(1, size)
    return value
