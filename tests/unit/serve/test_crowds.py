"""Who would be late is refused where requests wait for each other, and nobody where they do not."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lepton.serve.crowds import Crowd
from lepton.serve.seats import Ticket

DEADLINE_S = 1.0
Taking = Callable[[Random, float], float]
"""How long the next one takes, by the time."""


class Clients:
    """So many clients of a replica that, unseen, works on `places` requests at once, in their order; each asks again
    when it is answered, and a while after it was refused."""

    def __init__(self, taking: Taking, *, places: int = 1_000_000, seed: int = 0) -> None:
        self.crowd = Crowd()
        self.now = 0.0
        self._random, self._taking, self._places = Random(seed), taking, places
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._numbers = count(1)
        self._wanted, self._asking, self._busy = 0, 0, 0
        self._line: list[Ticket] = []
        self._told: Counter[str] = Counter()

    def run(self, clients: int, seconds: float) -> Counter[str]:
        """How many were `answered`, `late` and `refused` in this time."""
        self._wanted, self._told = clients, Counter()
        for _ in range(clients - self._asking):
            self._asking += 1
            self._at(self.now, self._ask)
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, then, args = heapq.heappop(self._events)
            then(*args)
        self.now = until
        return self._told

    def _at(self, when: float, then: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), then, args))

    def _ask(self) -> None:
        if self._asking > self._wanted:
            self._asking -= 1
        elif self.crowd.is_too_large(1, DEADLINE_S, self.now):
            self._told["refused"] += 1
            self._at(self.now + self._random.uniform(0.5, 1.5), self._ask)
        else:
            ticket = Ticket(next(self._numbers), 1, self.now + DEADLINE_S)
            ticket.arrived = self.now
            self.crowd.enter(ticket)
            self._line.append(ticket)
            self._at(ticket.deadline, self._miss, ticket)
            self._begin()

    def _begin(self) -> None:
        while self._line and self._busy < self._places:
            ticket = self._line.pop(0)
            if not ticket.is_done:
                self._busy += 1
                self._at(self.now + self._taking(self._random, self.now), self._answer, ticket)

    def _answer(self, ticket: Ticket) -> None:
        self._busy -= 1
        if not ticket.is_done:
            ticket.is_done = True
            self.crowd.answered(ticket, 1, self.now)
            self._told["answered"] += 1
            self._at(self.now, self._ask)
        self._begin()

    def _miss(self, ticket: Ticket) -> None:
        if not ticket.is_done:
            ticket.is_done = True
            self.crowd.late(ticket, 1, self.now)
            self._told["late"] += 1
            self._at(self.now, self._ask)


def always(seconds: float) -> Taking:
    return lambda _, __: seconds


def about(seconds: float) -> Taking:
    return lambda random, _: random.uniform(0.5, 1.5) * seconds


@settings(deadline=None, max_examples=25)
@given(
    places=st.integers(1, 12),
    ms=st.integers(5, 200),
    clients=st.integers(60, 300),
    is_even=st.booleans(),
    seed=st.integers(0, 9),
)
def test_those_who_wait_for_each_other_are_refused_before_they_are_late_and_no_more_of_them(
    places: int, ms: int, clients: int, is_even: bool, seed: int
) -> None:
    can = places / ms * 1000  # requests a second
    assume(8 <= can <= clients / 2)
    shop = Clients(always(ms / 1000) if is_even else about(ms / 1000), places=places, seed=seed)
    shop.run(2, 2)
    shop.run(clients, 5)  # nobody could know how this begins
    told = shop.run(clients, 20)
    assert told["answered"] > 0.9 * can * 20
    assert told["late"] < 0.1 * told["answered"]
    shop.run(1, 3)
    assert shop.run(1, 2)["refused"] == 0, "as soon as there are few again"


@settings(deadline=None, max_examples=25)
@given(
    ms=st.integers(150, 980),
    crowds=st.lists(st.sampled_from([1, 2, 5, 20, 60, 200]), min_size=1, max_size=5),
    seed=st.integers(0, 9),
)
def test_nobody_is_refused_who_waits_for_no_other_however_long_it_takes_and_however_many_come(
    ms: int, crowds: list[int], seed: int
) -> None:
    shop = Clients(lambda random, _: min(0.99, ms / 1000 * random.uniform(0.9, 1.1)), seed=seed)
    told = [shop.run(clients, 2) for clients in crowds]
    assert all(one.keys() <= {"answered"} for one in told)


def test_a_burst_after_quiet_is_let_in_and_a_second_one_finds_that_it_was_too_large() -> None:
    shop = Clients(always(0.05), places=2)
    shop.run(1, 5)
    assert shop.run(30, 0.7)["refused"] == 0, "they can be answered in time"
    shop.run(200, 5)
    shop.run(1, 5)
    told = shop.run(200, 1)
    assert told["late"] == 0 and told["answered"] >= 30 and told["refused"] > 100


def test_a_pause_of_the_machine_and_a_few_that_hang_shut_nobody_out() -> None:
    def taking(random: Random, now: float) -> float:
        if 10 < now < 12:
            return 12.1 - now
        return 60.0 if random.random() < 0.02 else random.uniform(0.1, 0.3)

    shop = Clients(taking)
    for clients in (3, 50, 50, 50, 50):
        assert shop.run(clients, 4)["refused"] == 0


def test_when_they_become_slower_or_faster_it_follows() -> None:
    shop = Clients(lambda _, now: 0.1 if 10 < now < 20 else 0.05, places=2)
    shop.run(200, 10)
    shop.run(200, 4)
    slow = shop.run(200, 6)
    assert slow["answered"] > 110 and slow["late"] < 12
    shop.run(200, 3)
    fast = shop.run(200, 5)
    assert fast["answered"] > 190 and fast["late"] < 12


def tickets(first: int, number: int) -> Iterator[Ticket]:
    return (Ticket(id, 1, 1e9) for id in range(first, first + number))


def test_more_replicas_share_a_crowd() -> None:
    crowd = Crowd()
    for number in (1, 2, 4, 8, 16, 32):
        for one in tickets(number * 100, number):
            crowd.enter(one)
        for _ in range(3):
            for one in list(crowd.tickets.values()):
                crowd.answered(one, 1, 0.04 * number)
                crowd.enter(one)
        crowd.tickets.clear()
    for one in tickets(1, 40):
        crowd.enter(one)
    assert crowd.is_too_large(1, DEADLINE_S, 2.0)
    assert not crowd.is_too_large(4, DEADLINE_S, 2.0)
