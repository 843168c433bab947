"""How many plain functions of a photon run at a time, and for how long a caller waits."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

from lepton.serve.photon.crew import Crew

THREADS = 40
"""Fewest that there may be; one whose caller has given up still runs."""


class Lane:
    """Runs plain functions in threads, coroutine functions where they are.

    Args:
        seats: plain functions at a time; 0: no bound. Coroutine functions are not bounded.
        timeout_s: of each call, waiting included; 0: none.
    """

    def __init__(self, seats: int = 0, timeout_s: float = 0.0) -> None:
        self._most = max(THREADS, 2 * seats)
        self._seats = seats or self._most
        self._timeout_s = timeout_s
        self._crew: Crew | None = None

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """The function as a coroutine function.

        What that raises: TimeoutError, and whatever the function does.
        """
        run = function if inspect.iscoroutinefunction(function) else partial(self._in_thread, function)
        if not self._timeout_s:
            return wraps(function)(run)

        @wraps(function)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            async with asyncio.timeout(self._timeout_s):
                return await run(*args, **kwargs)

        return wrapped

    async def _in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        crew = self._crew
        if crew is None or crew.loop is not asyncio.get_running_loop():
            crew = self._crew = Crew(self._seats, self._most)
        return await crew.run(partial(function, *args, **kwargs))
