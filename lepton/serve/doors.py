"""The socket at which clients reach a front, and its address."""

import asyncio
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from itertools import chain

from lepton.core.errors import ConfigError
from lepton.serve.handshakes import BACKLOG, Handshakes
from lepton.serve.spec import EndpointSpec

GREET_S = 0.05
"""For clients whom the system has greeted and who have not answered yet."""
ATTACH_FILTER, DETACH_FILTER = 26, 27
"""Of Linux: which packets a socket takes."""
STEP = struct.Struct("HBBI")
NO_GREETING = (
    (0x30, 0, 0, 13),  # the flags of TCP ...
    (0x54, 0, 0, 0x12),  # ... SYN and ACK of them ...
    (0x15, 0, 1, 0x02),  # ... SYN alone?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFF_FFFF),
)
"""A program of the Berkeley packet filter that drops what would begin a connection."""


class Doors:
    """The sockets, until they are closed.

    Args:
        make: what speaks with a client.
    """

    def __init__(
        self, server: asyncio.Server, handshakes: Handshakes | None, make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._server = server
        self._handshakes = handshakes
        self._make = make
        if handshakes is not None:
            handshakes.listen(server)

    async def close(self) -> None:
        """Let in nobody any more, but who is at the door: to shut it would cut off what they have already sent."""
        for each in self._server.sockets:
            hold_off(each.fileno())
        await asyncio.sleep(GREET_S)
        copies = [os.dup(each.fileno()) for each in self._server.sockets if self._handshakes is None]
        self._server.close()
        if self._handshakes is not None:
            self._handshakes.close()
        await asyncio.gather(*map(self._let_in, list(chain.from_iterable(map(last_of, copies)))))

    async def _let_in(self, client: socket.socket) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._make, client)


def hold_off(file: int) -> None:
    """Let the system greet nobody new at a door: whom it has greeted could be cut off, who is not tries again."""
    program = b"".join(STEP.pack(*step) for step in NO_GREETING)
    kept = create_string_buffer(program)
    with socket.socket(fileno=os.dup(file)) as door, suppress(OSError):  # it may be forbidden, or be another system
        door.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", len(NO_GREETING), addressof(kept)))


def last_of(file: int) -> Iterator[socket.socket]:
    """Clients whom the system has let in, and nobody else yet; then the door is shut."""
    with socket.socket(fileno=file) as door, suppress(OSError):
        door.setblocking(False)
        while True:
            client, _ = door.accept()
            client.setblocking(False)
            yield client


def allow_files(count: int) -> None:
    """Let this process have so many files open; said in the log if the system does not let it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        sys.stderr.write(f"serve: this process may have {hard} files open, connections included: see `ulimit -Hn`\n")
        count = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def listen(
    make: Callable[[], asyncio.Protocol], spec: EndpointSpec, handshakes: Handshakes | None
) -> tuple[Doors, str]:
    """The sockets for clients, and the address to tell them.

    Args:
        make: what speaks with a client.
        handshakes: lets clients in that speak TLS; None: none does.
    Raises:
        ConfigError: the address cannot be had.
    """
    loop, is_tls = asyncio.get_running_loop(), handshakes is not None

    async def open_at(port: int) -> asyncio.Server:
        return await loop.create_server(make, spec.host, port, backlog=BACKLOG, start_serving=not is_tls)

    clients = None
    with suppress(OSError):  # somebody else has it now
        if (lent := lent_door()) is not None:
            clients = await loop.create_server(make, sock=lent, backlog=BACKLOG, start_serving=not is_tls)
        elif not spec.port and (last := last_port()):
            clients = await open_at(last)
    try:
        clients = clients or await open_at(spec.port)
    except OSError as fault:
        raise ConfigError(
            f"The endpoint cannot listen at {spec.host}:{spec.port}: {fault}",
            fix="Give another port, or 0 for any free one.",
        ) from fault
    return Doors(clients, handshakes, make), ("https://" if is_tls else "") + reachable(
        *clients.sockets[0].getsockname()[:2]
    )


def lent_door() -> socket.socket | None:
    """The socket that the engine keeps open for whoever is the front, from LEPTON_DOOR; None if there is none."""
    file = os.environ.pop("LEPTON_DOOR", "")
    if not file:
        return None
    door = socket.socket(fileno=int(file))
    door.set_inheritable(False)
    with suppress(OSError):  # its last front may have held clients off
        door.setsockopt(socket.SOL_SOCKET, DETACH_FILTER, 0)
    return door


def last_port() -> int:
    """The port that an earlier start of this front told its clients, from LEPTON_ADDRESS; 0 if there is none."""
    port = os.environ.get("LEPTON_ADDRESS", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def reachable(host: str, port: int) -> str:
    """The address to tell others, for a socket that is bound to `host`."""
    if host in ("0.0.0.0", "::"):
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
