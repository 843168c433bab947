"""The heart of a front: takes complete requests, gives them to workers, and sees that each gets an answer in time."""

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import count
from time import monotonic

from lepton.core.resource import Json
from lepton.serve import answers
from lepton.serve.access import Gate
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Client, Exchange, Limits
from lepton.serve.frames import Entry, Frame, Kind, Operation
from lepton.serve.links import WorkerLink
from lepton.serve.metrics import Meter, render_metrics
from lepton.serve.queue import Batch, Queue, Ticket
from lepton.serve.routes import Page, Route

PREDICT = int(Operation.PREDICT)
HUNG_S = 10.0
"""A worker that keeps a request this much longer than its deadline is dropped."""


class Desk:
    """Serves one model version. All methods run in the event loop's thread.

    Args:
        queue: where requests wait.
        limits: what a client may cost.
        deadline_s: for one request, from its last byte to its answer.
        name: of the endpoint, for people.
        gate: checks tokens; None: nobody needs one.
        prefix: begins the request ids that are made here.
    """

    def __init__(
        self, queue: Queue, *, limits: Limits, deadline_s: float, name: str, gate: Gate | None, prefix: str
    ) -> None:
        self.limits = limits
        self.meter = Meter()
        self.queue = queue
        self.connections: set[Client] = set()
        self.is_draining = False
        self.on_ready: Callable[[], None] = lambda: None
        """Called when a worker has joined."""
        self._deadline_s = deadline_s
        self._name = name
        self._gate = gate
        self._prefix = prefix.encode() + b"-"
        self._numbers = count(1)
        self._links: dict[int, WorkerLink] = {}
        self._live: dict[int, Exchange] = {}
        """Predictions without an answer, oldest first."""
        self._about: Mapping[str, Json] = {}
        self._is_pumping = False

    # for connections

    def next_id(self) -> int:
        """A number for a new exchange."""
        return next(self._numbers)

    def request_id(self, number: int) -> bytes:
        """A name for a request whose client gave none."""
        return b"%b%x" % (self._prefix, number)

    def doubt(self, route: Route, authorization: bytes | None) -> Refusal | None:
        """Refuse at once what is known to be not allowed, before its body is read."""
        if self._gate is None or route.is_public:
            return None
        token = bearer(authorization)
        if token is None:
            return answers.NO_TOKEN
        return self._gate.look(token)[1]

    def accept(self, exchange: Exchange, authorization: bytes | None) -> None:
        """Take a complete request; `finish` of the exchange is called in the end."""
        route = exchange.route
        if self._gate is None or route is None or route.is_public:
            self._go(exchange)
            return
        token = bearer(authorization) or b""
        is_known, verdict = self._gate.look(token)
        if is_known:
            self._go(exchange, verdict)
        else:
            self._gate.ask(token, lambda answer: self._go(exchange, answer))

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Answer with a refusal, and count it."""
        self._finish(exchange, refusal.status, refusal.body(), headers=refusal.headers)

    def _go(self, exchange: Exchange, verdict: Refusal | None = None) -> None:
        """The token is judged: on to the route."""
        route = exchange.route
        if exchange.is_done or route is None:
            return
        if verdict is not None:
            self.refuse(exchange, verdict)
        elif route.operation is None:
            self._show(exchange, route)
        else:
            self._enqueue(exchange)

    def _enqueue(self, exchange: Exchange) -> None:
        exchange.deadline = exchange.arrived + self._deadline_s
        if not self.queue.offer(exchange):
            self.meter.dropped["busy"] += 1
            self.refuse(exchange, answers.BUSY)
            return
        self._live[exchange.id] = exchange
        self._pump_soon()

    def _finish(self, exchange: Exchange, status: int, body: bytes, *, headers: bytes = b"", rows: int = 0) -> None:
        if exchange.is_done:
            return
        if exchange.route is not None and exchange.route.operation is not None:
            self.meter.predicted(status, monotonic() - exchange.arrived, rows)
        else:
            self.meter.pages[status] += 1
        exchange.finish(status, body, headers=headers)

    # for workers

    def join(self, link: WorkerLink, about: Mapping[str, Json]) -> None:
        """A worker has its model loaded."""
        self._links[link.number] = link
        self._about = about
        self.queue.join(link.number)
        self.on_ready()
        self._pump_soon()

    def settle(self, link: WorkerLink, answers_frame: Frame) -> None:
        """A worker has answered one batch."""
        entries = answers_frame.entries
        tickets = self.queue.settle(link.number, [entry.id for entry in entries])
        for entry, ticket in zip(entries, tickets, strict=True):
            exchange = self._live.pop(entry.id, None) if ticket is not None else None
            if exchange is not None:
                self._finish(exchange, entry.status, entry.body, rows=entry.rows)
        if self.queue.waiting:
            self._pump_soon()

    def leave(self, link: WorkerLink) -> None:
        """A worker is gone: what it had is tried once more elsewhere."""
        self._links.pop(link.number, None)
        held = self.queue.held
        given_up = self.queue.leave(link.number)
        self.meter.retries += held - self.queue.held - len(given_up)
        for ticket in given_up:
            self._drop(ticket, answers.WORKER_LOST)
        self._pump_soon()

    def _pump_soon(self) -> None:
        """Look at the queue at the end of this turn of the loop, when all that has arrived in it is there."""
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        now = monotonic()
        batches, late = self.queue.take(now)
        for batch in batches:
            self._send(batch, now)
        for ticket in late:
            self.meter.dropped["late"] += 1
            self._drop(ticket, answers.LATE)

    def _send(self, batch: Batch, now: float) -> None:
        live = self._live
        entries = []
        for ticket in batch.tickets:
            exchange = live[ticket.id]
            left_ms = int((exchange.deadline - now) * 1000)
            entries.append(Entry(exchange.id, exchange.body, left_ms, 0, 0, PREDICT, exchange.media))
        self.meter.batches[batch.why] += 1
        self.meter.sent += len(entries)
        link = self._links[batch.worker]
        link.send(Frame(Kind.BATCH, entries, link.slot))

    def _drop(self, ticket: Ticket, refusal: Refusal) -> None:
        exchange = self._live.pop(ticket.id, None)
        if exchange is not None:
            self.refuse(exchange, refusal)

    # by the clock

    def sweep(self) -> None:
        """A few times a second: answer what is late, let go of slow clients and of workers that hang."""
        now = monotonic()
        for exchange in [one for one in self._live.values() if one.is_done or one.deadline <= now]:
            if exchange.tries > 1 or not self._links:
                self._drop(exchange, answers.WORKER_LOST if exchange.tries else answers.NO_WORKER)
            else:
                self._drop(exchange, answers.LATE)
        for client in list(self.connections):
            client.check(now)
        for number in self.queue.hung(now - HUNG_S):
            self._links[number].close()

    @property
    def is_ready(self) -> bool:
        """A worker has the model loaded, and no drain has begun."""
        return bool(self._links) and not self.is_draining

    @property
    def open(self) -> int:
        """Predictions that somebody waits for."""
        return sum(not exchange.is_done for exchange in self._live.values())

    def drain(self) -> None:
        """Answer what is open, and let each connection end with it."""
        self.is_draining = True
        for client in list(self.connections):
            client.close_if_idle()

    def close(self) -> None:
        """Drop every connection."""
        for client in list(self.connections):
            client.abort()
        for link in list(self._links.values()):
            link.close()

    # pages

    def _show(self, exchange: Exchange, route: Route) -> None:
        """Answer from what the front itself knows."""
        if route.page == Page.METRICS:
            self.meter.pages[200] += 1
            exchange.finish(200, render_metrics(self.meter, self._gauges()), answers.TEXT_TYPE)
        elif route.page == Page.OPTIONS:
            self._finish(exchange, 200, b"{}", headers=b"allow: " + route.allowed + b"\r\n")
        elif route.page == Page.READY and not self.is_ready:
            self.refuse(exchange, answers.NO_WORKER)
        elif route.page == Page.ABOUT:
            about = {"endpoint": self._name, "ready": self.is_ready, **self._about, "predict": "/predict"}
            self._finish(exchange, 200, json.dumps(about).encode())
        else:
            self._finish(exchange, 200, b'{"status": "ok"}')

    def _gauges(self) -> dict[str, float]:
        return {
            "queue_waiting": self.queue.waiting,
            "requests_held": self.queue.held,
            "workers_ready": self.queue.workers,
            "connections": len(self.connections),
        }


def bearer(authorization: bytes | None) -> bytes | None:
    """The token of an Authorization header; None if it has none."""
    scheme, _, token = (authorization or b"").partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and token else None
