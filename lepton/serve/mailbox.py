"""Open files from one process to the other, beside the connection that they belong to.

Neither end can look into the other (`engine.sandbox`), so what they share must be handed over. A front waits for
mailboxes beside its socket for workers. A worker opens one before it says hello, and names it there; from then on what
one end has put in the other takes out, in that order. So what is told of in a frame is there when the frame is read.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ENDING = ".mail"
NAME_BYTES = 64
WAITING = 1024
"""Mailboxes that nobody has claimed yet; the oldest go first."""


class Mailbox:
    """One end."""

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line

    def put(self, fd: int) -> None:
        """Let the other end read a file; it stays open here.

        Raises:
            OSError: the other end is gone, or takes nothing out.
        """
        reading = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            socket.send_fds(self._line, [b"f"], [reading], socket.MSG_NOSIGNAL)
        finally:
            os.close(reading)

    def take(self) -> int:
        """The next file, which is the caller's to close.

        Raises:
            OSError: there is none.
        """
        _, fds, _, _ = socket.recv_fds(self._line, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not fds:
            raise FileNotFoundError("The other end has put nothing in")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        """Nothing is put in or taken out any more."""
        self._line.close()


class Mailroom:
    """Where a front finds the mailboxes of its workers.

    Args:
        path: of its socket for workers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(ENDING)
        self._path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(str(self._path))
        self._path.chmod(0o600)
        self._door.listen(WAITING)
        self._door.setblocking(False)
        self._nameless: list[socket.socket] = []
        self._waiting: dict[bytes, Mailbox] = {}

    def claim(self, name: str) -> Mailbox | None:
        """The mailbox that a worker has opened under a name; None: there is none."""
        lines, self._nameless = self._nameless[-WAITING:], []
        with suppress(BlockingIOError):
            while True:
                lines.append(self._door.accept()[0])
        for line in lines:
            self._read_name(line)
        while len(self._waiting) > WAITING:
            self._waiting.pop(next(iter(self._waiting))).close()
        return self._waiting.pop(name.encode(), None)

    def _read_name(self, line: socket.socket) -> None:
        box = Mailbox(line)
        try:
            name = line.recv(NAME_BYTES)
        except BlockingIOError:  # it is on its way
            self._nameless.append(line)
        except OSError:
            box.close()
        else:
            self._waiting[name] = box

    def close(self) -> None:
        """Let go of all that nobody has claimed."""
        for box in self._waiting.values():
            box.close()
        for line in self._nameless:
            line.close()
        self._door.close()
        self._path.unlink(missing_ok=True)


Claim = Callable[[str], Mailbox | None]


def open_mailbox(path: Path) -> tuple[Mailbox, str] | None:
    """A worker's end, and its name; None: the front has none.

    Args:
        path: of the front's socket for workers.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    name = os.urandom(16).hex()
    try:
        line.setblocking(False)
        line.connect(str(path.with_suffix(ENDING)))
        line.send(name.encode(), socket.MSG_NOSIGNAL)
    except OSError:
        line.close()
        return None
    return Mailbox(line), name
