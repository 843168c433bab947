"""The sync face of the async SDK: each blocking call runs its async twin on one background event loop.

A sync class holds `_inner`, the async object, and lists its methods one by one:

    class Jobs(Blocking["AsyncJobs"]):
        get = returning(lambda: Job)(AsyncJobs.get)
        count = blocking(AsyncJobs.count)

Names, arguments, types and docstrings are the twin's. It works inside a running event loop too (as in Jupyter),
because the calls never touch the caller's loop.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import update_wrapper
from threading import Event, Lock, Thread
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from lepton.sdk.show import Table

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
Inner = TypeVar("Inner")
CANCEL_S = 1.0
"""How long Ctrl-C waits for a call to come to its end."""
WAKE_S = 0.5
"""A signal that comes just before a thread begins to wait is heard of when it wakes."""


class Call(Generic[R]):
    """A coroutine that one thread waits for and a loop in another runs. asyncio's own `run_coroutine_threadsafe` leaves
    one that is interrupted on its way there for ever unawaited, and prints of it at the end."""

    def __init__(self, work: Coroutine[Any, Any, R]) -> None:
        self.is_interrupted, self.ended = Event(), Event()
        self._work = work
        self._task: asyncio.Task[R] | None = None
        self._answer: Future[R] = Future()

    def result(self) -> R:
        """Wait for it."""
        while not self._answer.done():
            with suppress(TimeoutError):  # or it is the work's own
                return self._answer.result(WAKE_S)
        return self._answer.result()

    def begin(self) -> None:
        """In the loop."""
        if not self.is_interrupted.is_set():
            self._task = asyncio.get_running_loop().create_task(self._work)
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """In the loop, after `begin` if that comes at all."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._work.close()
            self.ended.set()

    def _end(self, task: asyncio.Task[R]) -> None:
        if task.cancelled():
            self._answer.cancel()
        elif (fault := task.exception()) is not None:
            self._answer.set_exception(fault)
        else:
            self._answer.set_result(task.result())
        self.ended.set()


class Portal:
    """An event loop in a thread of its own, started at the first call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = Thread(target=loop.run_forever, name="lepton-sdk", daemon=True)
                thread.start()
                self._thread, self._loop = thread, loop
            return self._loop

    def close(self) -> None:
        """End the loop and its thread; a later call starts others."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None and self._thread is not None:
                loop.call_soon_threadsafe(loop.stop)
                self._thread.join()
                loop.close()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine there; return its result, raise its exception. Ctrl-C cancels it."""
        call = Call(work)
        try:
            self._running().call_soon_threadsafe(call.begin)
            return call.result()
        except KeyboardInterrupt:  # also before anybody waits
            call.is_interrupted.set()
            self._running().call_soon_threadsafe(call.cancel)
            call.ended.wait(CANCEL_S)
            raise

    def iterate(self, items: AsyncIterator[R]) -> Iterator[R]:
        """The items of an async iterator, each as it comes."""
        done = object()
        steps: list[asyncio.Task[Any] | None] = []

        async def step() -> Any:
            steps[:] = [asyncio.current_task()]
            return await anext(items, done)

        async def close() -> None:
            for running in [one for one in steps if one is not None and not one.done()]:
                running.cancel()  # Ctrl-C came before anybody waited for it, or it is slow to end
                await asyncio.wait([running])
            if isinstance(items, AsyncGenerator):  # whoever stops reading leaves no connection behind
                await items.aclose()

        try:
            while (item := self.run(step())) is not done:
                yield item
        finally:
            self.run(close())


class Blocking(Generic[Inner]):
    """Base of the sync classes."""

    def __init__(self, inner: Inner, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """The blocking twin of an async method."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._portal.run(method(self._inner, *args, **kwargs))
        return result

    update_wrapper(call, method)
    return call


def returning(
    kind: Callable[[], type[W]],
) -> Callable[[Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]]], Callable[Concatenate[Any, P], W]]:
    """As `blocking`, for a method whose result is an async object: it comes back as the sync class `kind()`."""

    def decorate(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]]) -> Callable[Concatenate[Any, P], W]:
        def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> W:
            make: Any = kind()
            result: W = make(self._portal.run(method(self._inner, *args, **kwargs)), self._portal)
            return result

        update_wrapper(call, method)
        return call

    return decorate


def listing(
    kind: Callable[[], type[W]],
) -> Callable[[Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]]], Callable[Concatenate[Any, P], Table[W]]]:
    """As `returning`, for a method that gives a list."""

    def decorate(
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]],
    ) -> Callable[Concatenate[Any, P], Table[W]]:
        def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Table[W]:
            make: Any = kind()
            return Table(make(item, self._portal) for item in self._portal.run(method(self._inner, *args, **kwargs)))

        update_wrapper(call, method)
        return call

    return decorate


def iterating(method: Callable[Concatenate[Any, P], AsyncIterator[R]]) -> Callable[Concatenate[Any, P], Iterator[R]]:
    """The blocking twin of an async generator method."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items: Iterator[R] = self._portal.iterate(method(self._inner, *args, **kwargs))
        return items

    update_wrapper(call, method)
    return call


def paging(
    method: Callable[Concatenate[Any, P], AsyncIterator[R]],
    pages_of: Callable[Concatenate[Any, P], AsyncIterator[Sequence[R]]],
) -> Callable[Concatenate[Any, P], Iterator[R]]:
    """As `iterating`, for items that come in pages.

    Args:
        pages_of: gives the pages; going to the loop and back for each item alone would cost more than all else.
    """

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        pages: Iterator[Sequence[R]] = self._portal.iterate(pages_of(self._inner, *args, **kwargs))
        return (item for page in pages for item in page)

    update_wrapper(call, method)
    return call


class attribute(Generic[R]):  # noqa: N801  used like `property`
    """An attribute of the async twin, read through."""

    def __init__(self, name: str, kind: Callable[..., R], doc: str = "") -> None:
        self._name = name
        self._kind = kind
        self.__doc__ = doc

    def __get__(self, owner: Any, kind: Any = None) -> R:
        value: R = getattr(owner._inner, self._name)
        return value
