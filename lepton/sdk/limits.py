"""Within which limits an endpoint serves: what a user may say of them, and what stays when it is changed. Pure."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

from lepton.core.errors import InvalidError
from lepton.core.size import read_size
from lepton.sdk.declared import Unread
from lepton.sdk.options import StandingOptions

SERVED = ("model", "code", "entry", "is_front", "preload", "requirements")
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
    """Requests a second of each user, whatever tokens, or where none is needed of each address; 0: any number."""
    burst: int
    """Of them at once; 0: as many as in one second."""
    quota_per_day: int
    """Requests a day (of UTC) of each user or address; 0: any number."""
    max_connections: int
    """Of clients at one time, idle ones included; 4096 unless given."""
    max_held_bytes: int
    """Of requests that the front keeps at one time; 256 MiB unless given."""
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
    """A request that has no answer after so many milliseconds gets a 504; 30 000 unless given."""
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
    requirements: list[str]
    """What its code needs beyond Lepton, as pip's requirements; nothing is installed: a worker that lacks one does not
    start, and says so."""
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
    max_connections: int
    """Of clients at one time, idle ones included; 4096 unless given."""
    max_held_bytes: int
    """Of requests that the front keeps at one time; 256 MiB unless given."""
    allow: list[str]
    """Networks whose addresses may connect, e.g. 10.0.0.0/8; none: every one."""
    tls_cert: str
    """Path, where the front runs, of the certificate chain in PEM; with `tls_key` it speaks TLS only."""
    tls_key: str
    """Path, there too, of its private key in PEM."""
    front_cpu_milli: int
    """Of its process, in thousandths of a CPU; 100 unless given."""


class Wish(NamedTuple):
    """An attribute of a service's class that becomes a limit."""

    field: str
    read: Callable[[Any], Any]
    """The limit; None: it is none. Raises ValueError or TypeError for what cannot be."""
    example: str
    flag: str = ""
    """Of the command line, instead."""


def class_limits(wishes: Mapping[str, Any], said: Collection[str] = ()) -> dict[str, Any]:
    """The limits that a service's class asks for.

    Args:
        wishes: what it declares; an `Unread` where that cannot be read.
        said: limits that somebody gives beside it, which count instead.

    Raises:
        InvalidError: it declares what cannot be, or cannot be read; the message names it.
    """
    found: dict[str, Any] = {}
    for name, wish in WISHES.items():
        value = wishes.get(name)
        if value is None or value in ("", ()) or wish.field in said:
            continue
        example = f"Write a plain value, e.g. {name} = {wish.example}" + (
            f", or give {wish.flag}." if wish.flag else "."
        )
        if isinstance(value, Unread):
            raise value.fault(name, fix=example)
        try:
            limit = wish.read(value)
        except (ValueError, TypeError, OverflowError):
            raise InvalidError(f"{name} = {value!r} of the class cannot be", fix=example) from None
        if limit:
            found[wish.field] = [*found.get(wish.field, ()), *limit] if isinstance(limit, list) else limit
    return found


def _whole(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("no count")
    return value


def _milli(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("no amount")
    return round(value * 1000)


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("no size")
    return read_size(str(value))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise ValueError("no list")
    return list(value)


WISHES = {
    "replicas": Wish("replicas", _whole, "2", "--replicas"),
    "cpus": Wish("worker_cpu_milli", _milli, "0.5", "--cpus"),
    "gpus": Wish("worker_gpu_milli", _milli, "1", "--gpus"),
    "memory": Wish("worker_memory_bytes", _bytes, '"2 GiB"', "--memory"),
    "preload": Wish("preload", _texts, '("torch",)', "--preload"),
    "requirements": Wish("requirements", _texts, '("scikit-learn>=1.5",)'),
    "requirement_dependency": Wish("requirements", _texts, '["scikit-learn>=1.5"]'),
}
"""Attribute -> what it becomes."""


def kept(before: Mapping[str, Any], body: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """What an endpoint shall be: as it is, but for what is served and what was said.

    Args:
        before: its wish so far.
        body: what it shall serve, with what its class asks for.
        limits: what was said.
    """
    front = limits.get("front", before.get("front"))
    foreign = OF_FRONTS if front else OF_SHARED
    said = [name for name in before.get("said", ()) if name not in foreign]
    gone = {*SERVED, *foreign, *before.get("asked", ()), "said", "asked"} - {"replicas"}
    same = {name: value for name, value in before.items() if name not in gone or name in said}
    asked = {name: value for name, value in body.items() if name != "replicas" and name not in said}
    named = {"said": sorted({*said, *limits}), "asked": sorted({*body.get("asked", ())} - {*said})}
    return {**same, **asked, **limits, **named}
