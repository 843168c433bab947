"""gRPC over the streams of an HTTP/2 connection: which kind of call a request is, by its method."""

from collections.abc import Mapping

from lepton.serve.protocols.grpc import health
from lepton.serve.protocols.grpc.streamed import INFER, Reflected, Streamed
from lepton.serve.protocols.grpc.unary import Foreign, Unary
from lepton.serve.protocols.http2.connection import Http2
from lepton.serve.protocols.http2.stream import Opened, Stream
from lepton.serve.protocols.inference.operations import REFLECTION, SERVICE

STREAMS: Mapping[bytes, tuple[type[Streamed], bytes]] = {
    f"{SERVICE}ModelStreamInfer".encode(): (Streamed, INFER),
    REFLECTION.encode(): (Reflected, REFLECTION.encode()),
    REFLECTION.replace(".v1.", ".v1alpha.").encode(): (Reflected, REFLECTION.encode()),
}
"""Method -> what its stream is, and the method that answers each of its messages."""


def open_stream(connection: Http2, number: int, opened: Opened) -> Stream:
    """The stream of a request, by its method."""
    if opened.method != b"POST" or not opened.media.startswith(b"application/grpc"):
        return Foreign(connection, number, opened)
    named = b"/" + opened.endpoint + opened.path if opened.endpoint else opened.path
    desk, path, _ = connection.lobby.lead(named, opened.host)
    if path in STREAMS:
        kind, method = STREAMS[path]
        return kind(connection, number, opened, desk, method)
    if path == health.WATCH:
        return health.Watch(connection, number, opened, lambda: connection.lobby.lead(named, opened.host)[0])
    return Unary(connection, number, opened, desk, path)
