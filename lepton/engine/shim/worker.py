"""The first moments of a worker: forked from its shim, held until it is recorded, then executed."""

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from lepton.engine.sandbox.confine import confine
from lepton.engine.sandbox.kernel import PR_SET_PDEATHSIG, prctl
from lepton.engine.shim.execution import enter, execute
from lepton.engine.shim.records import Record

DOOR = "LEPTON_DOOR"
"""A worker's variable: the descriptor of the socket at which it is to listen for clients."""


class Reborn(BaseException):
    """Raised in a fork of a warm zygote: it leaves the frames of zygote and shim behind and goes on as the worker."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__()
        self.variables = variables


class Held(NamedTuple):
    """A worker that waits for the word to go."""

    pid: int
    output: int
    """Reads what it writes to stdout and stderr."""
    go: int
    fault: int
    """Reads why it could not be executed, nothing if it was."""


def reset_signals() -> None:
    """Forget what the parent had set: a child that ignores SIGCHLD never learns an exit code."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def fork_held(plan: Record, join: Callable[[], None], *, is_warm: bool) -> Held:
    """Fork the worker; once a byte is written to `go` it calls `join` and executes the plan's `argv`.

    Raises:
        Reborn: in the worker, if `is_warm`: it is to go on as it is.
    """
    output, go, fault = os.pipe(), os.pipe(), os.pipe()
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        for fd in (output[0], go[1], fault[0]):
            os.close(fd)
        _become(plan, join, (output[1], go[0], fault[1], shim), is_warm=is_warm)
    for fd in (output[1], go[0], fault[1], *door_of(plan["env"])):
        os.close(fd)
    os.set_blocking(output[0], False)
    return Held(pid, output[0], go[1], fault[0])


def door_of(variables: dict[str, str]) -> list[int]:
    """The descriptor at which the worker with these variables is to listen, if there is one."""
    return [int(variables[DOOR])] if DOOR in variables else []


def release(held: Held) -> str:
    """Let it go; return why it could not be executed, empty if it was."""
    os.write(held.go, b"g")
    os.close(held.go)
    with os.fdopen(held.fault, "rb") as stream:
        return stream.read().decode(errors="replace")


def _become(plan: Record, join: Callable[[], None], ends: tuple[int, int, int, int], *, is_warm: bool) -> None:
    """In the child: never returns."""
    output, go, fault, shim = ends
    try:
        os.setsid()
        reset_signals()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != shim or not os.read(go, 1):
            os._exit(127)
        _connect(output)
        os.umask(0o022)
        join()
        if plan["bounds"] is not None:
            confine(plan["bounds"])
        enter(plan["cwd"])
        for fd in door_of(plan["env"]):
            os.set_inheritable(fd, True)
        if not is_warm:
            execute(plan["argv"], plan["env"])
    except OSError as why:
        _give_up(fault, str(why.strerror))
    except BaseException as why:  # noqa: BLE001 - said by the shim; a traceback would go to the worker's log
        _give_up(fault, repr(why))
    for fd in (output, go, fault):  # an execution would have closed them
        os.close(fd)
    raise Reborn(plan["env"])


def _give_up(fault: int, why: str) -> None:
    os.write(fault, why.encode())
    os._exit(127)


def _connect(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
