"""Whether one more request would be answered in time by replicas that work on many at once. Pure: time is passed in.

What waits inside such a replica - at a lock of the user's, for a thread of a mounted application, for its loop - nobody
sees from outside. What is seen is how long answers took that were asked for while as many were in work as now. Where
that grows with their number they wait for each other, and one more waits longer still: if that is longer than it may
wait, it is refused. Where it does not grow each takes that long however few there are, and nobody is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lepton.serve.seats import Ticket

LEVELS = 33
"""Each of twice as many as the last: more than there can be."""
SURE = 8
"""Answers at a level before anybody is refused by it."""
SPAN = 100
"""Answers that a level goes by: fewer would be the slow ones of a burst, which come last."""
FRESH_S = 60.0
"""After this long without one, or twice the deadline, nobody is refused by it any more."""
GROWS = 1.3
"""So many times longer than at the level below, and they wait for each other."""
BEYOND = 1.5
"""So many times more in work than a level has seen are expected to go on as they do there."""
LEAST, MOST = 2.0, 4.0
"""How much longer than at the level below each may cost the replica, and by how many deadlines one may be late: beyond
that it is a pause of the machine."""
MARGIN = 0.9
"""Of the time left: of those that are expected to need just that, every other one would be late."""


@dataclass(slots=True)
class Level:
    """What was seen of those that came when about as many were in work; twice as many are another level."""

    count: int = 0
    crowd: float = 0.0
    """How many were in work, for each replica: a mean, as is"""
    took_s: float = 0.0
    seen: float = 0.0
    """When the last one was answered."""

    def saw(self, crowd: float, seconds: float, now: float) -> None:
        """One took so long, or would have."""
        self.count = min(self.count + 1, SPAN)
        self.crowd += (crowd - self.crowd) / self.count
        self.took_s += (seconds - self.took_s) / self.count
        self.seen = now

    def waits(self, below: "Level") -> bool:
        """Whether they wait for each other, by what is known of the level below."""
        return self._took_s(below) > GROWS * below.took_s

    def expected_s(self, crowd: float, below: "Level") -> float:
        """How long one more would take: the line through both levels."""
        took_s = self._took_s(below)
        slope = min(max(0.0, took_s - below.took_s) / (self.crowd - below.crowd), took_s / self.crowd)
        return took_s + slope * (min(crowd, BEYOND * self.crowd) - self.crowd)

    def _took_s(self, below: "Level") -> float:
        return min(self.took_s, LEAST * below.took_s * self.crowd / below.crowd)


class Crowd:
    """Requests of one kind that are in work: let in, and no answer has begun."""

    def __init__(self) -> None:
        self.tickets: dict[int, Ticket] = {}
        self._answers = 0
        self._levels = [Level() for _ in range(LEVELS)]
        self._longest_s = 0.0
        """That any of them took, or one that was known since the last `tidy`."""

    def enter(self, ticket: Ticket) -> None:
        """It is let in."""
        self.tickets[ticket.id] = ticket
        ticket.crowd = len(self.tickets)
        ticket.turn = self._answers + ticket.crowd

    def answered(self, ticket: Ticket, workers: int, now: float) -> None:
        """Its answer has begun."""
        if self.tickets.pop(ticket.id, None) is not None:
            self._answers += 1
            self._saw(ticket.crowd / workers, now - ticket.arrived, now)

    def late(self, ticket: Ticket, workers: int, now: float) -> None:
        """It had none in time: if they are answered in their order, it would have waited for those before it too."""
        if self.tickets.pop(ticket.id, None) is not None:
            done = max(1, ticket.crowd - max(0, ticket.turn - self._answers))
            self._saw(ticket.crowd / workers, (now - ticket.arrived) * min(MOST, ticket.crowd / done), now)

    def _saw(self, crowd: float, seconds: float, now: float) -> None:
        level = self._levels[int(crowd).bit_length()]
        level.saw(crowd, seconds, now)
        self._longest_s = max(self._longest_s, level.took_s)

    def tidy(self) -> None:
        """Forget those for whom nobody waits any more."""
        for ticket in [ticket for ticket in self.tickets.values() if ticket.is_done]:
            del self.tickets[ticket.id]
        self._longest_s = max(level.took_s for level in self._levels)

    def is_too_large(self, workers: int, left_s: float, now: float) -> bool:
        """Whether one more would be late. What a level tells counts unless more in work were in time since."""
        crowd = (len(self.tickets) + 1) / workers
        limit_s, since = MARGIN * left_s, now - max(FRESH_S, 2 * left_s)
        if crowd <= 1 or self._longest_s * BEYOND <= limit_s:
            return False
        own: Level | None = None
        for below in self._levels[int(crowd).bit_length() :: -1]:
            if below.count < 2:
                continue
            if own is not None:
                if own.expected_s(crowd, below) <= limit_s:
                    since = max(since, own.seen)
                elif own.count >= SURE and own.seen >= since and own.waits(below):
                    return True
            own = below
        return False


class Crowds:
    """Those of all operations of a program."""

    def __init__(self) -> None:
        self._crowds: dict[int, Crowd] = {}

    def is_too_large(self, operation: int, workers: int, left_s: float, now: float) -> bool:
        """Whether one more request would be late."""
        crowd = self._crowds.get(operation)
        return crowd is not None and workers > 0 and crowd.is_too_large(workers, left_s, now)

    def enter(self, ticket: Ticket) -> None:
        """It is let in."""
        if (crowd := self._crowds.get(ticket.operation)) is None:
            crowd = self._crowds[ticket.operation] = Crowd()
        crowd.enter(ticket)

    def answered(self, tickets: Iterable[Ticket], workers: int, now: float) -> None:
        """The answers of these have begun."""
        if self._crowds:
            for ticket in tickets:
                if (crowd := self._crowds.get(ticket.operation)) is not None:
                    crowd.answered(ticket, workers or 1, now)

    def late(self, ticket: Ticket, workers: int, now: float) -> None:
        """This one had none in time."""
        if (crowd := self._crowds.get(ticket.operation)) is not None:
            crowd.late(ticket, workers or 1, now)

    def tidy(self) -> None:
        """Forget those for whom nobody waits any more."""
        for crowd in self._crowds.values():
            crowd.tidy()
