"""What a request of one kind costs a worker: seconds for a batch of n as a + b n, fitted while it runs. Pure.

Older batches count less and less, so that the fit follows a model that becomes slower or faster (BentoML's batching
fits the same line, but waits by it; here it only bounds a batch and refuses what could not be answered in time).
"""

from collections.abc import Collection, Iterable, Sequence

from lepton.serve.seats import Ticket

KEEP = 0.97
"""Weight that what was seen keeps with each new batch."""
MAX_GUESS_S = 3600.0
SURE_BATCHES = 8
OUTLIER, LEAST_S = 4.0, 0.001
"""A batch that takes longer than so many times what was expected counts as that: a pause of the machine is no cost."""


class Cost:
    """The line through what was seen; before anything was, every guess is zero."""

    __slots__ = ("_n", "_nn", "_nt", "_t", "_w", "base_s", "each_s")

    def __init__(self) -> None:
        self._w = self._n = self._t = self._nn = self._nt = 0.0
        self.base_s = 0.0
        """a: seconds for any batch."""
        self.each_s = 0.0
        """b: seconds for one more request."""

    @property
    def is_sure(self) -> bool:
        """Whether enough was seen to refuse somebody by it: the first batches cost more than those that follow."""
        return self._w >= SURE_BATCHES

    def saw(self, count: int, seconds: float) -> None:
        """A batch of `count` requests took so long."""
        if self.is_sure:
            seconds = min(seconds, max(LEAST_S, OUTLIER * (self.base_s + self.each_s * count)))
        self._w = self._w * KEEP + 1
        self._n = self._n * KEEP + count
        self._t = self._t * KEEP + seconds
        self._nn = self._nn * KEEP + count * count
        self._nt = self._nt * KEEP + count * seconds
        spread = self._w * self._nn - self._n * self._n
        mean_n, mean_t = self._n / self._w, self._t / self._w
        if spread > 1e-6 * self._w * self._nn:
            each_s = (self._w * self._nt - self._n * self._t) / spread
        else:  # all batches had one size: the line is through the origin
            each_s = mean_t / mean_n
        self.each_s = min(max(each_s, 0.05 * mean_t / mean_n), MAX_GUESS_S)
        self.base_s = max(0.0, mean_t - self.each_s * mean_n)


class Costs:
    """The costs of all operations of a model version, learned from when workers begin and answer."""

    def __init__(self) -> None:
        self._costs: dict[int, Cost] = {}
        self.sure: dict[int, Cost] = {}
        """Of those of which enough was seen: operation -> its cost."""
        self._since: dict[int, float] = {}
        """Worker -> when it began what it computes now."""

    def began(self, worker: int, now: float) -> None:
        """A worker that stood idle was given a batch."""
        self._since[worker] = now

    def is_timing(self, worker: int) -> bool:
        """Whether it is known when the worker began what it computes."""
        return worker in self._since

    def answered(self, worker: int, operations: Collection[int], count: int, now: float) -> None:
        """A worker that is timed has answered `count` requests; if it had more, it has begun with them."""
        if not count:
            return
        since, self._since[worker] = self._since[worker], now
        if len(operations) == 1:
            self._saw(next(iter(operations)), count, now - since)

    def settled(self, worker: int, tickets: Iterable[Ticket | None], room: int, now: float) -> None:
        """A worker that works on so many at once has answered these; 0: on one batch after the other."""
        known = [ticket for ticket in tickets if ticket is not None]
        if self.is_timing(worker):  # what this batch has cost, if it was of one kind and computed alone
            self.answered(worker, {ticket.operation for ticket in known}, len(known), now)
        elif room:
            self._answered_beside(known, room, now)

    def _answered_beside(self, tickets: Sequence[Ticket], room: int, now: float) -> None:
        """A worker that works on so many at once has answered some: while others wait it is full, so each has cost it
        that part of its time (Little's law). How long an answer streams says nothing of those that wait."""
        for ticket in tickets:
            if not ticket.has_begun:
                self._saw(ticket.operation, 1, (now - ticket.sent) / room)

    def _saw(self, operation: int, count: int, seconds: float) -> None:
        cost = self._costs.setdefault(operation, Cost())
        cost.saw(count, seconds)
        if cost.is_sure:
            self.sure[operation] = cost

    def forget(self, worker: int) -> None:
        """A worker is gone."""
        self._since.pop(worker, None)
