"""Where the Open Inference Protocol is asked: its paths, over REST and gRPC, as operations. Standard library only."""

from importlib.util import find_spec
from typing import Any

from lepton.serve.answers import INFERENCE_FORM
from lepton.serve.routes import INFERENCE, Operation

MODELS = "/v2/models/"
SERVICE = "/inference.GRPCInferenceService/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
RPCS = (
    *("ModelInfer", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ServerMetadata"),
    *("RepositoryIndex", "ServerReflection"),
)
"""What a worker answers of gRPC: methods of its service, and each message of a reflection. The front knows about
`ServerLive`, `ServerReady`, health and streams."""
FIRST_STATISTICS = INFERENCE + 3
FIRST_RPC = 0xFF00
"""Far from the numbers that a program gives its own operations."""


STATISTICS = ("/v2/models/stats", "/v2/models/{name}/stats", "/v2/models/{name}/versions/{version}/stats")


def statistics(first: int) -> list[Operation]:
    """Of all models, of one, of one version."""
    return [_asked(first + number, path, methods=("GET",), is_headed=True) for number, path in enumerate(STATISTICS)]


def rest(first: int) -> list[Operation]:
    """The server, its models, the list of them."""
    about = _asked(first, "/v2", methods=("GET",))
    models = _asked(first + 1, MODELS, methods=("GET", "POST"), is_prefix=True, is_headed=True)
    return [about, models, _asked(first + 2, "/v2/repository/index")]


def _asked(number: int, path: str, **more: Any) -> Operation:
    return Operation(id=number, path=path, is_repeatable=True, has_body=False, form=INFERENCE_FORM, **more)


def rpcs(first: int) -> list[Operation]:
    """The gRPC methods, in the order of `RPCS`; the body of each is its message."""
    return [
        Operation(id=first + number, path=path_of(name), is_repeatable=True, has_body=False)
        for number, name in enumerate(RPCS)
    ]


def path_of(name: str) -> str:
    """Where one of `RPCS` is asked."""
    return REFLECTION if name == "ServerReflection" else SERVICE + name


RPC = FIRST_RPC + RPCS.index("ModelStatistics")
COUNTED = (*range(FIRST_STATISTICS, FIRST_STATISTICS + len(STATISTICS)), RPC)
"""Operations that ask for statistics."""


def of(number: int) -> Operation:
    """The operation of that number, one of `COUNTED`."""
    found = [*statistics(FIRST_STATISTICS), *rpcs(FIRST_RPC)]
    return next(one for one in found if one.id == number)


def has_protobuf() -> bool:
    """Whether messages of gRPC can be read here."""
    return find_spec("google") is not None and find_spec("google.protobuf") is not None
