"""What waits for the first worker, and how much of it."""

import asyncio

from lepton.serve import answers
from lepton.serve.desk import Desk
from lepton.serve.exchange import Exchange
from lepton.serve.held import MAX_OBJECTED, MAX_OBJECTED_BYTES, Held
from lepton.serve.routes import UNKNOWN
from tests.fuzz.front import Transport
from tests.fuzz.http2 import make_front


def asked(desk: Desk, size_bytes: int, *, is_good: bool) -> Exchange:
    exchange = Exchange(desk, Transport(), UNKNOWN, b"")  # type: ignore[arg-type]
    exchange.size_bytes = size_bytes
    exchange.objection = None if is_good else answers.NO_TOKEN
    return exchange


async def fill() -> None:
    desk, held, large = make_front()[0].own, Held(), Held()
    assert all(held.add(asked(desk, 1, is_good=False)) for _ in range(MAX_OBJECTED))
    assert not held.add(asked(desk, 1, is_good=False))
    assert held.add(asked(desk, MAX_OBJECTED_BYTES, is_good=True))
    assert large.add(asked(desk, MAX_OBJECTED_BYTES, is_good=False)) and not large.add(asked(desk, 1, is_good=False))
    assert large.add(asked(desk, 1, is_good=True))


def test_those_without_a_good_token_take_little_room_and_none_of_the_others() -> None:
    asyncio.run(fill())
