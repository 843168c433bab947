"""The sockets at which workers listen for clients, kept open while a worker that died is replaced.

Such a socket is opened here and lent to each worker in its turn. While none is there, the system keeps who knocks
waiting, and the next worker answers them. It is shut once its worker is asked to stop, or when none has come for a
while. After this process was killed a worker goes on with what it was lent; its successor gets a new one.
"""

import socket
from dataclasses import dataclass
from threading import Lock, Timer

from lepton.core.launch import Launch

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

    def is_at(self, host: str, port: int) -> bool:
        """Whether it is where a launch wants it."""
        return self.host == host and port in (0, self.socket.getsockname()[1])


class Doors:
    """All of them. Every method is thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[Place, Door] = {}
        self._timers: dict[Place, Timer] = {}

    def lend(self, launch: Launch) -> list[int]:
        """The descriptor for a worker that is about to start; none if it listens at none, or must see to it itself."""
        if not launch.door:
            return []
        host, _, port = launch.door.rpartition(":")
        place = (launch.job, launch.rank)
        with self._lock:
            self._cancel(place)
            door = self._held.get(place)
            if door is None or not door.is_at(host, int(port)):
                self._shut(place)
                opened = _open(host, int(port))
                if opened is None:
                    return []
                door = self._held[place] = Door(opened, host, launch.key)
            door.key = launch.key
            return [door.socket.fileno()]

    def stopping(self, key: str) -> None:
        """The worker was asked to stop: it shuts the door itself."""
        with self._lock:
            for place in [place for place, door in self._held.items() if door.key == key]:
                self._shut(place)

    def left(self, key: str) -> None:
        """The worker has ended: another may come, but clients do not wait for ever."""
        with self._lock:
            for place in [place for place, door in self._held.items() if door.key == key]:
                self._cancel(place)
                timer = self._timers[place] = Timer(HOLD_S, self.stopping, (key,))
                timer.daemon = True
                timer.start()

    def close(self) -> None:
        """Let go of all; workers keep what they were lent."""
        with self._lock:
            for place in list(self._held):
                self._shut(place)

    def _shut(self, place: Place) -> None:
        self._cancel(place)
        door = self._held.pop(place, None)
        if door is not None:
            door.socket.close()

    def _cancel(self, place: Place) -> None:
        timer = self._timers.pop(place, None)
        if timer is not None:
            timer.cancel()


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
