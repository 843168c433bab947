"""A TCP proxy that can be told to fail: cut, stall, or cut after so many bytes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread

from tests.ports import free_port

PIECE = 1 << 16


class Proxy:
    """Listens at `port`, and passes on to another port of this machine."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._state = Condition()
        self._is_stalled = self._is_closed = False
        self._left: int | None = None
        self._open: set[socket.socket] = set()
        self._door = socket.create_server(("127.0.0.1", self.port))
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections; new ones are served."""
        with self._state:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, sent: int) -> None:
        """End all connections, old and new, once clients have sent so many bytes."""
        with self._state:
            self._left = sent

    def heal(self) -> None:
        """Pass everything on again, over new connections."""
        with self._state:
            self._left, self._is_stalled = None, False
            self._state.notify_all()

    def stall(self) -> None:
        """Pass nothing on any more, but keep connections and accept new ones."""
        with self._state:
            self._is_stalled = True

    def close(self) -> None:
        """End everything."""
        with self._state:
            self._is_closed, self._is_stalled = True, False
            self._state.notify_all()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._state:
                    self._open |= {client, server}
                for ends, is_sent in (((client, server), True), ((server, client), False)):
                    Thread(target=self._pump, args=(*ends, is_sent), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_sent: bool) -> None:
        with suppress(OSError):
            while (piece := source.recv(PIECE)) and self._may_pass(len(piece) if is_sent else 0):
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._state:
            is_last = target not in self._open or source not in self._open
            self._open -= {source, target}
        if is_last:
            source.close()
            target.close()

    def _may_pass(self, size: int) -> bool:
        with self._state:
            self._state.wait_for(lambda: not self._is_stalled)
            if self._left is not None:
                self._left -= size
            return not self._is_closed and (self._left is None or self._left >= 0)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before this port."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
