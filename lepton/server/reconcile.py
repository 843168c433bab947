"""The shell round every loop: look, decide, act; wait for a wake-up, not for time; one bad turn is not the end."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from lepton.core.errors import LeptonError, StaleError

log = logging.getLogger("lepton.server")


class Loop:
    """Runs `turn` in a thread of its own, at once after `wake()` and at the latest every `every_s` seconds.

    A turn may return the seconds after which it wants to be taken again sooner than that. Between two turns there are
    at least `rest_s` seconds.
    """

    def __init__(self, name: str, turn: Callable[[], float | None], *, every_s: float, rest_s: float = 0.0) -> None:
        self.name = name
        self.faults = 0
        self._turn = turn
        self._every_s = every_s
        self._rest_s = rest_s
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lepton-{name}")

    def wake(self) -> None:
        """Ask for a turn now. Call it in the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Turn until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                again_s: float | None = None
                try:
                    again_s = await loop.run_in_executor(self._thread, self._turn)
                except StaleError as fault:
                    log.info("loop %s: dropped a stale result: %s", self.name, fault)
                except LeptonError as fault:
                    self._report(fault)
                except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as fault:  # noqa: BLE001  a mistake, ours or a library's, must not stop the platform
                    self._report(fault)
                if self._rest_s:
                    await asyncio.sleep(self._rest_s)
                with suppress(TimeoutError):
                    pause_s = self._every_s if again_s is None else min(self._every_s, again_s)
                    await asyncio.wait_for(self._wake.wait(), pause_s)
        finally:
            self._thread.shutdown(wait=True)

    def _report(self, fault: BaseException) -> None:
        self.faults += 1
        log.error(
            "loop %s: %s: %s", self.name, type(fault).__name__, fault, exc_info=not isinstance(fault, LeptonError)
        )
