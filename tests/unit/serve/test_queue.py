"""The queue is work-conserving, first come first served, within its limits, and forgets nobody."""

from collections import Counter
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lepton.serve.marks import PLACES, make_words
from lepton.serve.queue import MAX_BATCH_BYTES, MAX_TRIES, Queue
from lepton.serve.seats import STILL_S, Ticket

MAX_BATCH, MAX_WAITING = 4, 12


def make_queue(max_batch: int = MAX_BATCH) -> Queue:
    return Queue(max_batch=max_batch, max_waiting=MAX_WAITING, max_waiting_bytes=64 << 20)


def offer(queue: Queue, *ids: int, deadline: float = 100.0, size: int = 1) -> list[Ticket]:
    tickets = [Ticket(id, size, deadline) for id in ids]
    assert all(queue.offer(ticket) for ticket in tickets)
    return tickets


def ids(batches: list) -> Iterator[list[int]]:
    return ([ticket.id for ticket in batch.tickets] for batch in batches)


class Traffic(RuleBasedStateMachine):
    """Any mixture of requests, cancellations, answers, deaths and time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = make_queue()
        self.now = 0.0
        self.next_id = 0
        self.next_worker = 0
        self.all: dict[int, Ticket] = {}
        self.frames: dict[int, list[list[Ticket]]] = {}
        self.sent: Counter[int] = Counter()
        self.leaving: set[int] = set()
        self.sent_again: set[int] = set()
        self.gone: set[int] = set()
        """Answered, dropped as late, or given up."""

    @rule(life=st.integers(1, 5), count=st.integers(1, 6))
    def ask(self, life: int, count: int) -> None:
        for _ in range(count):
            ticket = Ticket(self.next_id, 10, self.now + life)
            self.next_id += 1
            has_room = self.queue.waiting < MAX_WAITING
            is_taken = self.queue.offer(ticket)
            assert is_taken or not has_room
            assert not is_taken or self.queue.waiting <= MAX_WAITING
            if is_taken:
                self.all[ticket.id] = ticket

    @rule()
    def join(self) -> None:
        self.queue.join(self.next_worker)
        self.frames[self.next_worker] = []
        self.next_worker += 1

    @rule(pick=st.integers(0, 50))
    def cancel(self, pick: int) -> None:
        open_ids = [id for id in self.all if id not in self.gone]
        if open_ids:
            self.all[open_ids[pick % len(open_ids)]].is_done = True

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(pick=st.integers(0, 9))
    def answer(self, pick: int) -> None:
        busy = [worker for worker, frames in self.frames.items() if frames]
        if busy:
            worker = busy[pick % len(busy)]
            frame = self.frames[worker].pop(0)
            assert self.queue.settle(worker, [ticket.id for ticket in frame]) == frame
            self.gone.update(ticket.id for ticket in frame)

    @rule(pick=st.integers(0, 9), last=st.integers(-1, 5), tells=st.booleans())
    def die(self, pick: int, last: int, tells: bool) -> None:
        if self.frames:
            worker = list(self.frames)[pick % len(self.frames)]
            frames = self.frames.pop(worker)
            held = [ticket for frame in frames for ticket in frame]
            begun = held[: last + 1] if tells else [ticket for frame in frames[:1] for ticket in frame]
            lost = [ticket for ticket in begun if not ticket.is_done and ticket.tries == MAX_TRIES]
            marks = make_words(PLACES)
            first = self.sent[worker] - len(held) + 1
            for number in range(first, first + len(begun)):
                marks[number % PLACES] = number
            assert self.queue.leave(worker, marks if tells else None) == lost
            self.gone.update(ticket.id for ticket in held if ticket.is_done or ticket in lost)
            self.sent_again.update(ticket.id for ticket in held)

    @rule(pick=st.integers(0, 9))
    def retire(self, pick: int) -> None:
        if self.frames:
            worker = list(self.frames)[pick % len(self.frames)]
            self.leaving.add(worker)
            self.queue.retire(worker)
            assert not self.queue.is_free(worker) or not self.frames[worker]

    @rule()
    def take(self) -> None:
        staying = self.frames.keys() - self.leaving
        batches, late = self.queue.take(self.now)
        assert all(ticket.deadline <= self.now and not ticket.is_done for ticket in late)
        self.gone.update(ticket.id for ticket in late)
        for batch in batches:
            assert batch.worker in staying or not staying, "who leaves gets something only if nobody stays"
            assert 1 <= len(batch.tickets) <= MAX_BATCH
            assert batch.was_idle == (not any(self.frames[batch.worker]))
            assert all(ticket.deadline > self.now and not ticket.is_done for ticket in batch.tickets)
            assert all(ticket.tries <= MAX_TRIES for ticket in batch.tickets)
            self.frames[batch.worker].append(list(batch.tickets))
            self.sent[batch.worker] += len(batch.tickets)
            assert len(self.frames[batch.worker]) <= 2
        fresh = [ticket.id for batch in batches for ticket in batch.tickets if ticket.id not in self.sent_again]
        assert fresh == sorted(fresh)
        if self.queue.waiting:
            open_to = staying or self.frames.keys()
            assert all(self.frames[worker] for worker in open_to), "somebody waits while a worker has nothing to do"
            assert not any(self.queue.is_free(worker) for worker in open_to)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        held = sum(len(frame) for frames in self.frames.values() for frame in frames)
        assert self.queue.held == held
        alive = sum(1 for ticket in self.all.values() if ticket.id not in self.gone and not ticket.is_done)
        assert self.queue.waiting + held >= alive


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_an_idle_worker_gets_a_single_request_at_once() -> None:
    queue = make_queue()
    queue.join(1)
    offer(queue, 1)
    batches, _ = queue.take(0)
    assert list(ids(batches)) == [[1]]
    assert batches[0].why == "idle"


def test_what_waits_is_shared_by_idle_workers() -> None:
    queue = make_queue()
    queue.join(1)
    queue.join(2)
    offer(queue, 1, 2, 3, 4)
    assert list(ids(queue.take(0)[0])) == [[1, 2], [3, 4]]


def test_a_spare_credit_is_used_once_as_many_wait_as_are_computed() -> None:
    queue = make_queue()
    queue.join(1)
    offer(queue, 1, 2, 3)
    queue.take(0)
    offer(queue, 4, 5)
    assert queue.take(0)[0] == []
    offer(queue, 6)
    batches, _ = queue.take(0)
    assert list(ids(batches)) == [[4, 5, 6]]
    assert batches[0].why == "ahead"


def test_a_lost_workers_requests_go_first_and_only_once_more() -> None:
    queue = make_queue()
    queue.join(1)
    tickets = offer(queue, 1, 2)
    queue.take(0)
    offer(queue, 3)
    assert queue.leave(1) == []
    queue.join(2)
    assert list(ids(queue.take(0)[0])) == [[1, 2, 3]]
    assert queue.leave(2) == tickets
    assert queue.waiting == 1


def test_large_requests_do_not_make_one_huge_batch() -> None:
    queue = make_queue()
    queue.join(1)
    offer(queue, 1, 2, size=MAX_BATCH_BYTES // 2 + 1)
    assert list(ids(queue.take(0)[0])) == [[1], [2]]


def test_a_worker_that_keeps_a_request_far_beyond_its_deadline_is_found() -> None:
    queue = make_queue()
    queue.join(1)
    offer(queue, 1, deadline=5.0)
    queue.take(0)
    assert queue.hung(5.0) == []
    assert queue.hung(5.1) == [1]


def test_a_worker_that_takes_nothing_in_is_sent_nothing_more_until_it_does() -> None:
    queue = make_queue()
    for worker in (1, 2):
        queue.join(worker)
    offer(queue, 1, 2)
    assert [batch.worker for batch in queue.take(0.0)[0]] == [1, 2]
    offer(queue, 3, 4)
    queue.settle(2, [2], now=STILL_S)
    assert [(batch.worker, *ids([batch])) for batch in queue.take(STILL_S)[0]] == [(2, [3, 4])]
    offer(queue, 5, 6)
    assert [(batch.worker, *ids([batch])) for batch in queue.take(STILL_S + 0.1)[0]] == [(2, [5, 6])]
    offer(queue, 7)
    assert queue.take(STILL_S + 0.2)[0] == [], "the first has a spare credit, but may hang"
    queue.settle(1, [1], now=STILL_S + 0.3)
    assert [(batch.worker, *ids([batch])) for batch in queue.take(STILL_S + 0.3)[0]] == [(1, [7])]


def test_a_worker_with_room_that_takes_nothing_in_is_passed_over() -> None:
    queue = make_queue()
    for worker in (1, 2):
        queue.join(worker, room=8)
    offer(queue, 1, 2)
    queue.take(0.0)
    queue.settle(2, [], now=0.1)
    for id in range(3, 7):
        offer(queue, id)
        assert [batch.worker for batch in queue.take(STILL_S + 0.1)[0]] == [2]
        queue.settle(2, [], now=STILL_S + 0.1)
    queue.settle(1, [], now=STILL_S + 0.2)
    offer(queue, 7)
    assert [batch.worker for batch in queue.take(STILL_S + 0.2)[0]] == [1]


def test_answers_of_a_stranger_change_nothing() -> None:
    queue = make_queue()
    queue.join(1)
    assert queue.settle(7, [1]) == [None]
    assert queue.settle(1, [1]) == [None]
    offer(queue, 1)
    queue.take(0)
    offer(queue, 2)
    queue.take(0)
    offer(queue, 3, 4, 5)
    assert queue.take(0)[0] == []


def test_what_nobody_waits_for_takes_no_place() -> None:
    queue = make_queue()
    tickets = offer(queue, *range(MAX_WAITING))
    assert not queue.offer(Ticket(99, 1, 1.0))
    tickets[0].is_done = True
    assert queue.offer(Ticket(100, 1, 1.0))
    assert not queue.offer(Ticket(101, 1, 1.0))
