"""Clients of a front that speaks TLS, until their handshake is done: they count as connections from the start."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from lepton.serve.exchange import Lobby

HANDSHAKE_S = 10.0
"""For the whole of it."""
SPARE = 16
"""Handshakes beyond all that may be connected: those clients are told that it is crowded, further ones are cut off."""
AT_ONCE = 64
"""Clients that are let in before others have a turn."""
BACKLOG = 1024
"""Clients that may wait at a door."""
PAUSE_S = 1.0
"""Before the next is let in, when there are no more files to be had."""
SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Handshakes:
    """Lets clients in.

    Args:
        make: what a client speaks with once TLS is spoken.
    """

    def __init__(self, lobby: Lobby, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext) -> None:
        self._lobby = lobby
        self._make = make
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._doors: list[socket.socket] = []
        self._open: set[asyncio.Task[None]] = set()

    def listen(self, server: asyncio.Server) -> None:
        """Let in who comes to the sockets of a server that does not."""
        for each in server.sockets:
            door = socket.socket(fileno=os.dup(each.fileno()))
            self._doors.append(door)
            door.setblocking(False)
            door.listen(BACKLOG)
            self._loop.add_reader(door, self._accept, door)

    def close(self) -> None:
        """Let in nobody any more, but who is at the door already."""
        doors, self._doors = self._doors, []
        for door in doors:
            self._loop.remove_reader(door)
            self._accept(door, BACKLOG)
            door.close()

    @property
    def are_any(self) -> bool:
        """Whether one is not done."""
        return bool(self._open)

    def _accept(self, door: socket.socket, most: int = AT_ONCE) -> None:
        for _ in range(most):
            try:
                client, _ = door.accept()
            except OSError as fault:  # nobody is there, or has gone again
                if fault.errno in SCARCE and door in self._doors:
                    self._loop.remove_reader(door)
                    self._loop.call_later(PAUSE_S, self._go_on, door)
                return
            self._begin(client)

    def _go_on(self, door: socket.socket) -> None:
        if door in self._doors:
            self._loop.add_reader(door, self._accept, door)

    def _begin(self, client: socket.socket) -> None:
        count = len(self._open)
        if count >= SPARE and count + len(self._lobby.connections) >= self._lobby.limits.max_connections:
            client.close()
            return
        client.setblocking(False)
        task = asyncio.ensure_future(self._shake(client))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _shake(self, client: socket.socket) -> None:
        with suppress(OSError, TimeoutError):  # it is gone, or speaks no TLS, or none that is spoken here
            await self._loop.connect_accepted_socket(
                self._make, client, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
            )
