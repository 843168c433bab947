"""The fitted cost of a request, and the queue that goes by it."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from lepton.serve.cost import Cost
from lepton.serve.queue import Queue
from lepton.serve.seats import Ticket


def priced(number: int, cost_s: float) -> Ticket:
    ticket = Ticket(number, 1, 1e9)
    ticket.cost_s = cost_s
    return ticket


@given(
    base_ms=st.floats(0, 20),
    each_ms=st.floats(0.05, 20),
    sizes=st.lists(st.integers(1, 32), min_size=4, max_size=60).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_a_line_is_found_again(base_ms: float, each_ms: float, sizes: list[int]) -> None:
    cost = Cost()
    for size in sizes:
        cost.saw(size, (base_ms + each_ms * size) / 1000)
    if each_ms > 0.06 * (base_ms + each_ms):
        assert cost.each_s * 1000 == approx(each_ms, rel=0.02, abs=0.02)
        assert cost.base_s * 1000 == approx(base_ms, rel=0.02, abs=0.1)


def test_it_follows_a_model_that_has_become_slower() -> None:
    cost = Cost()
    for size in [1, 4, 8] * 20:
        cost.saw(size, 0.001 * size)
    for size in [1, 4, 8] * 40:
        cost.saw(size, 0.01 * size)
    assert cost.each_s == approx(0.01, rel=0.05)


def test_nobody_is_refused_by_what_a_cold_start_cost() -> None:
    cost = Cost()
    for _ in range(8):
        assert not cost.is_sure
        cost.saw(1, 0.5)
    for _ in range(4):
        cost.saw(1, 0.5)
    assert cost.is_sure


def test_equal_batches_give_a_mean_and_nothing_negative() -> None:
    cost = Cost()
    assert (cost.base_s, cost.each_s) == (0, 0)
    for _ in range(5):
        cost.saw(4, 0.008)
    assert (cost.base_s, cost.each_s) == (approx(0), approx(0.002))


@given(costs=st.lists(st.floats(0, 0.3), min_size=1, max_size=30))
def test_no_batch_holds_more_work_than_the_target_but_every_request_goes(costs: list[float]) -> None:
    queue = Queue(max_batch=8, max_waiting=100, max_waiting_bytes=1 << 20, target_s=0.1)
    queue.join(1)
    for number, cost_s in enumerate(costs):
        assert queue.offer(priced(number, cost_s))
    assert queue.wait_s == approx(sum(costs))
    seen: list[int] = []
    while len(seen) < len(costs):
        batches, late = queue.take(0)
        assert batches and not late
        for batch in batches:
            work_s = sum(ticket.cost_s for ticket in batch.tickets)
            assert len(batch.tickets) == 1 or work_s <= 0.1
            seen += [ticket.id for ticket in batch.tickets]
            queue.settle(1, [ticket.id for ticket in batch.tickets])
    assert seen == list(range(len(costs)))
    assert queue.wait_s == 0


def test_a_worker_with_room_gets_requests_while_it_works_and_the_emptier_one_first() -> None:
    queue = Queue(max_batch=32, max_waiting=1000, max_waiting_bytes=1 << 20)
    queue.join(1, room=4)
    queue.join(2, room=4)
    for number in range(10):
        queue.offer(Ticket(number, 1, 1e9))
    batches, _ = queue.take(0)
    held = {worker: sum(len(b.tickets) for b in batches if b.worker == worker) for worker in (1, 2)}
    assert held == {1: 4, 2: 4} and queue.waiting == 2
    queue.settle(2, [batches[1].tickets[0].id], 0)
    (batch,), _ = queue.take(0)
    assert (batch.worker, batch.why, len(batch.tickets)) == (2, "room", 1)


def test_what_may_have_begun_is_given_up_unless_it_may_be_repeated() -> None:
    queue = Queue(max_batch=2, max_waiting=100, max_waiting_bytes=1 << 20)
    queue.join(1)
    tickets = [Ticket(number, 1, 1e9) for number in range(4)]
    for ticket in tickets:
        ticket.is_repeatable = ticket.id == 1
        queue.offer(ticket)
    assert [len(batch.tickets) for batch in queue.take(0)[0]] == [2, 2]
    assert queue.leave(1) == [tickets[0]], "the first frame may have begun; of it one may be repeated"
    queue.join(2)
    assert [[ticket.id for ticket in batch.tickets] for batch in queue.take(0)[0]] == [[1, 2]]


def test_one_pause_of_the_machine_makes_nobody_wait_and_a_slower_model_is_soon_known() -> None:
    cost = Cost()
    for _ in range(30):
        cost.saw(4, 0.004)
    cost.saw(4, 20.0)
    assert cost.base_s + 64 * cost.each_s < 0.2
    for _ in range(60):
        cost.saw(4, 0.4)
    assert cost.base_s + 4 * cost.each_s > 0.2
