"""What a model says, in the form that its client wants: JSON or msgpack by name, a lone output also as npy or bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from lepton.serve import npy
from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.program import Reply
from lepton.serve.protocols.inference.tensors import Array
from lepton.serve.protocols.inference.values import to_raw


def write_outputs(call: Call, outputs: Mapping[str, Array], rows: int) -> Reply:
    """The answer that holds all outputs. What the wanted form cannot hold comes as JSON."""
    if call.wants in (Media.NPY, Media.OCTETS) and len(outputs) == 1:
        body = write_array(next(iter(outputs.values())), call.wants)
        if body is not None:
            return Reply(body, media=call.wants, rows=rows)
    plain = {name: plain_of(array) for name, array in outputs.items()}
    if (call.wants or call.media) == Media.MSGPACK:
        import msgpack  # noqa: PLC0415  only where such a body is wanted

        return Reply(msgpack.packb({"outputs": plain}, default=np.ndarray.tolist), media=Media.MSGPACK, rows=rows)
    return Reply(orjson.dumps({"outputs": plain}, option=orjson.OPT_SERIALIZE_NUMPY), rows=rows)


def write_array(array: Array, media: int) -> bytes | None:
    """An array as a file of numpy, or as its values in a row; None: it cannot be.

    Args:
        media: NPY or OCTETS.
    """
    is_text = array.dtype.kind in "SUO"
    if media == Media.NPY:
        return npy.write(np.array(plain_of(array)) if is_text else array)
    if not is_text:
        return to_raw(array)
    flat = array.ravel().tolist()
    only = flat[0] if len(flat) == 1 else None
    return only.encode() if isinstance(only, str) else only


def plain_of(array: Array) -> Any:
    """An array as what becomes nested lists in JSON."""
    if array.dtype.kind in "SUO":
        return _texts(array.tolist())
    return array.tolist() if array.dtype == np.float16 or not array.ndim else np.ascontiguousarray(array)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(one) for one in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
