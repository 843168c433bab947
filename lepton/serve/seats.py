"""What the queue knows of one request, and of one worker. Pure: time is passed in."""

from collections import deque
from collections.abc import Iterator

from lepton.serve.marks import Words, is_marked

STILL_S = 1.0
"""A worker that has not taken in for this long what it was sent may hang. It is sent nothing more until it has."""


class Ticket:
    """One request as the queue sees it. What most requests leave as it is lies in the class, which costs less."""

    operation = 0
    """What is asked: the number of a route."""
    cost_s = 0.0
    """Seconds that a worker is expected to spend on it."""
    is_repeatable = True
    """Whether it may be tried again although a worker may have begun it."""
    tries = 0
    """How often it was sent to a worker that may have begun it."""
    arrived = 0.0
    """When it had come whole, on the clock of its deadline."""
    sent = 0.0
    """When a worker was given it that works on many at once."""
    crowd = 0
    """How many of its kind were in work when it came, itself among them."""
    turn = 0
    """Which of their answers would be its own, if all came in order."""
    has_begun = False
    """Its answer streams."""
    is_done = False
    """Answered or cancelled: nobody waits for it any more."""

    def __init__(self, id: int, size_bytes: int, deadline: float) -> None:
        self.id = id
        self.size_bytes = size_bytes
        self.deadline = deadline
        """On the clock whose time is passed to `take`."""


class Seat:
    """What the queue knows of one worker."""

    __slots__ = (
        "credits",
        "frames",
        "heard",
        "held",
        "is_leaving",
        "is_stuck",
        "limit",
        "next",
        "room",
        "sent",
        "since",
        "unread",
    )

    def __init__(self, credits: int, room: int) -> None:
        self.credits = self.limit = credits
        self.is_leaving = False
        self.room = room
        """Requests it may hold; 0: what its credits allow."""
        self.held: dict[int, Ticket] = {}
        self.frames: deque[list[Ticket]] = deque()
        """What it holds, frame by frame: it computes the first, or all if it has room."""
        self.unread = 0
        """Frames that it has not taken in."""
        self.heard = 0.0
        """When it last answered something, or was sent the first of these."""
        self.sent = 0
        """Requests that it was ever sent. Each has its number among them, from 1 on."""
        self.next, self.since = 0, 0.0
        """The number of the first that it has not begun, and when that was first seen."""
        self.is_stuck = False
        """It has stalled, and neither begun nor answered anything since."""

    def send(self, tickets: list[Ticket], now: float) -> None:
        """Give it a frame."""
        self.credits -= 0 if self.room else 1
        self.held.update([(ticket.id, ticket) for ticket in tickets])
        if self.room:
            for ticket in tickets:
                ticket.sent = now
        self.frames.append(tickets)
        self.sent += len(tickets)
        self.heard = self.heard if self.unread else now
        self.unread += 1

    def is_still(self, now: float) -> bool:
        """Whether it seems to hang."""
        return self.is_stuck or (self.unread > 0 and now - self.heard > STILL_S)

    def begun(self, marks: Words | None) -> set[int]:
        """Ids of the requests it may have begun.

        Args:
            marks: those of the worker; None: it has none.
        """
        if marks is None:
            frames = list(self.frames) if self.room else list(self.frames)[:1]
            return {ticket.id for frame in frames for ticket in frame}
        return {ticket.id for number, ticket in self.numbered() if is_marked(marks, number)}

    def order(self) -> list[Ticket]:
        """What it was sent and may have, one after the other: the last of them has the number `sent`."""
        return [ticket for frame in self.frames for ticket in frame]

    def numbered(self) -> Iterator[tuple[int, Ticket]]:
        """The same, each with its number."""
        order = self.order()
        return enumerate(order, self.sent - len(order) + 1)

    def stalls(self, marks: Words, now: float) -> bool:
        """Whether it holds something that it has not begun for long, although nothing before it is not begun."""
        held = self.held
        waiting = (number for number, ticket in self.numbered() if ticket.id in held and not is_marked(marks, number))
        first = next(waiting, 0)
        if first != self.next:
            self.next, self.since = first, now
            self.is_stuck &= not first  # it has begun something
        return bool(first) and now - self.since > STILL_S

    def give_back(self, tickets: list[Ticket]) -> None:
        """Nobody has begun these, and it never will."""
        for ticket in tickets:
            del self.held[ticket.id]
            ticket.tries -= 1
        self.tidy()

    def tidy(self) -> None:
        """Forget frames of which nothing is left."""
        if not self.held:
            self.frames.clear()
        while self.frames and not any(ticket.id in self.held for ticket in self.frames[0]):
            self.frames.popleft()
