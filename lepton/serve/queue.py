"""Which waiting requests go to which worker, and when. Pure: time is passed in.

Work-conserving: an idle worker gets what waits at once, so batches form only while workers are busy, and nobody
waits for a batch to fill. A worker has two credits, one for each frame it may hold: one computed, one waiting at its
door so that it never stands still. A busy worker's spare credit is used once as many wait as it computes.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

CREDITS = 2
MAX_BATCH_BYTES = 16 << 20
"""A batch is closed before it grows beyond this, though one larger request may go alone."""
MAX_TRIES = 2


class Ticket:
    """One request as the queue sees it."""

    __slots__ = ("deadline", "id", "is_done", "size_bytes", "tries")

    def __init__(self, id: int, size_bytes: int, deadline: float) -> None:
        self.id = id
        self.size_bytes = size_bytes
        self.deadline = deadline
        """On the clock whose time is passed to `take`."""
        self.tries = 0
        """How often it was sent to a worker."""
        self.is_done = False
        """Answered or cancelled: nobody waits for it any more."""


class Batch(NamedTuple):
    """Requests to send to one worker in one frame."""

    worker: int
    tickets: list[Ticket]
    why: str
    """`idle`: the worker had nothing to do · `full`: as large as allowed · `ahead`: a busy worker's spare credit."""


class Seat:
    """What the queue knows of one worker."""

    __slots__ = ("credits", "held", "limit")

    def __init__(self, credits: int) -> None:
        self.credits = self.limit = credits
        self.held: dict[int, Ticket] = {}


class Queue:
    """The requests that wait for one model version, and the workers that have it loaded."""

    def __init__(self, *, max_batch: int, max_waiting: int, max_waiting_bytes: int) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[Ticket] = deque()
        self._waiting_bytes = 0
        self._seats: dict[int, Seat] = {}

    @property
    def waiting(self) -> int:
        """Requests not yet sent to a worker, cancelled ones included until their turn."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Requests that workers have now."""
        return sum(len(seat.held) for seat in self._seats.values())

    @property
    def workers(self) -> int:
        """Workers that can be given requests."""
        return len(self._seats)

    def offer(self, ticket: Ticket) -> bool:
        """Let `ticket` wait; False if too much waits already."""
        while self._waiting and self._waiting[0].is_done:
            self._waiting_bytes -= self._waiting.popleft().size_bytes
        if len(self._waiting) >= self._max_waiting:
            return False
        if self._waiting_bytes + ticket.size_bytes > self._max_waiting_bytes and self._waiting:
            return False
        self._waiting.append(ticket)
        self._waiting_bytes += ticket.size_bytes
        return True

    def join(self, worker: int, credits: int = CREDITS) -> None:
        """A worker has its model loaded and asks for requests."""
        self._seats[worker] = Seat(credits)

    def leave(self, worker: int) -> list[Ticket]:
        """A worker is gone. What it held waits again, in front; returned is what was tried too often for that."""
        seat = self._seats.pop(worker, None)
        lost = [ticket for ticket in seat.held.values() if not ticket.is_done] if seat else []
        again = [ticket for ticket in lost if ticket.tries < MAX_TRIES]
        self._waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(ticket.size_bytes for ticket in again)
        return [ticket for ticket in lost if ticket.tries >= MAX_TRIES]

    def settle(self, worker: int, ids: Iterable[int]) -> list[Ticket | None]:
        """A worker has answered one frame: its tickets in the order of `ids`; None for one it was not given."""
        seat = self._seats.get(worker)
        if seat is None:
            return [None for _ in ids]
        seat.credits = min(seat.credits + 1, seat.limit)
        return [seat.held.pop(id, None) for id in ids]

    def hung(self, before: float) -> list[int]:
        """Workers that hold a request whose deadline passed before then."""
        return [
            worker
            for worker, seat in self._seats.items()
            if any(ticket.deadline < before for ticket in seat.held.values())
        ]

    def take(self, now: float) -> tuple[list[Batch], list[Ticket]]:
        """What to send now, and what has waited beyond its deadline and was dropped."""
        batches: list[Batch] = []
        late: list[Ticket] = []
        while self._waiting and (choice := self._choose()):
            worker, size, why = choice
            tickets = self._next(size, now, late)
            if tickets:
                seat = self._seats[worker]
                seat.credits -= 1
                seat.held.update((ticket.id, ticket) for ticket in tickets)
                batches.append(Batch(worker, tickets, "full" if len(tickets) == self._max_batch else why))
        return batches, late

    def _choose(self) -> tuple[int, int, str] | None:
        """The worker to serve next, how many requests it may get, and why; None if all shall wait."""
        idle = [worker for worker, seat in self._seats.items() if not seat.held and seat.credits > 0]
        if idle:
            share = -(-len(self._waiting) // len(idle))
            return idle[0], min(share, self._max_batch), "idle"
        spare = [(len(seat.held), worker) for worker, seat in self._seats.items() if seat.credits > 0]
        if not spare:
            return None
        held, worker = min(spare)
        if len(self._waiting) < min(held, self._max_batch):
            return None
        return worker, self._max_batch, "ahead"

    def _next(self, size: int, now: float, late: list[Ticket]) -> list[Ticket]:
        """Up to `size` requests from the front of the queue that somebody still waits for."""
        tickets: list[Ticket] = []
        size_bytes = 0
        while self._waiting and len(tickets) < size:
            ticket = self._waiting[0]
            if tickets and size_bytes + ticket.size_bytes > MAX_BATCH_BYTES:
                break
            self._waiting.popleft()
            self._waiting_bytes -= ticket.size_bytes
            if ticket.is_done:
                continue
            if ticket.deadline <= now:
                late.append(ticket)
                continue
            ticket.tries += 1
            size_bytes += ticket.size_bytes
            tickets.append(ticket)
        return tickets
