"""Requests that came before any worker did: kept until the first one tells what can be asked."""

from collections.abc import Iterator

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Exchange
from lepton.serve.routes import Route, Table

MAX_HELD = 1024
MAX_OBJECTED, MAX_OBJECTED_BYTES = 256, 32 << 20
"""Of those whose callers have no good token: what they ask for may be public, and only then will they be let in."""


class Held:
    """The requests, in the order in which they came."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, exchange: Exchange) -> bool:
        """Keep one; False if there are too many."""
        if len(self._exchanges) >= MAX_HELD:
            return False
        if exchange.objection is not None:
            objected = [one.size_bytes for one in self._exchanges if one.objection is not None and not one.is_done]
            if len(objected) >= MAX_OBJECTED or sum(objected) + exchange.size_bytes > MAX_OBJECTED_BYTES:
                return False
        self._exchanges.append(exchange)
        return True

    def release(self, table: Table) -> Iterator[tuple[Exchange, Route | Refusal]]:
        """All of them, each with its route, or why there is none."""
        for exchange in self.drop():
            yield exchange, settle(exchange, table)

    def drop(self) -> list[Exchange]:
        """All of them that somebody waits for; they are forgotten."""
        held, self._exchanges = self._exchanges, []
        return [one for one in held if not one.is_done]

    def late(self, now: float) -> list[Exchange]:
        """Those whose deadline has passed; they are forgotten, as is whoever has gone."""
        gone = [one for one in self._exchanges if one.is_done or one.deadline <= now]
        self._exchanges = [one for one in self._exchanges if one not in gone]
        return [one for one in gone if not one.is_done]


def settle(exchange: Exchange, table: Table) -> Route | Refusal:
    """Give the exchange the route that its request has now."""
    asked, exchange.table = exchange.asked, table
    if asked is None:
        return answers.NO_PATH
    route = table.find(asked.method, asked.url)
    if asked.method == b"OPTIONS" and not (isinstance(route, Route) and route.operation):
        answer = asked.preflight(table.cors)
        if answer is not None:
            return answer  # browsers ask without a token
    if exchange.objection is not None and not (isinstance(route, Route) and route.is_public):
        return exchange.objection
    if isinstance(route, Refusal):
        return route
    media, refusal = asked.judge(route)
    if refusal is not None:
        return refusal
    exchange.route, exchange.media, exchange.is_repeatable = route, media, route.is_repeatable
    exchange.bear(exchange.body, asked.head if route.wants_head(media) else None)
    return route
