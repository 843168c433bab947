"""Coroutines begin as many in a turn of the loop as do not hold it up, first come, first served."""

import asyncio
from itertools import chain

from lepton.serve.pace import SLICE_S, Pace


async def begun_by_turn(count: int, *, each_s: float, leavers: frozenset[int] = frozenset()) -> list[list[int]]:
    """Which began in which turn of the loop, if each computes for so long; `leavers` go before their turn comes."""
    now = 0.0
    pace = Pace(lambda: now)
    turns: list[list[int]] = [[]]

    async def compute(number: int) -> None:
        nonlocal now
        await pace.begin()
        turns[-1].append(number)
        now += each_s

    tasks = [asyncio.ensure_future(compute(number)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turns.append([])
        for number in leavers:
            tasks[number].cancel()
    return [turn for turn in turns if turn]


def test_what_computes_begins_one_in_a_turn_in_the_order_in_which_it_came() -> None:
    turns = asyncio.run(begun_by_turn(20, each_s=4 * SLICE_S))
    assert list(chain.from_iterable(turns)) == list(range(20))
    assert max(map(len, turns)) == 1


def test_what_only_waits_begins_with_many_others() -> None:
    turns = asyncio.run(begun_by_turn(200, each_s=0.0))
    assert list(chain.from_iterable(turns)) == list(range(200))
    assert len(turns) < 10


def test_who_leaves_before_never_begins_and_holds_nobody_up() -> None:
    turns = asyncio.run(begun_by_turn(20, each_s=4 * SLICE_S, leavers=frozenset(range(5, 15))))
    assert list(chain.from_iterable(turns)) == [*range(5), *range(15, 20)]
