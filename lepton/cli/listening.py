"""Where a server of ours listens, and how it speaks HTTP."""

import socket
from typing import Any

import uvicorn

from lepton.cli.door import DoorProtocol
from lepton.core.errors import ConfigError, UnavailableError

BACKLOG = 2048
DRAIN_S, KEEP_ALIVE_S = 3, 75


def listen_at(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UnavailableError: the port is taken or forbidden.
        ConfigError: there is no such host.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only if named
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(BACKLOG)
    except socket.gaierror as fault:
        raise ConfigError(f"There is no host {host!r}", fix="Use an address of this machine.") from fault
    except OSError as fault:
        raise UnavailableError(
            f"Cannot listen on {host}:{port}: {fault.strerror}",
            fix="Choose another with --port N; 0 picks a free one.",
        ) from fault
    return door


def address(host: str, port: int, scheme: str = "http") -> str:
    """The URL of a door."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def settings_of(app: Any, **more: Any) -> uvicorn.Config:
    """How uvicorn serves an application of ours.

    Args:
        more: further options of uvicorn.
    """
    return uvicorn.Config(
        app,
        http=DoorProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ws="none",
        **more,
    )
