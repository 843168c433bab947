"""The engine's side of the zygotes: keeps the plain one alive and asks it, or a warm one, to fork shims."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from lepton.core.errors import EngineError
from lepton.core.resource import Json
from lepton.engine.local.plan import ROOT
from lepton.engine.shim.zygote import QUESTION

PROGRAM = "import sys; sys.path.append(sys.argv[1]); from lepton.engine.shim.zygote import main; main()"
ANSWER_S = 60.0
"""A shim answers in milliseconds; a machine out of memory may take long."""
TRIES = 3
MAX_ANSWER = 4096


class Forker:
    """Owns the plain zygote. When it dies, the next `fork_shim` starts another; shims live on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_closed = False
        self._control, self._process = _start_plain()

    @property
    def pid(self) -> int:
        """The zygote."""
        return self._process.pid

    def fork_shim(self, folder: Path, variables: Mapping[str, str], doors: Sequence[int] = ()) -> str:
        """Have a shim forked for a launch's folder and return its answer, see `shim.supervise.hold`.

        Args:
            doors: descriptors that the worker gets.
        Raises:
            EngineError: no zygote can be kept alive, or it does not answer.
        """
        for _ in range(TRIES):
            try:
                reply = self._ask(folder, variables, doors)
            except OSError as fault:
                raise EngineError(
                    f"No worker can be started: {fault}", fix="Look for memory and file limits."
                ) from fault
            if reply is not None and (answer := hear(reply)):
                return answer
        raise EngineError("The process that starts workers dies again and again", fix="Look for memory or pid limits.")

    def layers(self) -> dict[str, Json]:
        """What this machine has to hold a worker by, see `sandbox.layers.find`.

        Raises:
            EngineError: as `fork_shim`.
        """
        found: dict[str, Json] = json.loads(self.fork_shim(Path(QUESTION), {}))
        return found

    def close(self) -> None:
        """End the zygote; what it has started goes on."""
        with self._lock:
            self._is_closed = True
            self._control.close()
            self._process.wait()

    def _ask(self, folder: Path, variables: Mapping[str, str], doors: Sequence[int]) -> socket.socket | None:
        """Ask the zygote, or another if it is gone."""
        with self._lock:
            if self._is_closed:
                raise EngineError("The engine is closed")
            reply = ask(self._control, folder, variables, doors)
            if reply is None:
                self._process.kill()
                self._process.wait()
                self._control.close()
                self._control, self._process = _start_plain()
                reply = ask(self._control, folder, variables, doors)
            return reply


def ask(
    control: socket.socket, folder: Path, variables: Mapping[str, str], doors: Sequence[int] = ()
) -> socket.socket | None:
    """Ask a zygote for the shim of a launch; return where it will answer, None if the zygote is gone."""
    with open(os.memfd_create("variables"), "w+", encoding="utf-8") as stream:  # they may hold secrets: no file
        json.dump(dict(variables), stream)
        stream.flush()
        stream.seek(0)
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(control, [os.fsencode(folder)], [theirs.fileno(), stream.fileno(), *doors])
            except OSError as fault:
                mine.close()
                if isinstance(fault, ConnectionError):
                    return None
                raise
    return mine


def hear(reply: socket.socket, *, patience_s: float = ANSWER_S) -> str:
    """The shim's answer; empty if the zygote or the new shim died over it.

    Raises:
        EngineError: none comes.
    """
    with reply:
        reply.settimeout(patience_s)
        try:
            return reply.recv(MAX_ANSWER).decode()
        except TimeoutError as fault:
            raise EngineError(f"No worker could be started within {patience_s:g} s") from fault
        except ConnectionError:
            return ""


def start_zygote(arguments: list[str], env: Mapping[str, str]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start Python with a socket as its standard input; return our end of it, and the process."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=dict(env),
            start_new_session=True,
        )
    return mine, process


def _start_plain() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    return start_zygote(["-I", "-S", "-c", PROGRAM, str(ROOT)], {"PATH": os.defpath})


def signal_process(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
