"""A body that does not come holds nobody up for ever; one user's uploads leave room for others."""

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message

from lepton.api.bodies import LEAST_RATE, Patience, SlowBodyError, Turns


class Sender:
    """Brings pieces, each after so many seconds of a pretended clock; then nothing more."""

    def __init__(self, pieces: Iterable[tuple[float, bytes]], *, is_whole: bool = False) -> None:
        self.pieces, self.is_whole, self.now = list(pieces), is_whole, 0.0

    async def receive(self) -> Message:
        if not self.pieces:
            await asyncio.Event().wait()
        after, body = self.pieces.pop(0)
        self.now += after
        return {"type": "http.request", "body": body, "more_body": bool(self.pieces) or not self.is_whole}

    def clock(self) -> float:
        return self.now


async def taken(sender: Sender, idle_s: float) -> int:
    patience, size = Patience(sender.receive, idle_s=idle_s, clock=sender.clock), 0
    while True:
        message = await patience.receive()
        size += len(message["body"])
        if not message["more_body"]:
            return size


def test_a_sender_that_falls_silent_is_given_up() -> None:
    with pytest.raises(SlowBodyError, match="Nothing"):
        asyncio.run(taken(Sender([(0, b"x" * 5000)]), idle_s=0.02))


def test_a_body_in_drops_is_given_up_and_a_slow_one_is_not() -> None:
    drops = Sender([(1.0, b"x")] * 20, is_whole=True)
    with pytest.raises(SlowBodyError, match="Only"):
        asyncio.run(taken(drops, idle_s=10))
    assert drops.now == 11
    slow = Sender([(1.0, b"x" * LEAST_RATE)] * 50, is_whole=True)
    assert asyncio.run(taken(slow, idle_s=10)) == 50 * LEAST_RATE


def test_after_the_body_it_waits_for_as_long_as_it_takes() -> None:
    async def work() -> None:
        sender = Sender([(0, b"x")], is_whole=True)
        patience = Patience(sender.receive, idle_s=0.01, clock=sender.clock)
        await patience.receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(patience.receive(), 0.05)  # ours, not the patience's

    asyncio.run(work())


def test_one_name_has_so_many_turns_and_another_its_own() -> None:
    async def work() -> None:
        turns, most, now = Turns(2), {"a": 0, "b": 0}, {"a": 0, "b": 0}

        async def one(name: str) -> None:
            async with turns.of(name):
                now[name] += 1
                most[name] = max(most[name], now[name])
                await asyncio.sleep(0)
                now[name] -= 1

        await asyncio.gather(*(one(name) for name in "aaaaaabbbb"))
        assert most == {"a": 2, "b": 2} and not turns._of

    asyncio.run(work())
