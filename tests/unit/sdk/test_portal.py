"""The sync face of async iterators: whoever breaks off leaves nothing running."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from types import FrameType
from typing import Any

import pytest

from lepton.sdk import portal as portal_module
from lepton.sdk.portal import Blocking, Portal, paging


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


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises, as at a terminal, also where who started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_how_interrupted_work_ends_is_nobodys_to_read(caplog: pytest.LogCaptureFixture) -> None:
    portal, main = Portal(), threading.main_thread().ident or 0

    async def work() -> None:
        try:
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            raise ValueError("its connection broke off")

    for _ in range(20):  # before it waits, or while it does
        with pytest.raises(KeyboardInterrupt):
            portal.run(work())
    portal.close()
    gc.collect()
    assert not caplog.text


def test_work_that_is_interrupted_at_any_line_is_ended_and_never_forgotten() -> None:
    portal = Portal()
    portal.run(asyncio.sleep(0))
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(0.01)
        finally:
            ended.append(number)

    interrupted = begun = 0
    while _is_interrupted(portal, work(interrupted), at=interrupted + FIRST):
        interrupted += 1
        begun += len(ended)
        ended.clear()
    portal.close()
    gc.collect()  # a coroutine that nobody has awaited warns, and that fails the test
    assert interrupted > 15
    assert 0 < begun < interrupted


FIRST = 3
"""Before this line of `run` there is no call yet."""


def _is_interrupted(portal: Portal, work: Coroutine[Any, Any, Any], at: int) -> bool:
    """Whether running it came to that line, counted from the first, and was interrupted there."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in (portal_module.__file__, asyncio.base_events.__file__):
            return None
        if frame.f_code.co_name in (
            "_running",
            "__init__",
        ):  # where Python itself hears of signals only between whole steps
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        portal.run(work)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


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


class Shelf:
    """Three pages of two numbers."""

    def __init__(self) -> None:
        self.is_closed = False

    async def numbers(self) -> AsyncIterator[int]:
        async for page in self.pages():
            for number in page:
                yield number

    async def pages(self) -> AsyncIterator[list[int]]:
        try:
            for first in (0, 2, 4):
                yield [first, first + 1]
        finally:
            self.is_closed = True


class Counted(Portal):
    crossings = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        self.crossings += 1
        return super().run(work)


class BlockingShelf(Blocking[Shelf]):
    numbers = paging(Shelf.numbers, Shelf.pages)


def test_items_of_pages_come_one_by_one_and_cross_threads_by_the_page() -> None:
    portal, shelf = Counted(), Shelf()
    assert list(BlockingShelf(shelf, portal).numbers()) == list(range(6))
    assert portal.crossings == 5  # three pages, the end, the close
    shelf.is_closed = False
    items = BlockingShelf(shelf, portal).numbers()
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    del items
    assert shelf.is_closed
    portal.close()
