"""Where the Open Inference Protocol is asked: its paths, over REST and gRPC, as operations. Standard library only."""

from importlib.util import find_spec

from lepton.serve.routes import INFERENCE, Operation

MODELS = "/v2/models/"
SERVICE = "/inference.GRPCInferenceService/"
RPCS = ("ModelInfer", "ModelReady", "ModelMetadata", "ModelConfig", "ServerMetadata", "RepositoryIndex")
"""Methods of the gRPC service that a worker answers; the front knows about `ServerLive`, `ServerReady` and streams."""
FIRST_RPC = INFERENCE + 3


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
        Operation(id=first + number, path=SERVICE + name, is_repeatable=True, has_body=False)
        for number, name in enumerate(RPCS)
    ]


def has_protobuf() -> bool:
    """Whether messages of gRPC can be read here."""
    return find_spec("google") is not None and find_spec("google.protobuf") is not None
