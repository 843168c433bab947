"""Programs of their own, for what takes long or much memory: they are beside the server, not in it, and end with it."""

import os
import resource
import signal
import subprocess
import sys
from threading import Lock

from lepton.core.errors import EngineError
from lepton.engine.sandbox.kernel import PR_SET_PDEATHSIG, prctl

LONGEST_S = 600.0
"""A program that takes longer, by the clock or of a processor, is ended."""
NICE = 10
"""A server decides before it learns."""


class Apart:
    """Runs programs, in the thread of whoever asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    def run(self, program: str, given: bytes) -> bytes:
        """What a module that is a program (`confine`) writes to standard output of what is given on standard input.

        Raises:
            EngineError: it has failed, takes too long, or was ended; the message says how.
        """
        pipe = subprocess.PIPE
        with self._lock:
            if self._is_over:
                raise EngineError(f"{program} was not run: the server ends", fix="It is run by the next.")
            try:
                process = subprocess.Popen([sys.executable, "-m", program], stdin=pipe, stdout=pipe, stderr=pipe)
            except OSError as fault:
                raise EngineError(f"{program} cannot be run: {fault}", fix="It is tried again.") from fault
            self._running.add(process)
        try:
            answer, said = process.communicate(given, LONGEST_S)
        except subprocess.TimeoutExpired as fault:
            process.kill()
            process.communicate()
            raise EngineError(f"{program} took more than {LONGEST_S:.0f} s", fix="It is tried again.") from fault
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            words = said.decode(errors="replace")[-300:].strip() or f"exit code {process.returncode}"
            raise EngineError(f"{program} failed: {words}", fix="It is tried again.")
        return answer

    def end(self) -> None:
        """End what runs, and run nothing more."""
        with self._lock:
            self._is_over = True
            for process in self._running:
                process.kill()


def confine() -> None:
    """This process is such a program: it comes last, is gone with its server, and never takes too long."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (int(LONGEST_S), int(LONGEST_S)))
