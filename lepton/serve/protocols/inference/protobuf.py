"""Requests and answers of the Open Inference Protocol as protobuf messages, the bodies of its gRPC methods. Pure.

Tensors come as `raw_input_contents` or as typed `contents`, and go out as `raw_output_contents`: clients in use read
both, and raw bytes cost least.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from lepton.core.errors import InvalidError, clip
from lepton.serve.protocols.inference.rest import once
from lepton.serve.protocols.inference.schema import messages
from lepton.serve.protocols.inference.tensors import Array, TensorModel
from lepton.serve.protocols.inference.values import datatype_of, from_raw, from_values, to_raw

CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the field of `InferTensorContents` that holds its values; FP16 and BF16 have none."""
FINAL, WANTS_FINAL = "triton_final_response", "triton_enable_empty_final_response"


def read_message(name: str, body: bytes) -> Any:
    """The message of that name.

    Raises:
        InvalidError: the bytes are none.
    """
    try:
        return messages()[name].FromString(body)
    except DecodeError as fault:
        raise InvalidError(f"The body is no {name}: {clip(str(fault))}", fix="Send that message.") from None


def read_inputs(message: Any) -> Mapping[str, Array]:
    """The tensors of a `ModelInferRequest`.

    Raises:
        InvalidError: its tensors cannot be read.
    """
    raw: Sequence[bytes] = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidError(
            f"There are {len(message.inputs)} inputs and {len(raw)} raw_input_contents", fix="Give one for each input."
        )
    inputs: dict[str, Array] = {}
    for number, told in enumerate(message.inputs):
        once(told.name, inputs, "input")
        inputs[told.name] = _read_tensor(told, raw[number] if raw else None)
    return inputs


def _read_tensor(told: Any, raw: bytes | None) -> Array:
    datatype, shape = told.datatype, list(told.shape)
    if told.parameters and "shared_memory_region" in told.parameters:
        raise InvalidError(f"{clip(told.name, 80)} is in shared memory", fix="Send its values in the message.")
    if raw is not None:
        if told.HasField("contents"):
            raise InvalidError(f"{clip(told.name, 80)} has contents, and raw ones", fix="Send one of them.")
        return from_raw(memoryview(raw), datatype, shape)
    field = CONTENTS.get(datatype)
    if field is None:
        raise InvalidError(f"{clip(datatype, 40)} has no typed contents", fix="Send raw_input_contents.")
    return from_values(list(getattr(told.contents, field)), datatype, shape)


def write_infer(model: TensorModel, asked: Any, outputs: Mapping[str, Array]) -> bytes:
    """The `ModelInferResponse` to a `ModelInferRequest`.

    Raises:
        InvalidError: an output is wanted that the model does not have.
    """
    answer = messages()["ModelInferResponse"](model_name=asked.model_name, model_version=model.version, id=asked.id)
    told: set[str] = set()
    for name in [one.name for one in asked.outputs] or outputs:
        once(name, told, "output")
        told.add(name)
        if name not in outputs:
            raise InvalidError(f"The model has no output {clip(name, 80)!r}", fix=f"It has {', '.join(outputs)}.")
        array = outputs[name]
        answer.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        answer.raw_output_contents.append(to_raw(array))
    if asked.parameters and WANTS_FINAL in asked.parameters:
        answer.parameters[FINAL].bool_param = True
    return bytes(answer.SerializeToString())


def write(name: str, fields: Mapping[str, Any]) -> bytes:
    """The bytes of the message of that name."""
    return bytes(messages()[name](**fields).SerializeToString())
