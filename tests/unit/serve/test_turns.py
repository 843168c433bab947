"""Costly pieces get a bounded share of the loop, and one client's wait behind another's."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from lepton.core.clock import ManualClock
from lepton.serve.turns import MAX_WAITING_EACH, REST, SLICE_S, Turns


def costing(clock: ManualClock, seconds: float, done: list[str], name: str) -> Callable[[], None]:
    def piece() -> None:
        clock.advance(seconds)
        done.append(name)

    return piece


class Loop(asyncio.SelectorEventLoop):
    """A loop whose later calls come at once, noted with how long they were to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[float] = []
        self.clock = ManualClock()

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self.rests.append(delay)
        self.clock.advance(delay)
        return self.call_soon(callback, *args, context=context)


def run(story: Callable[[Loop, Turns], None]) -> Loop:
    loop = Loop()

    async def tell() -> None:
        story(loop, Turns(loop.clock.monotonic))
        for _ in range(2000):
            await asyncio.sleep(0)

    loop.run_until_complete(tell())
    loop.close()
    return loop


def test_of_all_time_the_pieces_get_no_more_than_their_share() -> None:
    done: list[str] = []

    def story(loop: Loop, turns: Turns) -> None:
        for number in range(100):
            turns.add(b"a", costing(loop.clock, SLICE_S / 4, done, str(number)))

    loop = run(story)
    assert done == [str(number) for number in range(100)]
    worked_s = 100 * SLICE_S / 4
    assert sum(loop.rests) >= REST * worked_s * 0.9


def test_what_comes_alone_is_done_at_once() -> None:
    done: list[str] = []
    loop = run(lambda loop, turns: turns.add(b"a", partial(done.append, "one")) and None)
    assert (done, loop.rests) == (["one"], [])


def test_clients_take_turns_and_none_may_bring_too_much() -> None:
    done: list[str] = []
    refused: list[bool] = []

    def story(loop: Loop, turns: Turns) -> None:
        for number in range(MAX_WAITING_EACH + 10):
            refused.append(not turns.add(b"flood", costing(loop.clock, SLICE_S, done, f"flood {number}")))
        assert turns.add(b"other", costing(loop.clock, SLICE_S, done, "other"))

    run(story)
    assert sum(refused) == 10
    assert done.index("other") == 1
