"""Where the Open Inference Protocol is asked: its paths, over REST and gRPC, as operations. Standard library only."""

from importlib.util import find_spec

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
    return [
        Operation(id=first + number, path=path, methods=("GET",), is_headed=True, is_repeatable=True, has_body=False)
        for number, path in enumerate(STATISTICS)
    ]


def rest(first: int) -> list[Operation]:
    """The server, its models, the list of them."""
    about = Operation(id=first, path="/v2", methods=("GET",), has_body=False, is_repeatable=True)
    models = Operation(
        id=first + 1,
        path=MODELS,
        methods=("GET", "POST"),
        is_prefix=True,
        is_headed=True,
        is_repeatable=True,
        has_body=False,
    )
    index = Operation(id=first + 2, path="/v2/repository/index", is_repeatable=True, has_body=False)
    return [about, models, index]


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
