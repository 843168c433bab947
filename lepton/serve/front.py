"""The front process of an endpoint: HTTP for clients on TCP, frames for workers on a Unix socket.

It keeps no state that a restart would lose, and never looks into a body.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic

import uvloop

from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.context import Context
from lepton.core.resource import Json
from lepton.serve.allowance import Addresses
from lepton.serve.doors import allow_files, listen
from lepton.serve.exchange import Limits
from lepton.serve.gang import socket_path
from lepton.serve.handshakes import Handshakes
from lepton.serve.http import Connection
from lepton.serve.identity import Identity, open_identity
from lepton.serve.links import WorkerLink
from lepton.serve.lobby import Lobby
from lepton.serve.mailbox import Mailbox, Mailroom
from lepton.serve.reporter import Reporter
from lepton.serve.site import Place, Site, make_prover
from lepton.serve.spec import EndpointSpec

TICK_S = 0.1
TURNS = 5
"""Ticks in which each endpoint is looked at once for what is to be told of it."""
WORKERS = 1024
"""That may be on their way in at one time."""
DRAIN_S = 8.0
"""For connections to end, when it is to stop. Requests have as long as they may take, but no longer than its `drain_s`:
then it is killed."""

GOODBYE_S = 2.0
"""Of that, for WebSockets to end that are told to."""

PATIENCE_S = 10.0
"""The processes of an endpoint are asked to stop one by one: so long after its last worker the front may be."""

SPARE_FILES = 1024 + WORKERS
"""Beside those of clients."""


def main(ctx: Context) -> None:
    """Answer requests until asked to stop; then finish what is open and return."""
    uvloop.run(Front(ctx).run())


class Front:
    """The process: its sockets, signals and clock, round the endpoint that it answers for.

    Args:
        path: of the socket for workers.
    """

    def __init__(
        self, ctx: Context, limits: Limits | None = None, clock: Clock | None = None, path: Path | None = None
    ) -> None:
        self._ctx = ctx
        self._clock = clock or SystemClock()
        self._path = path or socket_path()
        self._mailroom: Mailroom | None = None
        self._identity: Identity | None = None
        self._stop = asyncio.Event()
        self._reporter = Reporter(ctx)
        self._numbers = count(1)
        self.address = ""
        self.prover = make_prover(self._path.with_suffix(".jwts.json"))
        spec = EndpointSpec.from_json(ctx.params["spec"])
        self.site = Site(
            spec,
            Place(
                endpoint=str(ctx.params.get("endpoint", "")),
                name=str(ctx.params.get("name", "")),
                quota_file=self._path.with_name("quota.json"),
            ),
            tell=self.tell,
            limits=limits,
            prover=self.prover,
        )
        self.site.desk.on_ready = self.tell_ready
        self.site.desk.leavers.patience_s = PATIENCE_S
        self._round: list[Site] = []
        """Endpoints whose turn is still to come, before all begin anew."""
        self._share = 1
        """How many of them a tick looks at."""
        self.lobby = Lobby(self.site.desk, Addresses(spec.allow))

    async def run(self) -> None:
        """Open the sockets, serve, drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        allow_files(self.lobby.limits.max_connections + SPARE_FILES)
        self._identity = open_identity(self.site.spec)
        make: Callable[[], asyncio.Protocol] = partial(Connection, self.lobby)
        identity = self._identity
        handshakes = Handshakes(self.lobby, make, identity.context) if identity is not None else None
        clients, self.address = await listen(make, self.site.spec, handshakes)
        self._path.unlink(missing_ok=True)
        self._mailroom = Mailroom(self._path)
        workers = await loop.create_unix_server(self.make_link, str(self._path), backlog=WORKERS)
        self._path.chmod(0o600)
        self.begin()
        if self.prover is not None:
            self.prover.authority.begin()
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection looks at it again
        ticking = asyncio.ensure_future(self._tick())
        await self._stop.wait()
        begun = monotonic()
        self.lobby.drain()
        while self.lobby.is_open and monotonic() - begun < self.lobby.limits.leave_s:
            await asyncio.sleep(TICK_S / 5)  # who was told to ask elsewhere may find nobody else yet
        await clients.close()
        await self._drained(begun, handshakes)
        ticking.cancel()
        if self.prover is not None:
            self.prover.authority.end()
        for site in self.sites():
            site.close(monotonic(), is_last=True)
        self.lobby.end()
        workers.close()
        self._mailroom.close()
        self._path.unlink(missing_ok=True)

    def begin(self) -> None:
        """The sockets are open."""

    def make_link(self) -> WorkerLink:
        """The front's end of a worker's connection."""
        return WorkerLink(self.site.desk, next(self._numbers), self.claim)

    def claim(self, name: str) -> Mailbox | None:
        """The mailbox that a worker has opened under a name."""
        return self._mailroom.claim(name) if self._mailroom is not None else None

    def sites(self) -> list[Site]:
        """All that it answers for."""
        return [self.site]

    def sweep(self, now: float) -> None:
        """By the clock: whatever is late."""
        self.lobby.sweep(now)
        if self._identity is not None:
            self._identity.look(now)
        if not self._round:
            self._round = self.sites()
            self._share = -(-len(self._round) // TURNS)
        for _ in range(min(self._share, len(self._round))):
            self._round.pop().turn(now)

    def tell(self, item: Mapping[str, Json]) -> None:
        """Report one item of docs/wire.md."""
        self._reporter.tell({**item, "at": self.now()})

    def now(self) -> int:
        """Microseconds since 1970."""
        return to_micros(self._clock.now())

    def tell_ready(self) -> None:
        """Once, when it can answer."""
        self.site.desk.on_ready = lambda: None
        self.tell({"type": "ready", "address": self.address})

    async def _drained(self, begun: float, handshakes: Handshakes | None) -> None:
        """Wait until every connection has ended and every request is answered, but no longer than the grace allows."""
        lobby = self.lobby
        longest_s = max(desk.longest_s for desk in lobby.desks) + TICK_S
        limit_s = min(longest_s, float(self._ctx.params.get("drain_s", DRAIN_S)))
        is_parted = False
        while (spent_s := monotonic() - begun) < max(limit_s, DRAIN_S):
            if not is_parted and spent_s > DRAIN_S - GOODBYE_S:
                is_parted = True
                lobby.say_goodbye()
            is_coming = handshakes is not None and handshakes.are_any
            if not (lobby.is_open or is_coming if spent_s < DRAIN_S else lobby.is_answering):
                break
            await asyncio.sleep(TICK_S / 5)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.sweep(monotonic())
            if self._ctx.should_stop():
                self._stop.set()
