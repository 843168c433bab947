"""The sockets at which workers listen for clients, kept open while a worker that died is replaced.

Such a socket is opened here and lent to each worker in its turn. While none is there, the system keeps who knocks
waiting, and the next worker answers them. It is shut once its worker is asked to stop, or when none has come for a
while. After this process was killed a worker goes on with what it was lent, and its successor asks the system for a
copy of that, where it may (as it may look into processes of this user).
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Timer

from lepton.core.launch import Launch
from lepton.engine.sandbox.kernel import PIDFD_GETFD, syscall
from lepton.engine.shim.processes import is_alive
from lepton.engine.shim.records import Record

HOLD_S = 30.0
"""A client is kept waiting for no longer; the pause before a worker is started again is mostly shorter."""

Place = tuple[str, int]
"""Job and rank: what stays when a worker is replaced."""


@dataclass(slots=True)
class Door:
    """One socket, and the last worker to which it was lent."""

    socket: socket.socket
    host: str
    key: str
    closing: Timer | None = None
    """Where its worker has ended."""

    def is_at(self, host: str, port: int) -> bool:
        """Whether it is where a launch wants it."""
        return self.host == host and port in (0, self.socket.getsockname()[1])

    def keep(self) -> None:
        """It is wanted again."""
        if self.closing is not None:
            self.closing.cancel()
            self.closing = None


class Doors:
    """All of them. Every method is thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[Place, Door] = {}

    def lend(self, launch: Launch) -> list[int]:
        """The descriptor for a worker that is about to start; none if it listens at none, or must see to it itself."""
        if not launch.door:
            return []
        host, port = _address(launch)
        place = (launch.job, launch.rank)
        with self._lock:
            door = self._held.get(place)
            if door is None or not door.is_at(host, port):
                self._shut(place)
                opened = _open(host, port)
                if opened is None:
                    return []
                door = self._held[place] = Door(opened, host, launch.key)
            door.keep()
            door.key = launch.key
            return [door.socket.fileno()]

    def adopt(self, launch: Launch, worker: Record) -> None:
        """Hold the door of a worker that another engine has started, if it has one.

        Args:
            worker: its record.
        """
        for number in worker.get("doors", ()):
            if (found := _copy(worker, number)) is not None:
                door = Door(found, _address(launch)[0], launch.key)
                with self._lock:
                    if not door.is_at(*_address(launch)):
                        found.close()  # it is not what was lent any more
                        continue
                    self._shut((launch.job, launch.rank))
                    self._held[launch.job, launch.rank] = door

    def stopping(self, key: str) -> None:
        """The worker was asked to stop: it shuts the door itself."""
        with self._lock:
            for place, _ in self._of(key):
                self._shut(place)

    def left(self, key: str) -> None:
        """The worker has ended: another may come, but clients do not wait for ever."""
        with self._lock:
            for _, door in self._of(key):
                door.keep()
                door.closing = Timer(HOLD_S, self.stopping, (key,))
                door.closing.daemon = True
                door.closing.start()

    def close(self) -> None:
        """Let go of all; workers keep what they were lent."""
        with self._lock:
            for place in list(self._held):
                self._shut(place)

    def _of(self, key: str) -> Iterator[tuple[Place, Door]]:
        yield from [(place, door) for place, door in self._held.items() if door.key == key]

    def _shut(self, place: Place) -> None:
        door = self._held.pop(place, None)
        if door is not None:
            door.keep()
            door.socket.close()


def _address(launch: Launch) -> tuple[str, int]:
    host, _, port = launch.door.rpartition(":")
    return host, int(port)


def _copy(worker: Record, number: int) -> socket.socket | None:
    """A copy of a worker's descriptor, if that is a door; None where the system gives none."""
    with suppress(OSError):
        process = os.pidfd_open(worker["pid"])
        try:
            return _door_of(syscall(PIDFD_GETFD, process, number, 0)) if is_alive(worker) else None
        finally:
            os.close(process)
    return None


def _door_of(descriptor: int) -> socket.socket | None:
    """It as a socket for clients; it is closed if it is none."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
        return found
    found.close()
    return None


def _open(host: str, port: int) -> socket.socket | None:
    """A socket bound there; None if it cannot be, which the worker says better, or if it would take several."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return None
    family, kind, protocol, _, address = found[0]
    door = socket.socket(family, kind, protocol)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind(address)
    except OSError:
        door.close()
        return None
    return door
