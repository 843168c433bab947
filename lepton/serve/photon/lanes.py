"""How many plain functions of a photon run at a time, and for how long a caller waits."""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import anyio
from anyio.to_thread import run_sync

THREADS = 40
"""Fewest that there may be; one whose caller has given up still runs."""


class Lane:
    """Runs plain functions in threads, coroutine functions where they are.

    Args:
        seats: plain functions at a time; 0: no bound. Coroutine functions are not bounded.
        timeout_s: of each call, waiting included; 0: none.
    """

    def __init__(self, seats: int = 0, timeout_s: float = 0.0) -> None:
        self._count = seats
        self._timeout_s = timeout_s
        self._seats: anyio.Semaphore | None = None
        self._threads: anyio.CapacityLimiter | None = None

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """The function as a coroutine function.

        What that raises: TimeoutError, and whatever the function does.
        """
        run = self._here if inspect.iscoroutinefunction(function) else self._in_thread

        @wraps(function)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with anyio.fail_after(self._timeout_s or None):
                return await run(function, *args, **kwargs)

        return wrapped

    async def _here(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    async def _in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._threads is None:  # made where the loop is
            self._threads = anyio.CapacityLimiter(max(THREADS, 2 * self._count))
        work = partial(function, *args, **kwargs)
        if not self._count:
            return await run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        if self._seats is None:
            self._seats = anyio.Semaphore(self._count)
        async with self._seats:
            return await run_sync(work, abandon_on_cancel=True, limiter=self._threads)
