"""Threads that run plain functions for one event loop. What is ready together is told to the loop together."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any


class Task:
    """A call that waits for a thread, or has one."""

    __slots__ = ("answer", "context", "fault", "has_begun", "is_left", "is_over", "value", "work")

    def __init__(self, work: Callable[[], Any], answer: "asyncio.Future[Any]") -> None:
        self.work = work
        self.answer = answer
        self.context: Context = copy_context()
        self.has_begun = False
        self.is_left = False
        """Nobody waits for it any more."""
        self.is_over = False
        self.value: Any = None
        self.fault: BaseException | None = None


class Crew:
    """As many threads as are needed, up to a number. A call that is left runs to its end, but takes nobody's seat.

    Args:
        seats: calls at a time that somebody waits for.
        most: threads, those of calls that were left included.
    """

    def __init__(self, seats: int, most: int) -> None:
        self._seats = seats
        self._most = most
        self.loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        self._done: deque[Task] = deque()
        self._lock = Lock()
        self._free = 0
        """Threads that wait, less the calls that wait for one."""
        self._threads = 0
        self._left = 0
        """Calls that run although they were left."""

    async def run(self, work: Callable[[], Any]) -> Any:
        """What the function returns; raises what it raises. Whoever is cancelled leaves the call."""
        task = Task(work, self.loop.create_future())
        with self._lock:
            self._free -= 1
            self._hire()
        self._waiting.put(task)
        try:
            return await task.answer
        except asyncio.CancelledError:
            if task.answer.cancelled():
                self._leave(task)
            raise

    def _leave(self, task: Task) -> None:
        with self._lock:
            task.is_left = True
            if task.has_begun and not task.is_over:
                self._left += 1
                self._hire()

    def _hire(self) -> None:
        """One more thread, if a call waits for one and has a seat. The lock is held."""
        if self._free < 0 and self._threads < min(self._seats + self._left, self._most):
            self._threads += 1
            self._free += 1
            Thread(target=self._turn, name="lepton-photon", daemon=True).start()

    def _turn(self) -> None:
        while (task := self._waiting.get()) is not None:
            with self._lock:
                task.has_begun = True
                is_left = task.is_left
            if not is_left:
                try:
                    task.value = task.context.run(task.work)
                except StopIteration as fault:  # which no future takes
                    task.fault = RuntimeError(f"it raised StopIteration: {fault}")
                except BaseException as fault:  # noqa: BLE001  raised again where the answer is awaited
                    task.fault = fault
            if not self._end(task, was_run=not is_left):
                return

    def _end(self, task: Task, *, was_run: bool) -> bool:
        """Tell the loop; False: there are more threads than seats now, and this one goes."""
        with self._lock:
            task.is_over = True
            if task.is_left:
                self._left -= was_run
            else:
                self._done.append(task)
                if len(self._done) == 1 and not self.loop.is_closed():
                    self.loop.call_soon_threadsafe(self._deliver)
            self._free += 1
            is_one_more = self._threads > self._seats + self._left
            self._threads -= is_one_more
            self._free -= is_one_more
            return not is_one_more

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
        for task in done:
            if task.answer.done():
                continue
            if task.fault is None:
                task.answer.set_result(task.value)
            else:
                task.answer.set_exception(task.fault)
