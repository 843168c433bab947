"""Within which limits an endpoint serves: what a user may say of them, and what stays when it is changed. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

from lepton.core.errors import InvalidError
from lepton.core.size import read_size
from lepton.sdk.options import StandingOptions

SERVED = ("model", "code", "entry", "is_front", "preload")
"""What of a wish is of what is served; the rest are limits."""
OF_FRONTS = ("host", "port", "allow", "tls_cert", "tls_key")
"""Limits that an endpoint has only with a front of its own."""
OF_SHARED = ("hosts",)
"""Those that it has only with one that it shares."""


class EndpointOptions(StandingOptions, total=False):
    """Limits of an endpoint."""

    replicas: int
    """Worker processes, each with the model loaded; 1 unless given."""
    host: str
    """Address to listen on; loopback unless given."""
    front: str
    """Name or id of a front that it shares with others, see `Serve.front`; none: it has one of its own."""
    hosts: list[str]
    """Names by which clients of that front may ask for it, besides the path `/<its name>/`."""
    port: int
    """0, the default: any free port."""
    max_batch: int
    """Most requests that a worker computes together; 32 unless given."""
    rate_per_s: int
    """Requests a second of each token, or where none is needed of each address; 0: any number."""
    burst: int
    """Of them at once; 0: as many as in one second."""
    quota_per_day: int
    """Requests a day (of UTC) of each token or address; 0: any number."""
    allow: list[str]
    """Networks whose addresses may connect, e.g. 10.0.0.0/8; none: every one."""
    tls_cert: str
    """Path, where the front runs, of the certificate chain in PEM; with `tls_key` the endpoint speaks TLS only."""
    tls_key: str
    """Path, there too, of its private key in PEM."""
    jwt_issuer: str
    """Another issuer whose signed tokens are taken beside the platform's, by its `iss`; with the next two."""
    jwt_audience: str
    """The `aud` that they must have."""
    jwt_keys: str
    """Its public keys, a JWKS: an https URL, or a path where the endpoint runs."""
    batch_ms: int
    """Most work in one batch, in milliseconds, by the cost that is fitted while it serves; 100."""
    deadline_ms: int
    """A request that has no answer after so many milliseconds gets a 504; 5000 unless given."""
    max_body_bytes: int
    """Largest request; 8 MiB unless given."""
    capture_rows: int
    """How many inputs are sampled for drift checks; 0: none; 500 unless given."""
    front_cpu_milli: int
    """Of the front process, in thousandths of a CPU; 100 unless given."""
    isolation: Literal["", "own", "closed"]
    """`closed`: the replicas see only programs, libraries and what is their own, as `.photon` files do."""
    preload: list[str]
    """Modules that every replica imports anyway, e.g. torch: a new replica then starts warm and shares their memory."""
    worker_cpu_milli: int
    """Of each worker, in thousandths of a CPU; 500 unless given, and a thread for each whole CPU."""
    worker_gpu_milli: int
    """Of each worker, in thousandths of a GPU; none unless given."""
    worker_memory_bytes: int
    """Most that each worker may use: one that uses more is ended and replaced; 0, the default: no limit."""


class FrontOptions(StandingOptions, total=False):
    """Of a front that several endpoints share."""

    host: str
    """Address to listen on; loopback unless given."""
    port: int
    """0, the default: any free port."""
    allow: list[str]
    """Networks whose addresses may connect, e.g. 10.0.0.0/8; none: every one."""
    tls_cert: str
    """Path, where the front runs, of the certificate chain in PEM; with `tls_key` it speaks TLS only."""
    tls_key: str
    """Path, there too, of its private key in PEM."""
    front_cpu_milli: int
    """Of its process, in thousandths of a CPU; 100 unless given."""


def class_limits(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a service's class asks for.

    Raises:
        InvalidError: its `memory` is no size.
    """
    found: dict[str, Any] = {}
    if isinstance(wishes.get("replicas"), int):
        found["replicas"] = wishes["replicas"]
    if isinstance(wishes.get("cpus"), int | float):
        found["worker_cpu_milli"] = round(wishes["cpus"] * 1000)
    if isinstance(wishes.get("gpus"), int | float) and wishes["gpus"]:
        found["worker_gpu_milli"] = round(wishes["gpus"] * 1000)
    if isinstance(wishes.get("memory"), str) and wishes["memory"]:
        found["worker_memory_bytes"] = _bytes(wishes["memory"])
    if isinstance(wishes.get("preload"), list | tuple):
        found["preload"] = list(wishes["preload"])
    return found


def _bytes(text: str) -> int:
    try:
        return read_size(text)
    except ValueError:
        raise InvalidError(f"memory = {text!r} of the class is no size", fix='Write e.g. memory = "2 GiB".') from None


def kept(before: Mapping[str, Any], body: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """What an endpoint shall be: as it is, but for what is served and what was said.

    Args:
        before: its wish so far.
        body: what it shall serve, with what its class asks for.
        limits: what was said.
    """
    front = limits.get("front", before.get("front"))
    gone = (*SERVED, *(OF_FRONTS if front else OF_SHARED))
    same = {name: value for name, value in before.items() if name not in gone}
    asked = {name: value for name, value in body.items() if name != "replicas"}
    return {**same, **asked, **limits}
