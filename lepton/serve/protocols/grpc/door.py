"""Where a front takes connections that speak HTTP/2: the first of them starts a gRPC server within the process.

The server listens on a Unix socket in the gang's folder, and each client's connection is joined to one of its own
there. So one port serves every protocol, and a front that nobody asks by gRPC never loads it.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton.serve.desk import Desk
from lepton.serve.protocols.grpc.splice import Far, Near

SERVER = "lepton.serve.protocols.grpc.server"
SOCKET = "grpc.sock"
DRAIN_S = 7.0


class Door:
    """The way in for HTTP/2.

    Args:
        desk: where requests go.
        folder: for the socket.
    """

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._path = folder / SOCKET
        self._peers: dict[str, Near] = {}
        """The server's name for a connection -> the client behind it."""
        self._starting: asyncio.Task[Any] | None = None
        self._courses: set[asyncio.Task[None]] = set()
        self._is_draining = False

    def take(self, transport: asyncio.Transport, early: bytes, caller: bytes) -> None:
        """Serve the client behind `transport`, which has sent `early` so far."""
        near = Near(transport, caller, early, self._desk.limits, drain=self.drain, on_lost=self._forget)
        transport.set_protocol(near)
        self._desk.connections.add(near)
        self._keep(self._connect(near))

    def drain(self) -> None:
        """Answer what is open, and end each connection with it."""
        if not self._is_draining:
            self._is_draining = True
            self._keep(self._stop(DRAIN_S))

    async def close(self) -> None:
        """End the server."""
        await self._stop(0)

    def _keep(self, course: Any) -> None:
        task = asyncio.ensure_future(course)
        self._courses.add(task)
        task.add_done_callback(self._courses.discard)

    async def _connect(self, near: Near) -> None:
        """Join a client to the server."""
        try:
            if self._starting is None:
                self._starting = asyncio.ensure_future(self._start())
            await asyncio.shield(self._starting)
            end, name = await connect(self._path)
            self._peers[name] = near
            await asyncio.get_running_loop().create_unix_connection(lambda: Far(near), sock=end)
        except Exception as fault:  # noqa: BLE001  whatever keeps the server from running
            sys.stderr.write(f"serve: no gRPC for {near.caller.decode()}: {type(fault).__name__}: {fault}\n")
            near.abort()

    async def _start(self) -> Any:
        module = await asyncio.to_thread(import_module, SERVER)  # takes a fifth of a second, while others are served
        self._path.unlink(missing_ok=True)
        open_server: Callable[..., Any] = module.open_server
        return await open_server(self._desk, self._path, self._peers)

    async def _stop(self, grace_s: float) -> None:
        if self._starting is not None and (not self._starting.done() or self._starting.exception() is None):
            server = await self._starting
            await server.stop(grace_s)
            self._path.unlink(missing_ok=True)

    def _forget(self, near: Near) -> None:
        self._desk.connections.discard(near)
        for name in [name for name, one in self._peers.items() if one is near]:
            del self._peers[name]


def is_there() -> bool:
    """Whether this process could serve gRPC."""
    return find_spec("grpc") is not None


async def connect(path: Path) -> tuple[socket.socket, str]:
    """A connection to the server's socket, and what the server calls it; its address is one that the kernel picks."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.setblocking(False)
        end.bind("")
        await asyncio.get_running_loop().sock_connect(end, str(path))
        own: bytes = end.getsockname()
    except BaseException:
        end.close()
        raise
    return end, f"unix-abstract:{own[1:].decode()}"
