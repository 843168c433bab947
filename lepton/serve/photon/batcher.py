"""Calls that arrive within a short time become one call with lists."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, NamedTuple

from lepton.serve.photon.lanes import Lane


class Asked(NamedTuple):
    """One call that waits."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: "asyncio.Future[Any]"


class Batcher:
    """Collects calls of one function.

    Args:
        function: coroutine function of lists, that returns one answer for each call, in order.
    """

    def __init__(self, function: Callable[..., Awaitable[Any]], size: int, wait_s: float) -> None:
        self._function = function
        self._size = size
        self._wait_s = wait_s
        self._waiting: list[Asked] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """One call's own answer."""
        loop = asyncio.get_running_loop()
        asked = Asked(args, kwargs, loop.create_future())
        self._waiting.append(asked)
        if len(self._waiting) >= self._size:
            self._release()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._release)
        return await asked.answer

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = [one for one in self._waiting if not one.answer.done()], []
        if batch:
            task = asyncio.ensure_future(self._compute(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _compute(self, batch: list[Asked]) -> None:
        columns = [list(column) for column in zip(*(one.args for one in batch), strict=True)]
        named = {name: [one.kwargs.get(name) for one in batch] for name in batch[0].kwargs}
        try:
            answers = await self._function(*columns, **named)
            if len(answers) != len(batch):
                raise ValueError(f"A batch of {len(batch)} calls gave {len(answers)} answers")
        except (Exception, KeyboardInterrupt, SystemExit) as fault:  # noqa: BLE001  whatever a user's code raises, each caller is told
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(fault)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)


def batch(max_batch_size: int, max_wait_time: float, lane: Lane | None = None) -> Callable[[Any], Any]:
    """Decorator: calls of the function are answered together.

    Args:
        max_batch_size: most calls that make one.
        max_wait_time: seconds that the first of them waits for others.
        lane: where the function runs.

    Raises:
        ValueError: the size is under 2, or the time not positive.
    """
    if max_batch_size <= 1:
        raise ValueError("max_batch_size should be greater than 1")
    if max_wait_time <= 0:
        raise ValueError("max_wait_time should be greater than 0")

    def decorate(function: Callable[..., Any]) -> Any:
        batcher = Batcher((lane or Lane()).wrap(function), max_batch_size, max_wait_time)

        @wraps(function)
        async def batched(*args: Any, **kwargs: Any) -> Any:
            return await batcher.call(*args, **kwargs)

        return batched

    return decorate
