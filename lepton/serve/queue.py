"""Which waiting requests go to which worker, and when. Pure: time is passed in.

Work-conserving: an idle worker gets what waits at once, so batches form only while workers are busy, and nobody
waits for a batch to fill. A worker has two credits, one for each frame it may hold: one computed, one waiting at its
door so that it never stands still. A busy worker's spare credit is used once as many wait as it computes.
A worker that works on many requests at once (async handlers, a language model) has room for a number of requests
instead: it gets what waits while it has room, and the one with the most room left gets it first.

No batch holds more work than `target_s` seconds, by what its requests are expected to cost; one request always goes.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lepton.serve.marks import Words
from lepton.serve.seats import Seat, Ticket

CREDITS = 2
MAX_BATCH_BYTES = 16 << 20
"""A batch is closed before it grows beyond this, though one larger request may go alone."""
MAX_TRIES = 2


class Batch(NamedTuple):
    """Requests to send to one worker in one frame."""

    worker: int
    tickets: list[Ticket]
    why: str
    """`idle`: the worker had nothing to do · `full`: as many as allowed · `target`: as much work as allowed ·
    `ahead`: a busy worker's spare credit · `room`: a worker that takes many at once had room."""
    was_idle: bool
    """Whether the worker had nothing: it begins now. Also a batch that is `full` or of `target` size may find it so."""


class Queue:
    """The requests that wait for one model version, and the workers that have it loaded."""

    def __init__(
        self, *, max_batch: int, max_waiting: int, max_waiting_bytes: int, target_s: float = float("inf")
    ) -> None:
        self.limit(max_batch=max_batch, max_waiting=max_waiting, max_waiting_bytes=max_waiting_bytes, target_s=target_s)
        self._waiting: deque[Ticket] = deque()
        self._waiting_bytes = 0
        self._waiting_s = 0.0
        self._seats: dict[int, Seat] = {}
        self._open: dict[int, Seat] = {}
        """Those that are given requests: who leaves only gets some if nobody else is there."""
        self.is_roomy = False
        """Whether these work on many requests at once."""

    def limit(self, *, max_batch: int, max_waiting: int, max_waiting_bytes: int, target_s: float) -> None:
        """From now on so much, with the meaning it has for a new queue."""
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._target_s = target_s

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
        """Workers that can be given requests, those that leave not counted while there are others."""
        return len(self._open)

    @property
    def is_busy(self) -> bool:
        """Whether a worker has something."""
        return any(seat.held for seat in self._seats.values())

    @property
    def wait_s(self) -> float:
        """Seconds that a new request would wait, by what those before it are expected to cost."""
        return self._waiting_s / (len(self._seats) or 1)

    def offer(self, ticket: Ticket) -> bool:
        """Let `ticket` wait; False if too much waits already."""
        waiting = self._waiting
        while waiting and waiting[0].is_done:
            self._pop()
        if len(waiting) >= self._max_waiting:
            return False
        total_bytes = self._waiting_bytes + ticket.size_bytes
        if total_bytes > self._max_waiting_bytes and waiting:
            return False
        waiting.append(ticket)
        self._waiting_bytes = total_bytes
        self._waiting_s += ticket.cost_s
        return True

    def drain(self) -> list[Ticket]:
        """All that wait, in their order: they wait here no longer."""
        waiting, self._waiting = self._waiting, deque()
        self._waiting_bytes, self._waiting_s = 0, 0.0
        return [ticket for ticket in waiting if not ticket.is_done]

    def join(self, worker: int, credits: int = CREDITS, room: int = 0) -> None:
        """A worker has its model loaded and asks for requests."""
        self._seats[worker] = Seat(credits, room)
        self._sort()

    def retire(self, worker: int) -> None:
        """A worker wants to leave: others are given requests before it is."""
        if worker in self._seats:
            self._seats[worker].is_leaving = True
            self._sort()

    def is_free(self, worker: int, *, is_kept: bool = False) -> bool:
        """Whether nobody needs a worker any more that wants to leave.

        Args:
            is_kept: it is needed, too, for what may still come, unless another one stays.
        """
        seat = self._seats.get(worker)
        return seat is None or not (seat.held or ((is_kept or self._waiting) and worker in self._open))

    def _sort(self) -> None:
        staying = {worker: seat for worker, seat in self._seats.items() if not seat.is_leaving}
        self._open = staying or dict(self._seats)
        self.is_roomy = any(seat.room for seat in self._open.values())

    def leave(self, worker: int, marks: Words | None = None) -> list[Ticket]:
        """A worker is gone. What it held waits again, in front; returned is what must not be tried again.

        Args:
            marks: what it has begun, if it told; None: all of its first frame may be begun.
        """
        seat = self._seats.pop(worker, None)
        if seat is None:
            return []
        self._sort()
        for other in self._seats.values():
            other.is_stuck = False  # with fewer to choose from, each has its chance
        begun = seat.begun(marks)
        lost = [ticket for ticket in seat.held.values() if not ticket.is_done]
        given_up = [t for t in lost if t.id in begun and (t.tries >= MAX_TRIES or not t.is_repeatable)]
        again = [ticket for ticket in lost if ticket not in given_up]
        for ticket in again:
            ticket.tries -= ticket.id not in begun  # it was sent, but nobody has tried it
        self._wait_again(again)
        return given_up

    def _wait_again(self, tickets: Sequence[Ticket]) -> None:
        again = [ticket for ticket in tickets if not ticket.is_done]
        self._waiting.extendleft(reversed(again))
        self._waiting_bytes += sum(ticket.size_bytes for ticket in again)
        self._waiting_s += sum(ticket.cost_s for ticket in again)

    def stalled(self, marks: Mapping[int, Words], now: float) -> dict[int, int]:
        """Workers that seem to hang with requests that they have not begun, while others could take these.

        Args:
            marks: worker -> what it has begun.
        Returns:
            Worker -> how many requests it was ever sent.
        """
        found = {worker: seat for worker, seat in self._seats.items() if worker in marks}
        stalled = {worker: seat for worker, seat in found.items() if seat.stalls(marks[worker], now)}
        if all(worker in stalled or seat.is_still(now) for worker, seat in self._open.items()):
            return {}
        for seat in stalled.values():
            seat.is_stuck = True
        return {worker: seat.sent for worker, seat in stalled.items()}

    def take_back(self, worker: int, marks: Words, until: int) -> list[Ticket]:
        """Requests that a worker has not begun, and now will not begin; they wait again, in front.

        Args:
            marks: what it has begun.
            until: the number of the last request to take back.
        """
        seat = self._seats.get(worker)
        if seat is None:
            return []
        begun, order = seat.begun(marks), seat.order()
        end = max(0, len(order) - seat.sent + until)
        others = begun | {ticket.id for ticket in order[end:]}
        among = {ticket.id: ticket for ticket in order[:end] if ticket.id in seat.held and ticket.id not in others}
        back = list(among.values())
        seat.give_back(back)
        self._wait_again(back)
        return back

    def given_back(self, worker: int, id: int, number: int) -> Ticket | None:
        """A worker says that it has not begun a request, and will not; it waits again unless it did so already."""
        seat = self._seats.get(worker)
        if seat is None:
            return None
        seat.is_stuck = False
        if id not in seat.held:
            return None
        order = seat.order()
        at = number - (seat.sent - len(order)) - 1
        if not 0 <= at < len(order) or order[at].id != id or any(later.id == id for later in order[at + 1 :]):
            return None
        seat.give_back([order[at]])
        self._wait_again([order[at]])
        return order[at]

    def settle(self, worker: int, ids: Iterable[int], frames: int = 1, now: float = 0.0) -> list[Ticket | None]:
        """A worker has answered: its tickets in the order of `ids`; None for one it was not given.

        Args:
            frames: how many frames it has taken in since it last said so.
        """
        seat = self._seats.get(worker)
        if seat is None:
            return [None for _ in ids]
        seat.credits = min(seat.credits + frames, seat.limit)
        seat.is_stuck = False
        seat.unread = max(0, seat.unread - frames)
        seat.heard = now
        found = [seat.held.pop(id, None) for id in ids]
        seat.tidy()
        return found

    def room_of(self, worker: int) -> int:
        """How many requests the worker works on at once; 0: one batch after the other."""
        seat = self._seats.get(worker)
        return 0 if seat is None else seat.room

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
        while self._waiting and (choice := self._choose(now)):
            worker, size, why = choice
            tickets, why = self._next(size, why, now, late)
            if tickets:
                seat = self._seats[worker]
                was_idle = not seat.held
                seat.send(tickets, now)
                batches.append(Batch(worker, tickets, why, was_idle))
        return batches, late

    def _choose(self, now: float) -> tuple[int, int, str] | None:
        """The worker to serve next, how many requests it may get, and why; None if all shall wait."""
        idle = [
            (worker, seat)
            for worker, seat in self._open.items()
            if not seat.held and seat.credits > 0 and not seat.is_still(now)
        ]
        if idle:
            worker, seat = idle[0]
            share = -(-len(self._waiting) // len(idle))
            return worker, min(share, self._max_batch, seat.room or share), "idle"
        awake = [(worker, seat) for worker, seat in self._open.items() if not seat.is_still(now)]
        roomy = [(len(seat.held) / seat.room, worker) for worker, seat in awake if seat.room]
        if roomy:
            load, worker = min(roomy)
            room = self._seats[worker].room
            return None if load >= 1 else (worker, max(1, min(self._max_batch, room // 8)), "room")
        spare = [(len(seat.held), worker) for worker, seat in awake if seat.credits > 0 and not seat.room]
        if not spare:
            return None
        held, worker = min(spare)
        if len(self._waiting) < min(held, self._max_batch):
            return None
        return worker, self._max_batch, "ahead"

    def _next(self, size: int, why: str, now: float, late: list[Ticket]) -> tuple[list[Ticket], str]:
        """Up to `size` requests from the front of the queue that somebody still waits for, and why no more."""
        tickets: list[Ticket] = []
        size_bytes, cost_s = 0, 0.0
        waiting, target_s = self._waiting, self._target_s
        left_bytes, left_s = self._waiting_bytes, self._waiting_s
        while waiting and len(tickets) < size:
            ticket = waiting[0]
            own_bytes, own_s = ticket.size_bytes, ticket.cost_s
            is_late = ticket.deadline <= now
            if not (ticket.is_done or is_late):
                size_bytes += own_bytes
                cost_s += own_s
                if tickets and (size_bytes > MAX_BATCH_BYTES or cost_s > target_s):
                    why = "target" if cost_s > target_s else "full"
                    break
                ticket.tries += 1
                tickets.append(ticket)
            elif is_late and not ticket.is_done:
                late.append(ticket)
            waiting.popleft()
            left_bytes -= own_bytes
            left_s -= own_s
        self._waiting_bytes, self._waiting_s = left_bytes, left_s if waiting else 0.0
        return tickets, "full" if len(tickets) == self._max_batch else why

    def _pop(self) -> Ticket:
        ticket = self._waiting.popleft()
        self._waiting_bytes -= ticket.size_bytes
        self._waiting_s = self._waiting_s - ticket.cost_s if self._waiting else 0.0
        return ticket
