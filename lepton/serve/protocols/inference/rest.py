"""Requests and answers of the Open Inference Protocol as JSON, with tensors in JSON or as raw bytes. Pure.

With `Inference-Header-Content-Length: N` the first N bytes are JSON, and the tensors follow in the order in which the
JSON names them, each as long as its parameter `binary_data_size` says: little-endian, row by row; BYTES elements each
behind their length in four bytes.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lepton.core.errors import InvalidError, clip
from lepton.serve.numbers import holds_truth
from lepton.serve.protocols.inference.tensors import Array, Tensor, TensorModel
from lepton.serve.protocols.inference.values import datatype_of, from_raw, from_values, is_bfloat16, to_raw

HEADER = "inference-header-content-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked."""

    id: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, bool | None]
    """Name of a wanted output -> whether as raw bytes, None: as `is_binary` says; empty: all."""
    is_binary: bool
    """Whether outputs of which nothing else is said are wanted as raw bytes."""


def read_request(body: bytes, head_bytes: int | None) -> Request:
    """A request from its bytes.

    Args:
        head_bytes: of the JSON at its begin; None: all is JSON.

    Raises:
        InvalidError: it is none.
    """
    if head_bytes is not None and not 0 <= head_bytes <= len(body):
        raise InvalidError(f"{HEADER} is {head_bytes}, the body has {len(body)} bytes", fix="Give the JSON's length.")
    try:
        plain = orjson.loads(body if head_bytes is None else body[:head_bytes])
        raw = memoryview(body)[len(body) if head_bytes is None else head_bytes :]
        inputs: dict[str, Array] = {}
        for one in plain["inputs"]:
            once(one["name"], inputs, "input")
            inputs[one["name"]], raw = _read_tensor(one, raw)
        outputs: dict[str, bool | None] = {}
        for one in plain.get("outputs") or ():
            once(one["name"], outputs, "output")
            outputs[one["name"]] = _truth(one, "binary_data")
        is_binary = bool(_truth(plain, "binary_data_output"))
        id = str(plain.get("id") or "")
    except InvalidError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as fault:
        what = f"lacks {fault}" if isinstance(fault, KeyError) else f"cannot be read: {fault}"
        raise InvalidError(f"The request {clip(what)}", fix="See the Open Inference Protocol, version 2.") from None
    if len(raw):
        raise InvalidError(f"{len(raw)} bytes follow the last tensor", fix="Check each binary_data_size.")
    return Request(id=id, inputs=inputs, outputs=outputs, is_binary=is_binary)


def _parameter(plain: Mapping[str, Any], name: str) -> Any:
    return (plain.get("parameters") or {}).get(name)


def _truth(plain: Mapping[str, Any], name: str) -> bool | None:
    told = _parameter(plain, name)
    if told is not None and type(told) is not bool:
        raise InvalidError(f"{name} is {clip(str(told), 40)}", fix="It is true or false.")
    return told


def once(name: str, known: Container[str], what: str) -> None:
    """See that an input or output is named once.

    Raises:
        InvalidError: it is among those that are known.
    """
    if name in known:
        raise InvalidError(f"The {what} {clip(str(name), 80)!r} is there twice", fix="Name each once.")


def _read_tensor(plain: Mapping[str, Any], raw: memoryview) -> tuple[Array, memoryview]:
    datatype, shape = plain["datatype"], plain["shape"]
    size = _parameter(plain, "binary_data_size")
    if size is None:
        data = plain["data"]
        if datatype not in ("BOOL", "BYTES") and holds_truth(data):
            raise InvalidError(f"The data hold true or false, not only {clip(str(datatype), 40)}", fix="Send numbers.")
        return from_values([_bytes(one) for one in _flat(data)] if datatype == "BYTES" else data, datatype, shape), raw
    if type(size) is not int or not 0 <= size <= len(raw):
        raise InvalidError(f"binary_data_size {size} is more than the {len(raw)} bytes left", fix="Check it.")
    return from_raw(raw[:size], datatype, shape), raw[size:]


def _flat(data: Any) -> list[Any]:
    return [one for part in data for one in _flat(part)] if isinstance(data, list) else [data]


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidError("BYTES in JSON are strings", fix="Send strings, or the tensor as raw bytes.")
    return value.encode()


def write_answer(
    model: TensorModel, name: str, asked: Request, outputs: Mapping[str, Array]
) -> tuple[bytes, int | None]:
    """An answer's bytes, and how many of them are JSON if not all.

    Args:
        name: by which the model was asked.

    Raises:
        InvalidError: an output is wanted that the model does not have.
    """
    wanted = asked.outputs or dict.fromkeys(outputs)
    told: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for output, is_binary in wanted.items():
        if output not in outputs:
            raise InvalidError(f"The model has no output {clip(output, 80)!r}", fix=f"It has {', '.join(outputs)}.")
        array = outputs[output]
        one: dict[str, Any] = {"name": output, "datatype": datatype_of(array), "shape": list(array.shape)}
        if asked.is_binary if is_binary is None else is_binary:
            raw.append(to_raw(array))
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = _plain(array)
        told.append(one)
    head = {"model_name": name, "model_version": model.version, "outputs": told}
    body = orjson.dumps({**head, "id": asked.id} if asked.id else head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([body, *raw]), len(body) if raw else None


def _plain(array: Array) -> Any:
    if array.dtype.kind in "SUO":
        return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in array.ravel()]
    return (
        array.ravel().tolist()
        if array.dtype == np.float16 or is_bfloat16(array)
        else np.ascontiguousarray(array).ravel()
    )


def metadata(model: TensorModel, name: str) -> dict[str, Any]:
    """What the protocol tells of a model that was asked by that name."""
    return {
        "name": name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [{**one._asdict(), "shape": list(one.shape)} for one in model.inputs],
        "outputs": [{**one._asdict(), "shape": list(one.shape)} for one in model.outputs],
    }


def config(model: TensorModel, name: str) -> dict[str, Any]:
    """What Triton's extension of the protocol tells of a model: shapes with the axis over rows, as in the metadata."""
    kinds = {"input": model.inputs, "output": model.outputs}
    told = {kind: [_configured(tensor) for tensor in tensors] for kind, tensors in kinds.items()}
    return {"name": name, "platform": model.platform, "max_batch_size": 0, **told}


def _configured(tensor: Tensor) -> dict[str, Any]:
    datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return {"name": tensor.name, "data_type": f"TYPE_{datatype}", "dims": list(tensor.shape)}
