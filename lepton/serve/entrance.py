"""Whether a request may come in: what a desk knows, or finds out, of its token."""

from collections.abc import Callable

from lepton.serve.access import Gate, bearer, token_digest
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Exchange, Known
from lepton.serve.routes import Route


class Entrance:
    """The side of a desk at which requests come in.

    Args:
        gate: checks tokens; None: nobody needs one.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def go(self, exchange: Exchange, verdict: Refusal | None = None) -> None:
        """The token is judged: on to the route."""
        raise NotImplementedError

    def doubt(self, route: Route, authorization: bytes | None) -> Refusal | None:
        """Refuse at once what is known to be not allowed, before its body is read."""
        if self._gate is None or route.is_public:
            return None
        return self._gate.doubt(authorization)

    def judge(self, exchange: Exchange, authorization: bytes | None, then: Callable[[Refusal], None]) -> None:
        """Find out whether a request may come in whose body is still to come; call `then` if it may not."""
        token = bearer(authorization)
        if self._gate is None or token is None or exchange.route is None or exchange.route.is_public:
            return
        is_known, known = self._gate.look(token)
        if not is_known:
            self._gate.ask(token, lambda verdict: None if verdict is None else then(verdict), exchange.caller)
        elif known is not None:
            then(known)

    def accept(self, exchange: Exchange, authorization: bytes | None) -> None:
        """Take a complete request; `finish` of the exchange is called in the end."""
        route = exchange.route
        if self._gate is None or route is None or route.is_public:
            self.go(exchange)
            return
        token = bearer(authorization) or b""
        client, exchange.caller = exchange.caller, token_digest(authorization)
        digest = exchange.caller
        is_known, verdict = self._gate.recall(digest)
        if is_known:
            self.go(exchange, verdict)
        else:
            self._gate.ask(token, lambda answer: self.go(exchange, answer), client)

    def recall(self, known: Known) -> tuple[bool, Refusal | None]:
        """Whether a fresh verdict about its token is known, and it."""
        if self._gate is None or known.route.is_public:
            return True, None
        return self._gate.recall(known.token) if known.token else (False, None)
