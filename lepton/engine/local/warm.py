"""The warm zygotes that are there: started in the background when they may be of use, ended when they are not.

Whatever is wrong with one, the answer is only that there is none, and the worker starts cold.
"""

import logging
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock, Thread

from lepton.core.errors import EngineError
from lepton.engine.local.forker import ask, hear, start_zygote
from lepton.engine.local.plan import zygote_variables
from lepton.engine.shim.processes import resident_bytes
from lepton.engine.shim.warm import READY

log = logging.getLogger("lepton.engine")
PROGRAM = (
    "import sys; sys.path.pop(0); sys.argv.pop(0); from lepton.engine.shim.warm import main;"
    "main(float(sys.argv[0]), sys.argv[1:])"
)
MOST = 3
"""Zygotes alive at once; the one that was used longest ago makes room."""
ANSWER_S = 5.0
"""One that answers later is stuck; should it go on after all, it finds the key taken."""
TRIES = 3
"""Deaths before it was ready, after which one is not tried again."""

Preload = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Zygote:
    """One warm zygote."""

    control: socket.socket
    process: subprocess.Popen[bytes]
    is_ready: bool = False


class WarmZygotes:
    """Warm zygotes by what they have imported. Every method is thread-safe and quick.

    Args:
        idle_s: how long one lives that nobody uses; 0: there are none.
        own: this process's environment.
    """

    def __init__(self, *, idle_s: float, own: Mapping[str, str]) -> None:
        self.patience_s = ANSWER_S
        self._idle_s = idle_s
        self._variables = zygote_variables(own)
        self._changed = Condition()
        self._one = Lock()
        """Held by the one that imports: two at once would only slow each other down."""
        self._is_closed = False
        self._threads: dict[Preload, Thread] = {}
        self._zygotes: dict[Preload, Zygote] = {}
        """The one used last is the last."""
        self._deaths: dict[Preload, int] = {}

    def fork_shim(self, preload: Preload, folder: Path, variables: Mapping[str, str], doors: Sequence[int] = ()) -> str:
        """Have a shim forked from the zygote with these modules; empty if there is none that answers."""
        with self._changed:
            zygote = self._zygotes.get(preload)
            if zygote is None or not zygote.is_ready:
                return ""
            self._zygotes[preload] = self._zygotes.pop(preload)
            reply = None
            with suppress(OSError):
                reply = ask(zygote.control, folder, variables, doors)
        try:
            return hear(reply, patience_s=self.patience_s) if reply is not None else ""
        except EngineError:
            zygote.process.kill()
            return ""

    def hint(self, preload: Preload) -> None:
        """Have a zygote with these modules soon, if there is none and it can be."""
        with self._changed:
            is_hopeless = self._deaths.get(preload, 0) >= TRIES
            if self._is_closed or not self._idle_s or preload in self._threads or is_hopeless:
                return
            thread = Thread(target=self._keep, args=(preload,), name="lepton-warm", daemon=True)
            self._threads[preload] = thread
            thread.start()

    def ready(self) -> dict[Preload, int]:
        """Process id of each zygote that can be used."""
        with self._changed:
            return {preload: zygote.process.pid for preload, zygote in self._zygotes.items() if zygote.is_ready}

    def wait(self, preload: Preload, timeout_s: float) -> bool:
        """Whether the zygote with these modules is ready, waiting for as long as one is on its way."""
        with self._changed:
            self._changed.wait_for(lambda: preload in self.ready() or preload not in self._threads, timeout_s)
            return preload in self.ready()

    def close(self) -> None:
        """End all; what they have started goes on."""
        with self._changed:
            self._is_closed = True
            for zygote in self._zygotes.values():
                zygote.process.kill()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()

    def _keep(self, preload: Preload) -> None:
        """Start the zygote, and stay until it has ended."""
        zygote = None
        try:
            with self._one:
                zygote = self._start(preload)
                said = _hear_ready(zygote) if zygote else ""
                self._note(preload, zygote, said)
            if zygote:
                zygote.process.wait()
        except OSError as fault:
            log.warning("no warm zygote for %s: %s", ", ".join(preload), fault)
            self._count_death(preload)
        finally:
            self._end(preload, zygote)

    def _start(self, preload: Preload) -> Zygote | None:
        with self._changed:
            if self._is_closed:
                return None
            self._make_room()
            control, process = start_zygote(["-c", PROGRAM, str(self._idle_s), *preload], self._variables)
            self._zygotes[preload] = zygote = Zygote(control, process)
            return zygote

    def _make_room(self) -> None:
        while len(self._zygotes) >= MOST:
            oldest = next(iter(self._zygotes))
            self._zygotes.pop(oldest).process.kill()

    def _note(self, preload: Preload, zygote: Zygote | None, said: str) -> None:
        """What the zygote said of itself; empty if it died before."""
        names = ", ".join(preload) or "no module"
        with self._changed:
            if zygote is None or self._is_closed:
                return
            if said == READY:
                zygote.is_ready = True
                megabytes = resident_bytes([zygote.process.pid]) >> 20
                log.info("warm zygote %d is ready: %s; %d MB resident", zygote.process.pid, names, megabytes)
            elif said:
                log.warning("no warm zygote for %s: %s", names, said)
                self._deaths[preload] = TRIES
            else:
                self._count_death(preload)
            self._changed.notify_all()

    def _count_death(self, preload: Preload) -> None:
        with self._changed:
            self._deaths[preload] = self._deaths.get(preload, 0) + 1

    def _end(self, preload: Preload, zygote: Zygote | None) -> None:
        with self._changed:
            if self._zygotes.get(preload) is zygote:
                self._zygotes.pop(preload, None)
            if zygote:
                zygote.control.close()
            self._threads.pop(preload, None)
            self._changed.notify_all()


def _hear_ready(zygote: Zygote) -> str:
    with suppress(ConnectionError):
        return zygote.control.recv(1024).decode()
    return ""
