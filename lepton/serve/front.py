"""The front process of an endpoint: HTTP for clients on TCP, frames for workers on a Unix socket.

It keeps no state that a restart would lose, and never looks into a body.
"""

import asyncio
import gc
import json
import os
import signal
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic, time
from typing import Any

import uvloop

from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.context import Context
from lepton.core.errors import ConfigError
from lepton.core.resource import Json
from lepton.serve.access import Gate, Server
from lepton.serve.allowance import Addresses, Allowance
from lepton.serve.desk import Desk
from lepton.serve.exchange import Limits
from lepton.serve.gang import socket_path
from lepton.serve.http import Connection
from lepton.serve.links import WorkerLink
from lepton.serve.metrics import Window
from lepton.serve.queue import Queue
from lepton.serve.spec import EndpointSpec

TICK_S = 0.1
REPORT_S = 5.0
QUIET_S = 0.5
"""A report is made this soon after the last one, once nobody asks any more."""
DRAIN_S = 8.0
"""Under the grace a job gets before it is killed."""
WAITING_A_SEAT = 64
"""Batches of each worker that may wait, counted in its largest batches."""
MAX_WAITING_BYTES = 256 << 20


def main(ctx: Context) -> None:
    """Answer requests until asked to stop; then finish what is open and return."""
    uvloop.run(Front(ctx).run())


class Front:
    """The process: its sockets, signals, clock and reports, round one `Desk`."""

    def __init__(self, ctx: Context, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self._ctx = ctx
        self._clock = clock or SystemClock()
        self._spec = EndpointSpec.from_json(ctx.params["spec"])
        self._stop = asyncio.Event()
        self._address = ""
        self._reports = 0
        self._looked_at = monotonic()
        spec = self._spec
        seats = spec.replicas * WAITING_A_SEAT
        queue = Queue(
            max_batch=spec.max_batch,
            max_waiting=seats * spec.max_batch,
            max_waiting_bytes=MAX_WAITING_BYTES,
            target_s=spec.batch_ms / 1000,
        )
        self._desk = Desk(
            queue,
            limits=limits or Limits(max_body_bytes=spec.max_body_bytes),
            deadline_s=spec.deadline_ms / 1000,
            name=str(ctx.params.get("name", "")),
            gate=make_gate(str(ctx.params.get("endpoint", ""))),
            prefix=os.urandom(4).hex(),
        )
        self._desk.on_ready = self._tell_ready
        self._desk.addresses = Addresses(spec.allow)
        self._desk.allowance = Allowance(rate=spec.rate_per_s, burst=spec.burst, quota=spec.quota_per_day)
        self._window = Window(self._desk.meter)

    async def run(self) -> None:
        """Open the sockets, serve, drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        clients = await self._listen(loop)
        self._address = ("https://" if self._spec.tls_cert else "") + reachable(*clients.sockets[0].getsockname()[:2])
        path = socket_path()
        self._quota_file = path.with_name("quota.json")
        self._desk.allowance.restore(read_object(self._quota_file), time())
        path.unlink(missing_ok=True)
        numbers = count(1)
        workers = await loop.create_unix_server(lambda: WorkerLink(self._desk, next(numbers)), str(path))
        path.chmod(0o600)
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection looks at it again
        ticking = asyncio.ensure_future(self._tick())
        await self._stop.wait()
        clients.close()
        self._desk.drain()
        await self._drained()
        ticking.cancel()
        self._tell_served()
        self._keep_quota()
        self._desk.close()
        workers.close()
        path.unlink(missing_ok=True)

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        """The socket for clients.

        Raises:
            ConfigError: the address cannot be had.
        """
        host, port = self._spec.host, self._spec.port
        tls = make_tls(self._spec)

        async def listen(at: int) -> asyncio.Server:
            return await loop.create_server(partial(Connection, self._desk), host, at, backlog=1024, ssl=tls)

        if not port and (last := last_port()):
            with suppress(OSError):  # somebody else has it now
                return await listen(last)
        try:
            return await listen(port)
        except OSError as fault:
            raise ConfigError(
                f"The endpoint cannot listen at {host}:{port}: {fault}", fix="Give another port, or 0 for any free one."
            ) from fault

    async def _drained(self) -> None:
        """Wait until every connection has ended, but no longer than the grace allows."""
        until = monotonic() + DRAIN_S
        while (self._desk.open or self._desk.connections) and monotonic() < until:
            await asyncio.sleep(TICK_S / 5)

    async def _tick(self) -> None:
        """Everything that happens by the clock."""
        answered = 0
        while True:
            await asyncio.sleep(TICK_S)
            self._desk.sweep()
            if self._ctx.should_stop():
                self._stop.set()
            answered, before = self._desk.meter.answers.total(), answered
            is_quiet = answered == before and self._window.has_news  # a burst is over
            if monotonic() - self._looked_at >= (QUIET_S if is_quiet else REPORT_S):
                self._tell_served()
                self._keep_quota()

    def _keep_quota(self) -> None:
        """Let the next start of the front know what was used today."""
        used = self._desk.allowance.used()
        if used:
            draft = self._quota_file.with_suffix(".new")
            draft.write_text(json.dumps(used))
            draft.replace(self._quota_file)

    def _tell_ready(self) -> None:
        """Once, when the first worker has joined."""
        self._desk.on_ready = lambda: None
        self._tell({"type": "ready", "address": self._address})

    def _tell_served(self) -> None:
        """The numbers since the last time, if there was traffic."""
        now = monotonic()
        numbers = self._window.close(now - self._looked_at, self._desk.queue.waiting)
        self._looked_at = now
        if not numbers:
            return
        self._reports += 1
        self._tell({"type": "served", **numbers})
        self._ctx.metrics(self._reports, **numbers)

    def _tell(self, item: Mapping[str, Json]) -> None:
        """Report one item of docs/wire.md, if there is a platform to hear it."""
        report: Callable[[Mapping[str, Any]], None] | None = getattr(self._ctx, "report", None)
        if report is not None:
            report({**item, "at": to_micros(self._clock.now())})


def make_tls(spec: EndpointSpec) -> ssl.SSLContext | None:
    """How the front speaks TLS; None: it does not.

    Raises:
        ConfigError: the certificate or key cannot be used.
    """
    if not spec.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1", "h2"])  # the first that a client knows, too: gRPC's know h2 only
    try:
        context.load_cert_chain(spec.tls_cert, spec.tls_key)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigError(
            f"The certificate {spec.tls_cert} or its key cannot be used: {fault}",
            fix="Give a chain and its key in PEM, readable where the front runs.",
        ) from fault
    return context


def read_object(file: Path) -> Mapping[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_port() -> int:
    """The port that an earlier start of this front told its clients, from LEPTON_ADDRESS; 0 if there is none."""
    port = os.environ.get("LEPTON_ADDRESS", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def reachable(host: str, port: int) -> str:
    """The address to tell others, for a socket that is bound to `host`."""
    if host in ("0.0.0.0", "::"):
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def make_gate(endpoint: str) -> Gate | None:
    """Who checks tokens: the server that LEPTON_URL names; off the platform nobody."""
    url = os.environ.get("LEPTON_URL", "")
    if not url:
        return None
    file = os.environ.get("LEPTON_URL_FILE", "")
    return Gate(Server(url, endpoint, Path(file) if file else None), monotonic)
