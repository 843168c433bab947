"""One endpoint at a front: its desk, what its callers have used today, and what is told of it."""

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from lepton.serve.access import Gate
from lepton.serve.allowance import Allowance
from lepton.serve.authority import Authority
from lepton.serve.desk import Desk
from lepton.serve.exchange import Limits
from lepton.serve.ledger import Ledger
from lepton.serve.metrics import Window
from lepton.serve.queue import Queue
from lepton.serve.reporter import Tell
from lepton.serve.server import Server
from lepton.serve.signed import Prover, Signed
from lepton.serve.spec import EndpointSpec

if TYPE_CHECKING:
    from lepton.serve.outside import Outside

REPORT_S = 5.0
QUIET_S = 0.5
"""A report is made this soon after the last one, once nobody asks any more."""
WAITING_A_SEAT = 64
"""Batches of each worker that may wait, counted in its largest batches."""
MAX_WAITING_BYTES = 256 << 20


class Place(NamedTuple):
    """Which endpoint it is."""

    endpoint: str
    """Its id; empty off the platform."""
    name: str
    quota_file: Path
    """Keeps what its callers have used today, over a restart."""


class Site:
    """An endpoint as its front keeps it.

    Args:
        tell: hears what the platform shall know of it.
        prover: checks signed tokens; None: nobody does.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        place: Place,
        *,
        tell: Tell,
        limits: Limits | None = None,
        prover: Prover | None = None,
    ) -> None:
        self.spec = spec
        self.endpoint = place.endpoint
        self._prover = prover
        self._gate = make_gate(spec, place.endpoint, prover)
        self.desk = Desk(
            Queue(**_sizes(spec)),
            limits=limits or _limits(spec),
            deadline_s=spec.deadline_ms / 1000,
            name=place.name,
            gate=self._gate,
            prefix=os.urandom(4).hex(),
        )
        self.desk.allowance = Allowance(rate=spec.rate_per_s, burst=spec.burst, quota=spec.quota_per_day)
        self._ledger = Ledger(place.quota_file)
        for used in self._ledger.read():
            self.desk.allowance.restore(used, time())
        self.desk.allowance.on_reserve = self._ledger.reserve
        self._tell = tell
        self._window = Window(self.desk.meter)
        self._looked_at = monotonic()
        self._due = 0.0
        self._answered = 0

    def renew(self, spec: EndpointSpec) -> None:
        """The workers of another wish come: what waits is for them, and what was counted counts on."""
        before, self.spec = self.spec, spec
        if _issuer(spec) != _issuer(before):
            self._gate = make_gate(spec, self.endpoint, self._prover)
        desk = self.desk
        desk.queue.limit(**_sizes(spec))
        desk.allowance.limit(rate=spec.rate_per_s, burst=spec.burst, quota=spec.quota_per_day)
        desk.renew(limits=_limits(spec), deadline_s=spec.deadline_ms / 1000, gate=self._gate)

    def turn(self, now: float) -> None:
        """Now and then: tell what was answered, if it is time."""
        if not self._window.has_news:
            self._looked_at = now  # the next window begins with what it tells of
            return
        if now < self._due:
            return
        self._due = now + QUIET_S
        answered, before = self.desk.meter.answers.total(), self._answered
        self._answered = answered
        if answered == before or now - self._looked_at >= REPORT_S:  # a burst is over, or it lasts
            self.close(now)

    def close(self, now: float, *, is_last: bool = False) -> None:
        """Tell the numbers since the last time, if there was traffic; keep for the next front what was used today.

        Args:
            is_last: nothing more is asked of this one.
        """
        numbers = self._window.close(now - self._looked_at, self.desk.queue.waiting)
        self._looked_at = now
        if numbers:
            self._tell({"type": "served", **numbers})
        used = self.desk.allowance.used(is_last=is_last)
        if used:
            self._ledger.write(used)


class Sizes(TypedDict):
    """Of a queue."""

    max_batch: int
    max_waiting: int
    max_waiting_bytes: int
    target_s: float


def _sizes(spec: EndpointSpec) -> Sizes:
    waiting = spec.replicas * WAITING_A_SEAT * spec.max_batch
    return Sizes(
        max_batch=spec.max_batch,
        max_waiting=waiting,
        max_waiting_bytes=MAX_WAITING_BYTES,
        target_s=spec.batch_ms / 1000,
    )


def _limits(spec: EndpointSpec) -> Limits:
    return Limits(
        max_body_bytes=spec.max_body_bytes, max_connections=spec.max_connections, max_held_bytes=spec.max_held_bytes
    )


def _issuer(spec: EndpointSpec) -> tuple[str, str, str]:
    return spec.jwt_issuer, spec.jwt_audience, spec.jwt_keys


def make_gate(spec: EndpointSpec, endpoint: str, prover: Prover | None) -> Gate | None:
    """Who checks tokens: the server that LEPTON_URL names, those that are signed `prover`; off the platform nobody."""
    server = find_server()
    if server is None:
        return None
    outside = None
    if spec.jwt_issuer:  # few endpoints trust another issuer, and the others do without what it takes
        make = cast("type[Outside]", import_module("lepton.serve.outside").Outside)
        outside = make(spec.jwt_issuer, spec.jwt_audience, spec.jwt_keys)
    return Gate(server, endpoint, monotonic, None if prover is None else Signed(prover, endpoint, outside))


def make_prover(file: Path) -> Prover | None:
    """Who checks signed tokens; off the platform nobody.

    Args:
        file: keeps what the server told.
    """
    server = find_server()
    return None if server is None else Prover(Authority(server, file))


def find_server() -> Server | None:
    """The server that LEPTON_URL names; off the platform None."""
    url = os.environ.get("LEPTON_URL", "")
    file = os.environ.get("LEPTON_URL_FILE", "")
    return Server(url, Path(file) if file else None) if url else None


def read_object(file: Path) -> Mapping[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
