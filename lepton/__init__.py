"""Lepton, the AI cloud you own: submit a job, get a result, on the machines you have."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lepton.core import __version__

if TYPE_CHECKING:
    from lepton.engine.current import context
    from lepton.sdk.artifacts import Dataset, Model, Version
    from lepton.sdk.client import AsyncClient, Client, connect, connect_async
    from lepton.sdk.endpoints import Endpoint
    from lepton.sdk.function import job
    from lepton.sdk.jobs import Job

EXPORTS = {
    "AsyncClient": "lepton.sdk.client",
    "Client": "lepton.sdk.client",
    "Dataset": "lepton.sdk.artifacts",
    "Endpoint": "lepton.sdk.endpoints",
    "Job": "lepton.sdk.jobs",
    "Model": "lepton.sdk.artifacts",
    "Version": "lepton.sdk.artifacts",
    "connect": "lepton.sdk.client",
    "connect_async": "lepton.sdk.client",
    "context": "lepton.engine.current",
    "job": "lepton.sdk.function",
}
"""Name -> module it is opened from when it is first used, so that `import lepton` costs next to nothing."""

__all__ = [
    "AsyncClient",
    "Client",
    "Dataset",
    "Endpoint",
    "Job",
    "Model",
    "Version",
    "__version__",
    "connect",
    "connect_async",
    "context",
    "job",
]


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module 'lepton' has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
