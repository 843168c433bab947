"""What a front takes back from a worker is begun once, whatever both do at the same time, and by somebody."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from lepton.serve.marks import PLACES, Claims, make_words
from lepton.serve.queue import Queue
from lepton.serve.seats import STILL_S, Ticket
from lepton.serve.withdrawals import Withdrawals

Choose = Callable[[int], int]
"""One of so many."""


class Between:
    """Words that let the front act before each access of the worker."""

    def __init__(self, act: Callable[[], None], count: int) -> None:
        self.words = make_words(count)
        self._act = act

    def __getitem__(self, at: int) -> int:
        self._act()
        return self.words[at]

    def __setitem__(self, at: int, value: int) -> None:
        self._act()
        self.words[at] = value


class Play:
    """A front, a worker that begins what it has in any order, and one that does everything at once."""

    def __init__(self, choose: Choose, *, is_alone: bool) -> None:
        self.choose = choose
        self.queue = Queue(max_batch=4, max_waiting=1000, max_waiting_bytes=1 << 20)
        self.asked = self.came = self.until = 0
        """Up to where it is taken back, while the marks are not read yet."""
        self.marks, self.void = Between(self.act, PLACES), Between(self.act, 1)
        self.claims = Claims(self.marks, self.void)  # type: ignore[arg-type]
        self.inbox: list[tuple[int, Ticket]] = []
        self.begun: list[int] = []
        self.back: list[tuple[int, int]] = []
        self.times: Counter[int] = Counter()
        self.queue.join(1, room=32)
        if not is_alone:
            self.queue.join(2)

    def ask(self) -> None:
        for _ in range(self.choose(4)):
            self.asked += 1
            assert self.queue.offer(Ticket(self.asked, 1, 100.0))
        self.hand_out()

    def hand_out(self) -> None:
        for batch in self.queue.take(0.0)[0]:
            if batch.worker == 1:
                for ticket in batch.tickets:
                    self.came += 1
                    self.inbox.append((self.came, ticket))
            else:
                self.times.update(ticket.id for ticket in batch.tickets)
                self.queue.settle(2, [ticket.id for ticket in batch.tickets])

    def begin(self) -> None:
        if self.inbox:
            number, ticket = self.inbox.pop(self.choose(min(4, len(self.inbox))))
            if self.claims.claim(number):
                self.times[ticket.id] += 1
                self.begun.append(ticket.id)
            else:
                self.back.append((number, ticket.id))

    def answer(self) -> None:
        done, self.begun = self.begun, []
        self.queue.settle(1, done)

    def give_back(self) -> None:
        back, self.back = self.back, []
        for number, id in back:
            self.queue.given_back(1, id, number)

    def act(self) -> None:
        """Of the front: one half of a withdrawal after the other, or nothing."""
        while self.choose(2):
            if self.until:
                self.queue.take_back(1, self.marks.words, self.until)
                self.until = 0
            else:
                self.until = self.void.words[0] = self.came

    def end(self) -> None:
        for _ in range(3000):
            for step in (self.act, self.begin, self.answer, self.give_back, self.hand_out):
                step()


@pytest.mark.parametrize("is_alone", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_each_request_is_begun_once_however_front_and_worker_meet(seed: int, is_alone: bool) -> None:
    random = Random(seed)
    play = Play(random.randrange, is_alone=is_alone)
    for _ in range(400):
        getattr(play, random.choice(("ask", "begin", "begin", "begin", "answer", "give_back", "act")))()
    play.choose = lambda _: 0
    if play.until:
        play.queue.take_back(1, play.marks.words, play.until)
    play.end()
    assert play.times == dict.fromkeys(range(1, play.asked + 1), 1)


class Line:
    def __init__(self) -> None:
        self.marks, self.void = make_words(PLACES), make_words()


def make(*numbers: int, count: int) -> tuple[Queue, dict[int, Line]]:
    queue = Queue(max_batch=8, max_waiting=100, max_waiting_bytes=1 << 20)
    for number in numbers:
        queue.join(number)
    for id in range(1, count + 1):
        assert queue.offer(Ticket(id, 1, 1000.0))
    return queue, {number: Line() for number in numbers}


def test_what_is_behind_a_call_that_hangs_waits_again_in_front_and_in_order() -> None:
    queue, links = make(1, 2, count=8)
    withdrawals = Withdrawals(queue, links)
    _, second = queue.take(0.0)[0]
    links[1].marks[1] = 1
    queue.settle(2, [ticket.id for ticket in second.tickets], now=0.5)
    assert withdrawals.turn(0.1) == []
    late = STILL_S + 0.2
    assert withdrawals.turn(late) == [], "first the worker must be able to see it"
    assert links[1].void[0] == 4
    back = withdrawals.turn(late + 0.1)
    assert [ticket.id for ticket in back] == [2, 3, 4]
    assert [ticket.tries for ticket in back] == [0, 0, 0]
    (batch,) = queue.take(late + 0.1)[0]
    assert (batch.worker, [ticket.id for ticket in batch.tickets]) == (2, [2, 3, 4])
    assert withdrawals.turn(late + 0.2) == [] and links[1].void[0] == 4, "the one that hangs is begun"


@pytest.mark.parametrize("is_looking", [True, False])
def test_nothing_is_taken_back_for_nobody_or_from_who_does_not_look(is_looking: bool) -> None:
    queue, links = make(1, 2, count=4)
    queue.take(0.0)
    links[1].marks[1] = 1
    if is_looking:
        links[2].marks[1] = 1  # it stands still as well
    else:
        queue.settle(2, [3, 4], now=STILL_S)
        links[1].void = None  # type: ignore[assignment]
    withdrawals = Withdrawals(queue, links)
    assert [withdrawals.turn(STILL_S + number) for number in range(1, 4)] == [[], [], []]


def test_who_has_stalled_is_given_nothing_until_it_goes_on() -> None:
    queue, links = make(1, 2, count=2)
    withdrawals = Withdrawals(queue, links)
    queue.take(0.0)
    withdrawals.turn(0.05)
    for id in (3, 4):
        queue.offer(Ticket(id, 1, 1000.0))
    queue.settle(2, [2], now=STILL_S)
    queue.take(STILL_S)
    withdrawals.turn(STILL_S + 0.1)
    assert [ticket.id for ticket in withdrawals.turn(STILL_S + 0.2)] == [1], "it has not even begun the first"
    queue.offer(Ticket(5, 1, 1000.0))
    assert {batch.worker for batch in queue.take(STILL_S + 0.2)[0]} == {2}


def test_who_goes_on_with_others_still_gives_up_what_waits_for_a_thread_that_hangs() -> None:
    queue = Queue(max_batch=8, max_waiting=100, max_waiting_bytes=1 << 20)
    queue.join(1, room=32)
    links = {1: Line(), 2: Line()}
    withdrawals, taken, sent = Withdrawals(queue, links), [], 0
    for step in range(1, 8):
        for id in (step, 100 + step) if step < 3 else (100 + step,):  # 1 hangs in the thread, 2 waits for it
            assert queue.offer(Ticket(id, 1, 1000.0))
        now = step / 4
        for batch in queue.take(now)[0]:
            for ticket in batch.tickets:
                sent += batch.worker == 1
                if batch.worker == 1 and ticket.id != 2:
                    links[1].marks[sent] = sent
                if ticket.id > 100:
                    queue.settle(batch.worker, [ticket.id], now=now)
        if step == 3:
            queue.join(2, room=32)
        taken += withdrawals.turn(now) + withdrawals.turn(now + 0.1)
    assert [ticket.id for ticket in taken] == [2]
