"""The warm process that shims are forked from: it imports, starts no thread, holds no secret, and forks.

Its standard input is a socket of the engine that started it. Each message is the folder of a launch, with a socket
beside it on which the shim answers. It ends when the engine does; the shims do not.
"""

import gc
import os
import signal
import socket
import sys
import traceback

from lepton.engine.shim.supervise import hold
from lepton.engine.shim.worker import PR_SET_NAME, prctl

MAX_MESSAGE = 8192


def serve_forks(control: socket.socket) -> None:
    """Fork a shim for each message, until the engine closes its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps ended shims
    prctl(PR_SET_NAME, b"lepton-zygote")
    gc.freeze()
    while True:
        message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            os.set_inheritable(fds[0], False)  # recv_fds ignores MSG_CMSG_CLOEXEC in Python 3.11
            _be_shim(os.fsdecode(message), socket.socket(fileno=fds[0]))
        os.close(fds[0])


def _be_shim(folder: str, reply: socket.socket) -> None:
    """Never returns: what follows the fork is the shim's alone."""
    try:
        hold(folder, reply)
    except BaseException:  # noqa: BLE001 - nobody else would ever hear of it
        _note(folder, traceback.format_exc())
    finally:
        os._exit(0)


def _note(folder: str, text: str) -> None:
    try:
        with open(os.path.join(folder, "shim.txt"), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return


def main() -> None:
    """Run on the socket that is standard input."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if os.listdir("/proc/self/task") != [str(os.getpid())]:
        sys.exit("a zygote must have one thread")
    serve_forks(control)
