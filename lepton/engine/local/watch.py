"""Tells when shims end: one thread that waits on their pidfds and costs nothing while they live."""

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from lepton.engine.shim.processes import is_alive


class Watch:
    """Calls `ended(key)` from its own thread, once for each shim that has ended."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._keys: dict[int, str] = {}
        self._watched: set[str] = set()
        self._epoll = select.epoll()
        self._wake, self._wake_end = os.pipe()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="lepton-local-watch", daemon=True)
        self._thread.start()

    def add(self, key: str, shim: dict[str, Any] | None) -> None:
        """Watch the shim of `key` unless it is watched; one that has ended is told of at once."""
        with self._lock:
            if key in self._watched:
                return
            self._watched.add(key)
        try:
            fd = os.pidfd_open(shim["pid"]) if shim is not None and is_alive(shim) else -1
        except ProcessLookupError:
            fd = -1
        if fd < 0:
            self._tell(key)
            return
        with self._lock:
            self._keys[fd] = key
            self._epoll.register(fd, select.EPOLLIN)

    def close(self) -> None:
        """End the thread."""
        os.write(self._wake_end, b"x")
        self._thread.join()
        self._epoll.close()
        for fd in (self._wake, self._wake_end, *self._keys):
            os.close(fd)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wake:
                    return
                with self._lock:
                    key = self._keys.pop(fd)
                    self._epoll.unregister(fd)
                    os.close(fd)
                self._tell(key)

    def _tell(self, key: str) -> None:
        with self._lock:
            self._watched.discard(key)
        self._ended(key)
