"""The process that shims are forked from: it imports, starts no thread, holds no secret, and forks.

Its standard input is a socket of the engine that started it. Each message is the folder of a launch; beside it come a
socket on which the shim answers, a file with the launch's variables, which only the shim reads, and the socket at which
the worker is to listen, if it is to. It ends when the engine does, a warm one also when it was not used for a while;
the shims do not.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback

from lepton.engine.sandbox.filter import prepare
from lepton.engine.sandbox.kernel import PR_SET_NAME, prctl
from lepton.engine.sandbox.layers import find
from lepton.engine.shim.supervise import hold
from lepton.engine.shim.worker import DOOR, Reborn

MAX_MESSAGE = 8192
MAX_FILES = 3
QUESTION = "layers"
"""In the place of a folder: it is answered what this machine has to hold a worker by."""


def serve_forks(control: socket.socket, *, idle_s: float | None = None) -> None:
    """Fork a shim for each message, until the engine closes its end or is silent for `idle_s` seconds.

    Args:
        idle_s: given for a warm zygote; None for the plain one.

    Raises:
        Reborn: in a worker of a warm zygote.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps ended shims
    prepare()
    gc.collect()
    gc.freeze()
    control.settimeout(idle_s)
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE, MAX_FILES)
        except TimeoutError:
            return
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _be_shim(os.fsdecode(message), fds, is_warm=idle_s is not None)
        for fd in fds:
            os.close(fd)


def _be_shim(folder: str, fds: list[int], *, is_warm: bool) -> None:
    """Returns in no process: what follows the fork is the shim's alone, or raises `Reborn` in the worker."""
    try:
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds ignores MSG_CMSG_CLOEXEC in Python 3.11
        with open(fds[1], encoding="utf-8") as stream:
            variables = json.load(stream)
        variables.pop(DOOR, None)
        if fds[2:]:
            variables[DOOR] = str(fds[2])
        with socket.socket(fileno=fds[0]) as reply:
            if folder == QUESTION:
                _tell_layers(reply)
            else:
                hold(folder, variables, reply, is_warm=is_warm)
    except Reborn:
        raise
    except BaseException:  # noqa: BLE001 - nobody else would ever hear of it
        _note(folder, traceback.format_exc())
    os._exit(0)


def _tell_layers(reply: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reply.send(json.dumps(find()).encode(), socket.MSG_NOSIGNAL)


def _note(folder: str, text: str) -> None:
    try:
        with open(os.path.join(folder, "shim.txt"), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return


def take_control(name: bytes) -> socket.socket:
    """The engine's socket, which was standard input; from now on the standard files are empty."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    prctl(PR_SET_NAME, name)
    return control


def threads() -> int:
    """Threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def main() -> None:
    """Be the plain zygote, on the socket that is standard input."""
    control = take_control(b"lepton-zygote")
    if threads() != 1:
        sys.exit("a zygote must have one thread")
    serve_forks(control)
