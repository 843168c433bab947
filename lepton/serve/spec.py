"""The wish for an endpoint: which model version is served, by how many workers, within which limits.

An endpoint has a front of its own, or shares one: a front is an endpoint that serves nothing itself (`is_front`), and
others name it (`front`). It takes from the front the address, TLS and the networks that may connect.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from lepton.core.errors import InvalidError, clip
from lepton.core.ids import is_id
from lepton.core.launch import Isolation
from lepton.core.resource import Json
from lepton.jobs.priority import USUAL, check_priority
from lepton.serve.allowance import read_network
from lepton.serve.entries import is_pickle

RANGES = {
    "replicas": (1, 64),
    "port": (0, 65_535),
    "max_batch": (1, 1024),
    "batch_ms": (1, 600_000),
    "deadline_ms": (10, 600_000),
    "max_body_bytes": (1024, 256 << 20),
    "max_connections": (16, 1_000_000),
    "max_held_bytes": (1 << 20, 1 << 44),
    "rate_per_s": (0, 1_000_000),
    "burst": (0, 1_000_000),
    "quota_per_day": (0, 1 << 40),
    "capture_rows": (0, 100_000),
    "front_cpu_milli": (50, 64_000),
    "worker_cpu_milli": (50, 256_000),
    "worker_gpu_milli": (0, 64_000),
    "worker_memory_bytes": (0, 1 << 44),
}
"""Field -> smallest and largest value."""
MAX_NETWORKS = MAX_HOSTS = 1000
MAX_PRELOAD = 16
MAX_REQUIREMENTS, MAX_REQUIREMENT = 200, 500
MAX_TEXT = 1000
KEY_PLACES = ("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:", "/")
"""How the place of an issuer's keys begins: over a network they travel by TLS."""
HOST = re.compile(r"(?!.*\.\.)[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
LISTS = ("allow", "hosts", "preload", "requirements", "said", "asked")
FRONTS = ("host", "port", "max_connections", "max_held_bytes", "allow", "tls_cert", "tls_key")
"""Fields that belong to the front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """What a user asks of an endpoint."""

    model: str = ""
    """Id of the model version; or instead of it `code` and `entry`."""
    code: str = ""
    """Id of the version that holds a service's files."""
    entry: str = ""
    """Where in them it is: `file.py:Class`."""
    is_front: bool = False
    """It serves nothing itself: others answer through it."""
    front: str = ""
    """Id of the front that it shares; empty: it has one of its own."""
    hosts: tuple[str, ...] = ()
    """Names by which clients of a shared front may ask for it; its path there is `/<its name>/` in any case."""
    preload: tuple[str, ...] = ()
    """Modules that every replica imports anyway: loaded once, so a new replica starts warm and shares their memory."""
    requirements: tuple[str, ...] = ()
    """What its code needs, as pip's requirements: a worker that lacks one does not start."""
    isolation: str = ""
    """How the workers are held: `own` or `closed`. Empty: closed for what is a pickle, always; own for all else."""
    queue: str = ""
    """Where its job waits for its places; empty: the one of all who name none."""
    priority: str = USUAL
    """Of its job: who has a higher one may take its places."""
    replicas: int = 1
    """Worker processes, each with the model loaded."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    max_batch: int = 32
    """Most requests that a worker computes together."""
    batch_ms: int = 100
    """Most work in one batch, by the cost that is fitted while it serves."""
    deadline_ms: int = 30_000
    """A request that has no answer after this long gets a 504."""
    max_body_bytes: int = 8 << 20
    max_connections: int = 4096
    """Of clients at one time, idle ones included; who is one too many gets a 503."""
    max_held_bytes: int = 256 << 20
    """Of requests that the front keeps: arriving, waiting, and until they are answered. What finds no place is not read
    for a while, and then gets a 503."""
    rate_per_s: int = 0
    """Requests a second of each user, whatever tokens, or where none is needed of each address; 0: any number."""
    burst: int = 0
    """Of them at once; 0: as many as in one second."""
    quota_per_day: int = 0
    """Requests a day (of UTC) of each user or address; 0: any number."""
    allow: tuple[str, ...] = ()
    """Networks whose addresses may connect, e.g. 10.0.0.0/8; none: every one."""
    tls_cert: str = ""
    """Path, where the front runs, of the certificate chain in PEM; with `tls_key` the endpoint speaks TLS only."""
    tls_key: str = ""
    jwt_issuer: str = ""
    """Another issuer whose signed tokens are taken beside the platform's, by its `iss`; with the next two."""
    jwt_audience: str = ""
    """The `aud` that they must have."""
    jwt_keys: str = ""
    """Its public keys, a JWKS: an https URL, or a path where the front runs."""
    capture_rows: int = 500
    """How many inputs each worker samples for one `capture` version; 0: none."""
    front_cpu_milli: int = 100
    worker_cpu_milli: int = 500
    """Of each worker; from 2000 on its model computes with that many threads."""
    worker_gpu_milli: int = 0
    """Of each worker, in thousandths of a GPU."""
    worker_memory_bytes: int = 0
    """Most that a worker may use, with all that it has started; one that uses more is replaced. 0: no limit."""
    said: tuple[str, ...] = ()
    """Names of those of these limits that somebody gave: they stay when what is served changes, and count before what
    its class asks for."""
    asked: tuple[str, ...] = ()
    """Names of those that the class of what is served asks for: they go with it."""

    def __post_init__(self) -> None:
        self._check_served()
        self._check_shared()
        self._check_issuer()
        self._check_origins()
        check_priority(self.priority)
        if len(self.preload) > MAX_PRELOAD or not all(map(is_module, self.preload)):
            raise InvalidError("`preload` is no list of modules", fix=f"Give up to {MAX_PRELOAD}, e.g. torch.")
        if len(self.requirements) > MAX_REQUIREMENTS or not all(map(is_line, self.requirements)):
            raise InvalidError(
                "`requirements` is no list of pip's requirements", fix='Give some like "scikit-learn>=1.5".'
            )
        if not isinstance(self.host, str) or not 1 <= len(self.host) <= 253 or not self.host.isprintable():
            raise InvalidError(f"{str(self.host)[:80]!r} is not a host", fix="Give an address of this machine.")
        if self.isolation not in ("", Isolation.OWN, Isolation.CLOSED):
            raise InvalidError(f"There is no isolation {str(self.isolation)[:80]!r}", fix="Give own or closed.")
        if self.isolation == Isolation.OWN and is_pickle(self.entry):
            raise InvalidError(
                "A .photon is a pickle, which runs what its maker wants", fix="Leave isolation out: closed."
            )
        self._check_tls()
        if len(self.allow) > MAX_NETWORKS:
            raise InvalidError("`allow` is no list of networks", fix=f"Give up to {MAX_NETWORKS}, e.g. 10.0.0.0/8.")
        for network in self.allow:
            read_network(str(network))
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidError(f"{name} cannot be {str(value)[:80]}", fix=f"Give a whole number, {low} to {high}.")

    def _check_tls(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InvalidError("TLS needs a certificate and its key", fix="Give both `tls_cert` and `tls_key`.")
        for path in filter(None, (self.tls_cert, self.tls_key)):
            if not str(path).startswith("/"):
                raise InvalidError(
                    f"{clip(str(path))!r} is no whole path", fix="The front runs elsewhere: begin with /."
                )

    def _check_served(self) -> None:
        if self.is_front and (self.model or self.code or self.entry):
            raise InvalidError("A front serves nothing itself", fix="Leave out `model`, `code` and `entry`.")
        is_whole = bool(self.model) != bool(self.code) and bool(self.code) == bool(self.entry)
        if not self.is_front and not is_whole:
            raise InvalidError("An endpoint serves a model or a service", fix="Give `model`, or `code` and `entry`.")
        for id in filter(None, (self.model, self.code)):
            if not isinstance(id, str) or not is_id(id):
                raise InvalidError(f"{str(id)[:80]!r} is not a version id", fix="Give the id of a version, ver_....")

    def _check_origins(self) -> None:
        if not set(self.said + self.asked) <= DEFAULTS.keys():
            raise InvalidError("`said` and `asked` are no lists of limits", fix="Leave them out.")

    def _check_issuer(self) -> None:
        told = (self.jwt_issuer, self.jwt_audience, self.jwt_keys)
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable() for text in told):
            raise InvalidError("An issuer is no text", fix=f"Give up to {MAX_TEXT} characters.")
        if any(told) != all(told):
            raise InvalidError(
                "An issuer needs three things", fix="Give `jwt_issuer`, `jwt_audience` and `jwt_keys` together."
            )
        if self.jwt_keys and not self.jwt_keys.startswith(KEY_PLACES):
            raise InvalidError(
                f"{self.jwt_keys[:80]!r} is no place of keys", fix="Give https://... or a path that begins with /."
            )

    def _check_shared(self) -> None:
        if self.front and (not isinstance(self.front, str) or not is_id(self.front)):
            raise InvalidError(f"{str(self.front)[:80]!r} is not the id of a front", fix="Give one, ep_....")
        if self.front and self.is_front:
            raise InvalidError("A front cannot have a front", fix="Leave out `front`.")
        if self.hosts and not self.front:
            raise InvalidError("`hosts` are for a front that several share", fix="Name it as `front`.")
        for name in FRONTS if self.front else ():
            if getattr(self, name) != DEFAULTS[name]:
                raise InvalidError(f"{name} belongs to the front that it shares", fix=f"Give {name} to the front.")
        if len(self.hosts) > MAX_HOSTS or len(set(self.hosts)) != len(self.hosts):
            raise InvalidError("`hosts` is no list of names", fix=f"Give up to {MAX_HOSTS}, each once.")
        for host in self.hosts:
            if not isinstance(host, str) or not HOST.fullmatch(host):
                raise InvalidError(
                    f"{str(host)[:80]!r} is no host name", fix="Give it in small letters and without a port: a.example."
                )

    def to_json(self) -> dict[str, Json]:
        """A JSON object from which `from_json` makes an equal spec."""
        return {**asdict(self), **{name: list(getattr(self, name)) for name in LISTS}}

    @classmethod
    def from_json(cls, plain: Mapping[str, Json]) -> Self:
        """The spec that `to_json` wrote, or a user.

        Raises:
            InvalidError: a field is missing, unknown or out of range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(plain) - set(known))
        if unknown:
            raise InvalidError(
                f"An endpoint has no field {unknown[0][:80]!r}", fix=f"Its fields are {', '.join(known)}."
            )
        if "model" not in plain and "code" not in plain and not plain.get("is_front"):
            raise InvalidError("The endpoint names no model", fix="Give `model`, the id of a model version.")
        return cls(**{**plain, **{name: tuple(plain.get(name) or ()) for name in LISTS}})


def is_module(name: object) -> bool:
    """Whether it could be the dotted name of a module."""
    return isinstance(name, str) and len(name) <= 200 and all(part.isidentifier() for part in name.split("."))


def is_line(text: object) -> bool:
    """Whether it could be one of pip's requirements."""
    return isinstance(text, str) and 0 < len(text) <= MAX_REQUIREMENT and text.isprintable()


DEFAULTS = {field.name: field.default for field in fields(EndpointSpec)}
