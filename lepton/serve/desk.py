"""The heart of a front: takes complete requests, gives them to workers, and sees that each gets an answer in time."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from time import monotonic

from lepton.core.resource import Json
from lepton.serve import answers
from lepton.serve.access import Gate
from lepton.serve.answers import Refusal
from lepton.serve.entrance import Entrance
from lepton.serve.exchange import Exchange, Limits
from lepton.serve.forecast import Forecast
from lepton.serve.frames import LAST, Entry, Frame, Item, Kind
from lepton.serve.held import settle
from lepton.serve.inlet import Inlet
from lepton.serve.leavers import Leavers
from lepton.serve.links import WorkerLink
from lepton.serve.pages import show
from lepton.serve.queue import Batch, Queue
from lepton.serve.routes import HELD
from lepton.serve.seats import Ticket
from lepton.serve.withdrawals import Withdrawals

INTERNAL = frozenset(("operations", "pages", "room", "marks", "mailbox", "cors"))
"""Of what a worker says of itself, what is for its front alone."""
HUNG_S = 10.0
"""A worker that keeps a request this much longer than its deadline is dropped."""


class Desk(Entrance):
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
        super().__init__(gate, prefix, deadline_s)
        self.limits = limits
        self.queue = queue
        self.name = name
        self.on_ready: Callable[[], None] = lambda: None
        """Called when a worker has joined."""
        self.on_work: Callable[[Desk], object] = lambda _: None
        """Called when there is something again that may become late."""
        self.more_metrics: Callable[[], Iterable[str]] = tuple
        self.longest_s = deadline_s
        """That a request may take: the deadline, or what a handler has instead."""
        self._links: dict[int, WorkerLink] = {}
        self._withdrawals = Withdrawals(queue, self._links)
        self._live: dict[int, Exchange] = {}
        """Requests to workers without their last answer, oldest first."""
        self.inlet = inlet = Inlet(self._links, self._live)
        self.flow, self.pass_on, self.heard = inlet.flow, inlet.pass_on, inlet.heard
        self._arrived: list[Exchange] = []
        """What has come in this turn of the loop and is not in the queue yet."""
        self.about: Mapping[str, Json] = {}
        """What a worker has told of its program."""
        self._forecast = Forecast(queue)
        self._old: set[int] = set()
        """Workers whose place others take."""
        self._is_pumping = False
        self.leavers = Leavers(queue)

    def fail(self, refusal: Refusal | None) -> None:
        """No worker will come: refuse at once what would wait for one. None: one may come after all."""
        self._failure = refusal
        if refusal is None or self._links:
            return
        self._take_in(monotonic())
        self._set_table({})
        for exchange in [*self._held.drop(), *self._live.values()]:
            self.refuse(exchange, self.why_not(exchange, refusal))

    def renew(self, *, limits: Limits, deadline_s: float, gate: Gate | None) -> None:
        """Other workers take the place of those that are here: these answer what they have begun, and end."""
        if self._gate is not None and self._gate is not gate:
            self._gate.close()
        self._guard(gate)
        self.limits, self._deadline_s = limits, deadline_s
        self._old.update(self._links)
        for number in self._old:
            self.retire(self._links[number])

    # for connections

    def go(self, exchange: Exchange, verdict: Refusal | None = None) -> None:
        """The token is judged: on to the route."""
        route = exchange.route
        if exchange.is_done or route is None:
            return
        if verdict is not None:
            self.refuse(exchange, verdict)
        elif not route.operation:
            show(self, exchange, route)
        elif route.operation == HELD and not self._table.is_known:
            self.on_work(self)
            self.hold(exchange)
        elif route.operation == HELD:  # while its token was judged a worker has told what can be asked
            found = settle(exchange, self._table)
            self.refuse(exchange, found) if isinstance(found, Refusal) else self.go(exchange)
        else:
            if not self._arrived:
                self.on_work(self)
                self._pump_soon()
            self._arrived.append(exchange)

    def _take_in(self, now: float) -> None:
        """What has come in this turn of the loop."""
        arrived, self._arrived = self._arrived, []
        if self.allowance.is_bounded:
            self.charge(arrived)
        self._line_up(arrived, now)

    def _line_up(self, asked: Sequence[Exchange], now: float) -> None:
        """Let requests wait in the queue; refuse what could not be answered in time."""
        queue, live, forecast = self.queue, self._live, self._forecast
        for exchange in asked:
            route = exchange.route
            if exchange.is_done or route is None:
                continue
            if exchange.id < self._first and (route := self._follow(exchange, route)) is None:
                self.refuse(exchange, answers.NO_WORKER)
                continue
            if exchange.head is not None:
                exchange.lend(exchange.head, self.who(exchange, route))
            exchange.operation = route.operation
            exchange.deadline = exchange.arrived + (route.timeout_s or self._deadline_s)
            if forecast.is_late(exchange, now):
                self.turn_away(exchange, "overload", answers.OVERLOADED)
                continue
            if not queue.offer(exchange):
                self._hand_out(now)  # what came just before it still waits, perhaps beside an idle worker
                if not queue.offer(exchange):
                    self.turn_away(exchange, "busy", answers.BUSY)
                    continue
            live[exchange.id] = exchange
            forecast.enter(exchange)

    def _line_up_anew(self) -> None:
        """Some of what waits may have come to another program than there is now."""
        self._line_up([self._live.pop(ticket.id) for ticket in self.queue.drain()], monotonic())

    def give_up(self, exchange: Exchange) -> None:
        """Its client is gone: whoever works on it may stop."""
        if exchange.id in self._live and exchange.worker:
            self.meter.dropped["gone"] += 1
            self._cancel(exchange)

    def _cancel(self, exchange: Exchange) -> None:
        """Tell its worker, with others at the end of this turn, that nobody waits for it any more."""
        self.inlet.cancel(exchange)
        self._pump_soon()

    # for workers

    def join(self, link: WorkerLink, about: Mapping[str, Json]) -> None:
        """A worker has its program loaded; or it says that it could not, or, with no reason, that it tries again.

        Raises:
            FrameError: what it says of it cannot be.
        """
        if (why := about.get("failed")) is not None:
            self.fail(answers.not_started(str(why)) if why else None)
            return
        is_another = self._set_table(about)
        self._links[link.number] = link
        self._failure = None
        self.longest_s = max(self._deadline_s, self._table.longest_s)
        self.about = {name: value for name, value in about.items() if name not in INTERNAL}
        self.queue.join(link.number, room=max(0, int(about.get("room") or 0)))
        if is_another:
            self._forecast = Forecast(self.queue)
            self._line_up_anew()
        self.on_ready()
        self._let_go()
        for exchange, route in self._held.release(self._table):
            if isinstance(route, Refusal):
                self.refuse(exchange, route)
            elif route.operation:
                self._line_up([exchange], monotonic())
            else:
                show(self, exchange, route)
        self._pump_soon()

    def settle(self, link: WorkerLink, answers_frame: Frame) -> None:
        """A worker has answered something."""
        now = monotonic()
        items = answers_frame.items
        last = [item[0] for item in items if item[7] & LAST]
        tickets = self.queue.settle(link.number, last, answers_frame.slot, now)
        if last:
            self._forecast.settled(link.number, tickets, now)
        live, number, types = self._live, link.number, answers.TYPES
        told: list[tuple[int, float, int]] = []
        done: list[Exchange] = []
        for item in items:
            id, body, _, rows, _, status, media, flags = item
            exchange = live.get(id)
            if exchange is None or exchange.worker != number:
                continue
            if flags != LAST or not status or exchange.has_begun or exchange.is_tunnel:
                if not flags and not status and exchange.has_begun and not exchange.is_done:
                    exchange.deadline = now + exchange.silent_s  # one part of many
                    exchange.go_on(body)
                else:
                    self._deliver(exchange, Entry(*item), now)
                continue
            del live[id]  # a whole answer, as most are
            if not exchange.is_done:
                done.append(exchange)
                told.append((status, now - exchange.arrived, rows))
                exchange.finish(status, body, types[media])
        if told:
            self.meter.predicted_all(told)
            self._forecast.answered(done, now)
        if self.queue.waiting:
            self._pump_soon()
        if self.leavers.are_any:
            self._let_go()

    def retire(self, link: WorkerLink) -> None:
        """A worker wants to end: it is let go once it has answered all it has, and others or nobody need it."""
        self.leavers.add(link)
        self._let_go()
        asyncio.get_running_loop().call_later(self.leavers.patience_s, self._hasten, link)

    def _hasten(self, link: WorkerLink) -> None:
        self.leavers.hasten(link)
        self._let_go()

    def _let_go(self) -> None:
        self.leavers.let_go(is_draining=self.lobby is not None and self.lobby.is_draining)

    def _deliver(self, exchange: Exchange, entry: Entry, now: float) -> None:
        """An answer, or a part of one, to whoever waits for it."""
        if entry.flags & LAST:
            del self._live[exchange.id]
        if exchange.is_done:
            return
        if entry.status and not exchange.has_begun:
            self.meter.predicted(entry.status, now - exchange.arrived, entry.rows)
            self._forecast.answered((exchange,), now)
        exchange.take(entry)
        wish_s = exchange.route.timeout_s if exchange.route is not None else 0.0
        exchange.silent_s = inf if exchange.is_tunnel else max(wish_s, self.limits.stream_s)
        exchange.deadline = now + exchange.silent_s

    def take_back(self, link: WorkerLink, items: Sequence[Item]) -> None:
        """A worker has not begun what it may not begin any more."""
        self._wait_again(self._withdrawals.given_back(link.number, items))

    def _wait_again(self, tickets: Sequence[Ticket]) -> None:
        is_old = False
        for ticket in tickets:
            if (exchange := self._live.get(ticket.id)) is not None:
                is_old |= exchange.worker in self._old
                exchange.worker = 0
        if is_old:
            self._line_up_anew()
        if tickets:
            self.meter.retries += len(tickets)
            self._pump_soon()

    def leave(self, link: WorkerLink) -> None:
        """A worker is gone: what it had not begun is tried once more elsewhere."""
        self._links.pop(link.number, None)
        self.leavers.discard(link)
        self._forecast.forget(link.number)
        for exchange in [one for one in self._live.values() if one.worker == link.number]:
            if exchange.has_begun and not exchange.is_done:
                exchange.break_off()
            if exchange.is_done:
                del self._live[exchange.id]
        held = self.queue.held
        given_up = self.queue.leave(link.number, link.marks)
        self.meter.retries += max(0, held - self.queue.held - len(given_up))
        for ticket in given_up:
            self._drop(ticket, answers.WORKER_LOST)
        if link.number in self._old:
            self._old.discard(link.number)
            self._line_up_anew()
        if self._failure is not None:
            self.fail(self._failure)
        self._pump_soon()

    def _pump_soon(self) -> None:
        """Look at the queue at the end of this turn of the loop, when all that has arrived in it is there."""
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        now = monotonic()
        if self._arrived:
            self._take_in(now)
        if self.inlet.cancelled:
            self.inlet.tell_cancelled()
        self._hand_out(now)

    def _hand_out(self, now: float) -> None:
        """Give workers what waits, as far as they have room; answer what has waited too long."""
        batches, late = self.queue.take(now)
        for batch in batches:
            self._send(batch, now)
        for ticket in late:
            self._miss(ticket, now)
            self._drop(ticket, answers.LATE)

    def _miss(self, ticket: Ticket, now: float) -> None:
        self.meter.dropped["late"] += 1
        self._forecast.missed(ticket, now)

    def _send(self, batch: Batch, now: float) -> None:
        live, worker = self._live, batch.worker
        items: list[Item] = []
        early: list[Exchange] = []
        for ticket in batch.tickets:
            exchange = live[ticket.id]
            if exchange.early:
                early.append(exchange)
            exchange.worker = worker
            left_ms = int((exchange.deadline - now) * 1000)
            items.append(
                (exchange.id, exchange.body, left_ms, 0, exchange.operation, 0, exchange.media, exchange.flags)
            )
        self.meter.batches[batch.why] += 1
        self.meter.sent += len(items)
        link = self._links[worker]
        if batch.was_idle:
            self._forecast.began(worker, now)
        link.send(Frame(Kind.BATCH, items, link.slot))
        self.inlet.catch_up(link, early)

    def _drop(self, ticket: Ticket, refusal: Refusal) -> None:
        exchange = self._live.pop(ticket.id, None)
        if exchange is not None:
            self.refuse(exchange, refusal)

    # by the clock

    def sweep(self) -> bool:
        """Answer what is late, let go of workers that hang; whether something is left that may become late."""
        now = monotonic()
        self._take_in(now)
        for exchange in [one for one in self._live.values() if one.is_done or one.deadline <= now]:
            if exchange.worker and not exchange.is_done:
                self._cancel(exchange)
            if exchange.has_begun and not exchange.is_done:
                exchange.break_off()
            elif not exchange.is_done:
                self._miss(exchange, now)
            if exchange.tries > 1 or not self._links:
                self._drop(exchange, answers.WORKER_LOST if exchange.tries else answers.NO_WORKER)
            else:
                self._drop(exchange, answers.LATE)
        self._forecast.tidy()
        self._refuse_late(now)
        for number in self.queue.hung(now - HUNG_S):
            self._links[number].close()
        self._wait_again(self._withdrawals.turn(now))
        return bool(self._live or self._held or self.queue.is_busy)

    @property
    def is_ready(self) -> bool:
        """A worker has the model loaded, and no drain has begun."""
        return (bool(self._links) or self._is_own) and not (self.lobby is not None and self.lobby.is_draining)

    @property
    def open(self) -> int:
        """Predictions that somebody waits for."""
        return sum(not exchange.is_done for exchange in self._live.values())

    @property
    def early(self) -> int:
        """Requests that are in no queue yet: those of this turn of the loop, and before the first worker all."""
        return len(self._arrived) + len(self._held)

    @property
    def is_answering(self) -> bool:
        """Whether a request is open that will have an answer; an upgraded connection may be open for ever."""
        return self.early > 0 or any(not (one.is_done or one.is_tunnel) for one in self._live.values())

    def close(self) -> None:
        """Drop every worker."""
        if self._gate is not None:
            self._gate.close()
        for link in list(self._links.values()):
            link.close()
