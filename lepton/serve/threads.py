"""Threads for plain functions of a program. One that hangs can be told, and keeps no process from ending."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, get_ident
from time import monotonic
from typing import Any

Task = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """Runs calls for the event loop that it is made in, each in one of so many threads. A call that is left runs to
    its end, and keeps its thread until then: what a program says of how many may run at a time holds."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        self._hired = 0
        self._busy = 0
        """Calls that wait or run."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._begun: dict[int, float] = {}
        """Thread -> when its call began."""

    def run(self, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """What the function returns, or raises."""
        answer = self._loop.create_future()
        self._busy += 1
        self._idle.clear()
        if self._hired < min(self._busy, self._count):
            self._hired += 1
            Thread(target=self._turn, name=f"lepton-call-{self._hired}", daemon=True).start()
        self._waiting.put((answer, function, args))
        return answer

    def longest_s(self) -> float:
        """For how many seconds the call runs that has begun first; 0 if there is none."""
        return max((monotonic() - since for since in list(self._begun.values())), default=0.0)

    async def ended(self, within_s: float) -> bool:
        """Whether all calls have ended, or do within that time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), within_s)
        return not self._busy

    def close(self) -> None:
        """Nothing more is run; what runs is not waited for."""
        for _ in range(self._hired):
            self._waiting.put(None)

    def _turn(self) -> None:
        me = get_ident()
        while (task := self._waiting.get()) is not None:
            answer, function, args = task
            value, fault = None, None
            if not answer.cancelled():
                self._begun[me] = monotonic()
                try:
                    value = function(*args)
                except BaseException as raised:  # noqa: BLE001  raised again where the answer is awaited
                    fault = raised
                del self._begun[me]
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._settle, answer, value, fault)

    def _settle(self, answer: "asyncio.Future[Any]", value: Any, fault: BaseException | None) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()
        if answer.cancelled():
            return
        if fault is not None:
            answer.set_exception(fault)
        else:
            answer.set_result(value)
