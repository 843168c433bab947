"""Whether a request would be answered in time, by what is learned from all that were. Pure: time is passed in.

Two things are known. What waits at the front has its fitted cost (`cost.py`). What replicas have that work on many at
once waits unseen, and tells only by how long it takes (`crowds.py`).
"""

from collections.abc import Iterable

from lepton.serve.cost import Costs
from lepton.serve.crowds import Crowds
from lepton.serve.queue import Queue
from lepton.serve.seats import Ticket


class Forecast:
    """That of one program, whose requests wait in `queue`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._costs = Costs()
        self._crowds = Crowds()

    def is_late(self, ticket: Ticket, now: float) -> bool:
        """Whether it would be; it is told what it will cost."""
        queue, operation = self._queue, ticket.operation
        cost = self._costs.sure.get(operation)
        if cost is not None:
            ticket.cost_s = cost.each_s
            if ticket.arrived + queue.wait_s + cost.base_s > ticket.deadline:
                return True
        return queue.is_roomy and self._crowds.is_too_large(operation, queue.workers, ticket.deadline - now, now)

    def enter(self, ticket: Ticket) -> None:
        """It is let in."""
        if self._queue.is_roomy:
            self._crowds.enter(ticket)

    def began(self, worker: int, now: float) -> None:
        """A worker that stood idle was given a batch."""
        if not self._queue.room_of(worker):
            self._costs.began(worker, now)

    def settled(self, worker: int, tickets: Iterable[Ticket | None], now: float) -> None:
        """A worker is done with these."""
        self._costs.settled(worker, tickets, self._queue.room_of(worker), now)

    def answered(self, tickets: Iterable[Ticket], now: float) -> None:
        """The answers of these have begun."""
        self._crowds.answered(tickets, self._queue.workers, now)

    def missed(self, ticket: Ticket, now: float) -> None:
        """This one had none at its deadline."""
        self._crowds.late(ticket, self._queue.workers, now)

    def forget(self, worker: int) -> None:
        """A worker is gone."""
        self._costs.forget(worker)

    def tidy(self) -> None:
        """Forget those for whom nobody waits any more."""
        self._crowds.tidy()
