"""Streams between clients and the workers that answer them: when each pauses, and what clients send into theirs.

A client whose connection is upgraded may send at once, before there is an answer, or a worker: what it sends is kept
until its worker has begun, as another one may have to begin anew. A worker tells how much of it has been read; a client
that is too far ahead of that is not read from.
"""

from collections.abc import Mapping, Sequence

from lepton.serve.exchange import Exchange
from lepton.serve.frames import LAST, Entry, Frame, Item, Kind
from lepton.serve.links import WorkerLink
from lepton.serve.room import SMALL_BYTES

OVERFLOW = 1.25
"""Times what a front may keep: a client that goes on sending is let go."""


class Inlet:
    """Those of one desk.

    Args:
        links: its workers.
        live: its requests, by their number.
    """

    def __init__(self, links: Mapping[int, WorkerLink], live: Mapping[int, Exchange]) -> None:
        self._links = links
        self._live = live
        self.cancelled: dict[int, list[Entry]] = {}
        """Worker -> what it is to be told at the end of this turn."""

    def cancel(self, exchange: Exchange) -> None:
        """Nobody waits any more for what its worker does."""
        self.cancelled.setdefault(exchange.worker, []).append(Entry(exchange.id))

    def tell_cancelled(self) -> None:
        """Tell each worker which those are."""
        cancelled, self.cancelled = self.cancelled, {}
        for number, entries in cancelled.items():
            if number in self._links:
                self._links[number].send(Frame(Kind.CANCEL, entries))

    def flow(self, exchange: Exchange, *, is_paused: bool) -> None:
        """Let the worker that streams an answer pause, or go on."""
        link = self._links.get(exchange.worker)
        if link is not None:
            link.send(Frame(Kind.FLOW, [Entry(exchange.id, status=0 if is_paused else 1)], link.slot))

    def pass_on(self, exchange: Exchange, data: bytes, *, is_last: bool) -> None:
        """Bytes from the client of an upgraded connection."""
        if exchange.is_done:
            return
        exchange.ahead_bytes += len(data)
        _keep(exchange)
        room = exchange.connection.room
        if room.held_bytes > OVERFLOW * room.limit_bytes and exchange.ahead_bytes > SMALL_BYTES:
            exchange.connection.abort()
            return
        entry = Entry(exchange.id, data, flags=LAST if is_last else 0)
        if not exchange.has_begun:
            exchange.early = exchange.early or []
            exchange.early.append(entry)
        link = self._links.get(exchange.worker)
        if link is not None:
            link.send(Frame(Kind.INPUT, [entry], link.slot))

    def catch_up(self, link: WorkerLink, exchanges: Sequence[Exchange]) -> None:
        """A worker was given requests whose clients have sent more already."""
        for exchange in exchanges:
            link.send(Frame(Kind.INPUT, exchange.early or (), link.slot))

    def heard(self, items: Sequence[Item]) -> None:
        """A worker tells how much its connections have read."""
        for item in items:
            exchange = self._live.get(item[0])
            if exchange is not None and exchange.is_tunnel and exchange.has_begun and not exchange.is_done:
                exchange.ahead_bytes = max(0, exchange.ahead_bytes - item[3])
                _keep(exchange)
                exchange.connection.flush()


def _keep(exchange: Exchange) -> None:
    """What is little needs no place: what was read of it may not be told yet."""
    ahead = exchange.ahead_bytes
    exchange.keep(ahead if ahead > SMALL_BYTES else 0)
