"""The sync face of async iterators: whoever breaks off leaves nothing running."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from lepton.sdk.portal import Portal


class Interrupted(Portal):
    """Ctrl-C comes when the first step is under way and nobody waits for it yet."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self._is_first = True

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if not self._is_first:
            return super().run(work)
        self._is_first = False
        asyncio.run_coroutine_threadsafe(work, self._running())
        super().run(self.begun.wait())
        raise KeyboardInterrupt


def test_an_interrupt_before_anybody_waits_is_an_interrupt_and_ends_the_iterator() -> None:
    portal, ended = Interrupted(), []

    async def endless() -> AsyncIterator[int]:
        try:
            portal.begun.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        next(portal.iterate(endless()))
    assert ended == [True]
    portal.close()


def test_who_stops_reading_ends_the_iterator() -> None:
    portal, ended = Portal(), []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            ended.append(True)

    items = portal.iterate(numbers())
    assert [next(items), next(items)] == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert ended == [True]
    assert list(portal.iterate(numbers())) == list(range(10))
    portal.close()
