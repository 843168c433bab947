"""Whether a request may come in: what a desk knows, or finds out, of its token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from time import monotonic, time

from lepton.core.resource import Json
from lepton.serve import answers
from lepton.serve.access import Gate, bearer, token_digest
from lepton.serve.allowance import Allowance
from lepton.serve.answers import Refusal
from lepton.serve.callers import is_platforms
from lepton.serve.cors import Cors
from lepton.serve.exchange import Exchange, Known, Lobby
from lepton.serve.frames import Media
from lepton.serve.held import Held
from lepton.serve.metrics import Meter
from lepton.serve.pages import token_page
from lepton.serve.routes import LOST, Route, Table
from lepton.serve.wishes import KIND


class Entrance:
    """The side of a desk at which requests come in.

    Args:
        gate: checks tokens; None: nobody needs one.
        prefix: begins the request ids that are made here.
        deadline_s: for one request, from its last byte to its answer.
    """

    def __init__(self, gate: Gate | None, prefix: str, deadline_s: float) -> None:
        self.prefix = prefix.encode() + b"-"
        self.numbers: Iterator[int] = count(1)
        self.cors: Cors | None = None
        """Which pages of other origins may read what is answered."""
        self.allowance = Allowance()
        self.meter = Meter()
        self.lobby: Lobby | None = None
        self._table = Table({})
        self._last = self._before = self._table
        """The last one that was known, and that of another program before it."""
        self._first = 0
        """The number of the first request that came to the program of the last one."""
        self._is_own = False
        """It is ready without workers."""
        self._deadline_s = deadline_s
        self._held = Held()
        self._failure: Refusal | None = None
        """Why no worker will come."""
        self._guard(gate)

    def open_empty(self) -> None:
        """Answer only what a front knows by itself: no worker will come."""
        self._table = Table({"operations": []}, answers.NO_ENDPOINT)
        self._is_own = True

    def _guard(self, gate: Gate | None) -> None:
        self._gate = gate
        self._owner: Callable[[bytes], bytes] = gate.owner if gate is not None else bytes
        """With whose requests those of a caller count."""

    def enter(self, lobby: Lobby) -> None:
        """Answer the clients of this lobby."""
        self.lobby = lobby

    def find(self, method: bytes, url: bytes) -> Route | Refusal:
        """The route of a request line, or why there is none."""
        return self._table.find(method, url)

    def _set_table(self, about: Mapping[str, Json]) -> bool:
        """Know what a worker tells of its program; whether it is another program than before."""
        self._table = table = Table(about)
        self.cors = table.cors
        if self.lobby is not None:
            self.lobby.heads.clear()
        last, self._last = self._last, table if table.is_known else self._last
        if not last.is_known or last.operations == self._last.operations:
            return False
        self._before, self._first = last, next(self.numbers)
        return True

    def _follow(self, exchange: Exchange, route: Route) -> Route | None:
        """The route that a request has now which came to an earlier program; None: nothing answers it any more."""
        if exchange.table is self._last:
            return route
        found = self._last.heir(route, exchange.table or self._before)
        if found is not None and found.media is not None and exchange.media & KIND not in found.media:
            return None
        exchange.table, exchange.route = self._last, found or route
        exchange.is_repeatable = exchange.route.is_repeatable
        return found

    def request_id(self) -> bytes:
        """A name for a request that has neither an exchange nor a name of its client's."""
        return b"%b%x" % (self.prefix, next(self.numbers))

    def go(self, exchange: Exchange, verdict: Refusal | None = None) -> None:
        """The token is judged: on to the route."""
        raise NotImplementedError

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Answer with a refusal, and count it."""
        route = exchange.route
        if route is not None and route.is_page and refusal.status in answers.NO_ACCESS:
            self._count(exchange, refusal.status)
            exchange.finish(refusal.status, token_page(), answers.TYPES[Media.HTML], refusal.headers)
            return
        form = route.form if route is not None else refusal.form
        self.answer(exchange, refusal.status, refusal.body(form), headers=refusal.headers)

    def turn_away(self, exchange: Exchange, why: str, refusal: Refusal) -> None:
        """Refuse what no worker was given, and count why."""
        self.meter.dropped[why] += 1
        self.refuse(exchange, refusal)

    def answer(self, exchange: Exchange, status: int, body: bytes, *, headers: bytes = b"") -> None:
        """An answer of the front's own."""
        if exchange.is_done:
            return
        self._count(exchange, status)
        exchange.finish(status, body, headers=headers)

    def count(self, grown: Mapping[str, Json]) -> None:
        """A worker's own counters have grown."""
        self.meter.told.update({name: value for name, value in grown.items() if name.isidentifier()})

    def _count(self, exchange: Exchange, status: int) -> None:
        if exchange.route is not None and exchange.route.operation:
            self.meter.predicted(status, monotonic() - exchange.arrived, 0)
        else:
            self.meter.pages[status] += 1

    def charge(self, asked: Sequence[Exchange]) -> None:
        """Count requests that came together against what their callers may ask, and refuse those beyond it."""
        own: dict[bytes, list[Exchange]] = {}
        for exchange in asked:
            own.setdefault(exchange.caller, []).append(exchange)
        now = time()
        for caller, theirs in own.items():
            granted, spent = self.allowance.take_some(self._owner(caller), len(theirs), now)
            if spent is not None:
                for exchange in theirs[granted:]:
                    self.turn_away(exchange, spent.why, answers.too_many(spent.why, spent.retry_s))

    def hold(self, exchange: Exchange) -> None:
        """Keep it until a worker tells what it is for."""
        if self.allowance.is_bounded:
            self.charge([exchange])
        exchange.deadline = exchange.arrived + self._deadline_s
        if not exchange.is_done and (self._failure is not None or not self._held.add(exchange)):
            self.refuse(exchange, self.why_not(exchange, self._failure or answers.BUSY))

    def _refuse_late(self, now: float) -> None:
        """No worker has told in time what these are for."""
        for exchange in self._held.late(now):
            self.turn_away(exchange, "late", answers.NO_WORKER)

    def why_not(self, exchange: Exchange, refusal: Refusal) -> Refusal:
        """What is told of a failure: whoever has no good token learns nothing of the code."""
        return refusal if exchange.objection is None or refusal == answers.BUSY else answers.NO_WORKER

    def judges(self, route: Route) -> bool:
        """Whether who asks for it must have a token: only a judged one says whose a request is."""
        return self._judge_of(route) is not None

    def _judge_of(self, route: Route | None) -> Gate | None:
        return None if route is None or route.is_public else self._gate

    def doubt(self, route: Route, authorization: bytes | None) -> Refusal | None:
        """Refuse at once what is known to be not allowed, before its body is read."""
        gate = self._judge_of(route)
        if gate is None or route.is_held:
            return None
        doubt = gate.doubt(authorization)
        if doubt is None and route.refusal is not None and gate.look(bearer(authorization) or b"")[0]:
            return route.refusal
        return doubt

    def veil(self, refusal: Refusal) -> Route | Refusal:
        """What to do with a request that nothing answers: where a token is needed, who has none learns only that."""
        return refusal if self._gate is None else LOST._replace(refusal=refusal, form=refusal.form)

    def judge(self, exchange: Exchange, authorization: bytes | None, then: Callable[[Refusal], None]) -> None:
        """Find out whether a request may come in whose body is still to come; call `then` if it may not."""
        token, route = bearer(authorization), exchange.route
        gate = self._judge_of(route)
        if gate is None or token is None or route is None or route.is_held:
            return
        is_known, known = gate.look(token)
        if not is_known:
            gate.ask(token, lambda verdict: None if verdict is None else then(verdict), exchange.caller)
        elif known is not None:
            then(known)

    def accept(self, exchange: Exchange, authorization: bytes | None) -> None:
        """Take a complete request; `finish` of the exchange is called in the end."""
        gate = self._judge_of(exchange.route)
        if gate is None:
            self.go(exchange)
            return
        token = bearer(authorization)
        if token is None:
            self._decide(exchange, answers.NO_TOKEN, b"")
            return
        digest = token_digest(authorization)
        is_known, verdict = gate.recall(digest)
        if is_known:
            self._decide(exchange, verdict, digest)
        else:
            gate.ask(token, lambda answer: self._decide(exchange, answer, digest), exchange.caller)

    def _decide(self, exchange: Exchange, verdict: Refusal | None, digest: bytes) -> None:
        """The token of that digest is judged. What is not known yet is refused to nobody: it may be public."""
        if verdict is None:
            exchange.caller = digest
        elif exchange.route is not None and exchange.route.is_held:
            exchange.objection, verdict = verdict, None
        self.go(exchange, verdict)

    def recall(self, known: Known) -> tuple[bool, Refusal | None]:
        """Whether a fresh verdict about its token is known, and it."""
        if self._gate is None or known.route.is_public:
            return True, None
        return self._gate.recall(known.token) if known.token else (False, None)

    def who(self, exchange: Exchange, route: Route) -> bytes:
        """Header lines that tell the code of an endpoint who asks. A token that was judged here it does not see; one
        that was not is its own to judge, unless it is the platform's."""
        authorization = exchange.authorization or b""
        if (gate := self._judge_of(route)) is not None:
            return gate.told(exchange.caller, authorization)
        if not authorization or (self._gate is not None and is_platforms(authorization)):
            return b""
        return b"authorization: %b\r\n" % authorization
