"""The engine's side of the zygote: keeps one alive and asks it to fork shims."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Lock

from lepton.core.errors import EngineError
from lepton.engine.local.plan import ROOT

PROGRAM = "import sys; sys.path.append(sys.argv[1]); from lepton.engine.shim.zygote import main; main()"
ANSWER_S = 60.0
"""A shim answers in milliseconds; a machine out of memory may take long."""
TRIES = 3


class Forker:
    """Owns the zygote. When it dies, the next `fork_shim` starts another; shims live on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_closed = False
        self._control, self._process = _start_zygote()

    @property
    def pid(self) -> int:
        """The zygote."""
        return self._process.pid

    def fork_shim(self, folder: Path) -> str:
        """Have a shim forked for a launch's folder and return its answer, see `shim.supervise.hold`.

        Raises:
            EngineError: no zygote can be kept alive, or it does not answer.
        """
        for _ in range(TRIES):
            answer = self._ask(folder)
            if answer:
                return answer
        raise EngineError("The process that starts workers dies again and again", fix="Look for memory or pid limits.")

    def close(self) -> None:
        """End the zygote; what it has started goes on."""
        with self._lock:
            self._is_closed = True
            self._control.close()
            self._process.wait()

    def _ask(self, folder: Path) -> str:
        """One question; empty if the zygote or the new shim died over it."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            mine.settimeout(ANSWER_S)
            with theirs:
                self._send(folder, theirs)
            try:
                return mine.recv(256).decode()
            except TimeoutError as fault:
                raise EngineError(f"No worker could be started within {ANSWER_S:g} s") from fault
            except ConnectionError:
                return ""

    def _send(self, folder: Path, reply: socket.socket) -> None:
        with self._lock:
            if self._is_closed:
                raise EngineError("The engine is closed")
            try:
                socket.send_fds(self._control, [os.fsencode(folder)], [reply.fileno()])
            except ConnectionError:
                self._process.wait()
                self._control.close()
                self._control, self._process = _start_zygote()
                socket.send_fds(self._control, [os.fsencode(folder)], [reply.fileno()])


def _start_zygote() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
        )
    return mine, process


def signal_process(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
