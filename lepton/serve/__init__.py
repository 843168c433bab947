"""Station 4: a model version or a service becomes an endpoint: one front process and its workers."""

from lepton.serve.conversation import WebSocket
from lepton.serve.cors import Cors
from lepton.serve.service import (
    Body,
    FileResponse,
    HTTPError,
    Request,
    Response,
    Service,
    Upload,
    handler,
)

__all__ = [
    "Body",
    "Cors",
    "FileResponse",
    "HTTPError",
    "Request",
    "Response",
    "Service",
    "Upload",
    "WebSocket",
    "handler",
]
