"""A small storm of mutated HTTP over the front; `tests/fuzz/front.py` makes a large one."""

import asyncio

from tests.fuzz.front import storm


def test_a_front_lives_through_a_storm_of_mutated_messages() -> None:
    seen = asyncio.run(storm(4000, seed=7))
    assert seen[200] > 500 and seen[400] > 1000
    assert not {status for status in seen if status >= 500} - {503, 505}
