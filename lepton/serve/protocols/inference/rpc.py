"""The Open Inference Protocol over gRPC, as a worker sees it: messages in, messages out; the front speaks HTTP/2."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from lepton.serve.calls import Call
from lepton.serve.faults import reply_for
from lepton.serve.frames import Media
from lepton.serve.program import Reply
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.dialect import SERVER, Asked, Models
from lepton.serve.protocols.inference.rest import config, metadata
from lepton.serve.protocols.inference.tensors import Array, TensorModel, rows_of
from lepton.serve.routes import Operation


class Rpc:
    """`dialect.Dialect` of gRPC.

    Args:
        first: number of its first operation.
    """

    def __init__(self, first: int) -> None:
        self._first = first

    def operations(self) -> Sequence[Operation]:
        """The methods; none where protobuf is not installed."""
        return operations.rpcs(self._first) if operations.has_protobuf() else ()

    def read(self, call: Call, models: Models) -> Asked | Reply:
        """What a message asks."""
        codec = self._codec
        name = operations.RPCS[call.operation - self._first]
        if name == "ServerReflection":
            from lepton.serve.protocols.inference.reflection import reflect  # noqa: PLC0415  few ask

            return plain(reflect(call.body))
        message = codec.read_message(f"{name}Request", call.body)
        if name == "ModelInfer":
            model = models.find(message.model_name, message.model_version)
            inputs = codec.read_inputs(message)
            return Asked(model, inputs, partial(self._answer, model, message, rows_of(model, inputs)))
        if name == "ServerMetadata":
            return plain(codec.write("ServerMetadataResponse", SERVER))
        if name == "RepositoryIndex":
            return plain(codec.write("RepositoryIndexResponse", {"models": models.index()}))
        model = models.find(message.name, message.version)
        if name == "ModelConfig":
            return plain(codec.write("ModelConfigResponse", {"config": config(model, message.name)}))
        told: Mapping[str, Any] = metadata(model, message.name) if name == "ModelMetadata" else {"ready": True}
        return plain(codec.write(f"{name}Response", told))

    @cached_property
    def _codec(self) -> Any:
        from lepton.serve.protocols.inference import protobuf  # noqa: PLC0415  only where such a body comes

        return protobuf

    def _answer(self, model: TensorModel, message: Any, rows: int, outputs: Mapping[str, Array]) -> Reply:
        """What was computed."""
        return Reply(self._codec.write_infer(model, message, outputs), media=Media.OCTETS, rows=rows)

    def refuse(self, fault: Exception) -> Reply:
        """An error of the platform, of which the front makes a status of gRPC."""
        return reply_for(fault)


def plain(body: bytes) -> Reply:
    """An answer for which nothing was computed."""
    return Reply(body, media=Media.OCTETS, rows=0)
